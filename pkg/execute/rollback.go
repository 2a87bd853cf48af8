package execute

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// refusal is what is remembered of a gang whose binds the API server refuses, by an admission policy
// for instance.
type refusal struct {
	times int             // in a row
	pods  map[string]bool // those that were refused, by UID
}

// rollBack takes back what was bound of a gang of which a bind was refused, and lets the gang wait, twice
// as long each time. A gang that ran before keeps its members: what was refused are members more, or
// again. When it has been below its minimum for longer than its grace, it has no prospect, and goes too.
func (e *Executor) rollBack(ctx context.Context, r *bindResult) {
	id := r.bind.Gang.Gang()
	e.Mirror.Hold(id, e.Now().Add(e.noteRefusal(id, r)))
	running, stale := e.running(id)
	half := r.bound
	switch {
	case stale:
		half = append(half, running...)
	case len(running) > 0:
		return
	}
	for _, a := range half {
		p := plan.PodRef{Namespace: a.Namespace, Name: a.Pod, UID: a.UID}
		e.once("roll back "+p.UID, func() { e.insist(ctx, id, p) })
	}
}

// noteRefusal notes which pods of a gang were refused, and returns how long it is to wait.
func (e *Executor) noteRefusal(id snapshot.GangID, r *bindResult) (wait time.Duration) {
	maps.DeleteFunc(e.refusals, func(id snapshot.GangID, _ *refusal) bool { return e.Mirror.Gang(id) == nil })
	if e.refusals == nil {
		e.refusals = map[snapshot.GangID]*refusal{}
	}
	known := e.refusals[id]
	if known == nil {
		known = &refusal{pods: map[string]bool{}}
		e.refusals[id] = known
	}
	for k, a := range r.failed {
		if refused(r.errs[k : k+1]) {
			known.pods[a.UID] = true
		}
	}
	const doublings = 5 // beyond the most
	known.times++
	return min(refusedMost, refusedFor<<min(known.times-1, doublings))
}

// running lists the members that a gang had before this bind, and says whether it has been below its
// minimum for longer than its grace.
func (e *Executor) running(id snapshot.GangID) (members []plan.Assignment, stale bool) {
	g := e.Mirror.Gang(id)
	if g == nil {
		return nil, false
	}
	for _, p := range g.Members {
		if p.Node != "" && !p.Terminating {
			members = append(members, plan.Assignment{Namespace: p.Namespace, Pod: p.Name, UID: p.UID, Node: p.Node})
		}
	}
	return members, !g.ShortSince.IsZero() && g.Grace >= 0 && e.Now().Sub(g.ShortSince) >= g.Grace
}

// insist evicts a pod of a gang, until it is gone or another one, or the gang has come to be whole after
// all: a disruption budget may keep the pod for as long as that takes.
func (e *Executor) insist(ctx context.Context, gang snapshot.GangID, p plan.PodRef) {
	for pace := again; !e.whole(gang); {
		err := e.evict(ctx, p)
		if err == nil {
			return
		}
		e.Log.V(1).Info("Rolling back a bind failed; trying again", "pod", p.Namespace+"/"+p.Name, "reason", err.Error())
		if !sleep(ctx, pace.Step()) {
			return // it is short of its minimum: a successor sees that
		}
	}
}

// whole says whether a gang has its minimum by now.
func (e *Executor) whole(id snapshot.GangID) bool {
	g := e.Mirror.Gang(id)
	if g == nil {
		return false
	}
	bound := map[string]int{}
	for _, p := range g.Members {
		if p.Node != "" && !p.Terminating {
			bound[p.Group]++
		}
	}
	return !slices.ContainsFunc(g.Groups, func(grp snapshot.Group) bool { return bound[grp.Name] < grp.Min })
}
