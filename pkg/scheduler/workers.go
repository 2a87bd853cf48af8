package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// crew is a worker group whose members leave for others.
type crew struct {
	gang  snapshot.GangID
	group string
}

// leave is who of a worker group leaves, and for whom.
type leave struct {
	pods    []string // UIDs
	forWhom []plan.Owner
	because string
	urgent  bool // for work that is not kept waiting
}

// stops turns the evictions into what the kinds of their gangs allow: a gang that can be suspended is
// first, so that its pods are not replaced, and comes back by itself; of worker groups that capmgr
// resizes, the pods are named, for the same reason. Everything else is evicted.
func (d *decision) stops() (steps []plan.Step, leaves map[crew]*leave) {
	leaves = map[crew]*leave{}
	for _, step := range d.evictions {
		e, ok := step.(plan.Evict)
		if !ok {
			steps = append(steps, step)
			continue
		}
		g := d.s.Gang(e.Gang.Gang())
		switch {
		case e.Whole && g.Suspendable.UID != "":
			steps = append(steps, plan.Suspend{Gang: e.Gang, Object: plan.Of(g.Suspendable), Mode: snapshot.SuspendedForOthers, For: e.For, Because: e.Because})
		case !e.Whole && g.Scaler == snapshot.ScaledByCapmgr && !d.s.Now.Before(g.ContendedUntil):
			e.Pods = d.named(g, e, leaves)
		}
		if len(e.Pods) > 0 {
			steps = append(steps, e)
		}
	}
	return steps, leaves
}

// named files the pods of an eviction that are named instead, and returns the others.
func (d *decision) named(g *snapshot.Gang, e plan.Evict, leaves map[crew]*leave) (others []plan.PodRef) {
	for _, p := range e.Pods {
		k := slices.IndexFunc(g.Members, func(m *snapshot.Pod) bool { return m.UID == p.UID })
		if groupOf(g, g.Members[k].Group).Workers == nil {
			others = append(others, p)
			continue
		}
		c := crew{g.ID, g.Members[k].Group}
		if leaves[c] == nil {
			leaves[c] = &leave{because: e.Because}
		}
		l := leaves[c]
		l.pods = append(l.pods, p.UID)
		if e.For.UID != "" && !slices.Contains(l.forWhom, e.For) {
			l.forWhom = append(l.forWhom, e.For)
			l.urgent = l.urgent || d.s.Gang(e.For.Gang()).NonPreemptible
		}
	}
	return others
}

// resizes are the changes of worker groups.
func (d *decision) resizes(leaves map[crew]*leave) []plan.Step {
	var grants []scaling.Grant
	done := map[crew]bool{}
	for _, w := range d.works {
		for _, grant := range d.grants(w, leaves) {
			done[crew{grant.Gang, grant.Group}] = true
			grants = append(grants, grant)
		}
	}
	for c, l := range leaves { // of gangs that need nothing
		if !done[c] {
			grants = append(grants, d.remaining(c, l))
		}
	}
	slices.SortFunc(grants, func(a, b scaling.Grant) int {
		return cmp.Or(cmp.Compare(a.Gang, b.Gang), cmp.Compare(a.Group, b.Group))
	})
	steps, next := scaling.WorkerSteps(d.s, grants)
	d.look(next)
	for k, step := range steps {
		if r, ok := step.(plan.Resize); ok {
			if l := leaves[crew{r.Gang.Gang(), r.Name}]; l != nil {
				r.For = l.forWhom
				steps[k] = r
			}
		}
	}
	return steps
}

// grants says how many replicas each worker group of a gang may have: those that run, and those that have
// a place by now. A gang that was not served to the end, or has not its minimum, keeps what it has.
func (d *decision) grants(w *work, leaves map[crew]*leave) (out []scaling.Grant) {
	g := w.gang
	if g.Scaler == snapshot.ScaledByNobody || w.verdict.Reason != plan.Running || w.expects && len(w.missing) > 0 || !w.servedOut() {
		return nil
	}
	for k := range g.Groups {
		grp := &g.Groups[k]
		if grp.Workers == nil {
			continue
		}
		l := leaves[crew{g.ID, grp.Name}]
		grant := scaling.Grant{Gang: g.ID, Group: grp.Name, Replicas: w.staying(grp, l) + w.replicas[grp.Name], Because: w.because()}
		for _, p := range w.bind {
			grant.Keep = append(grant.Keep, p.Pod.UID)
		}
		l.into(&grant)
		out = append(out, grant)
	}
	return out
}

// servedOut says whether every unit of a gang has had its turn.
func (w *work) servedOut() bool { return w.grown == len(w.elastic) || w.next != nil || w.stopped }

// because is why a gang's worker groups have the size that they have.
func (w *work) because() string {
	if w.next != nil {
		return fmt.Sprintf("%s: %s", w.next.Reason, w.next.Message)
	}
	return "there is room for it"
}

// remaining is what is left of a worker group of a gang that needs nothing, without those who leave.
func (d *decision) remaining(c crew, l *leave) scaling.Grant {
	k, _ := slices.BinarySearchFunc(d.s.Gangs, c.gang, func(g *snapshot.Gang, id snapshot.GangID) int { return cmp.Compare(g.ID, id) })
	g, w := d.s.Gangs[k], &work{muster: d.world.musters[k]}
	grant := scaling.Grant{Gang: c.gang, Group: c.group, Replicas: w.staying(groupOf(g, c.group), l)}
	l.into(&grant)
	return grant
}

func (l *leave) into(grant *scaling.Grant) {
	if l == nil {
		return
	}
	grant.Leave, grant.Because = l.pods, l.because
	if !l.urgent {
		grant.Grace = scaling.PreemptGrace
	}
}

// staying counts the replicas of a group that run, or are bound now, without those who leave.
func (w *work) staying(grp *snapshot.Group, l *leave) int {
	pods := 0
	for _, p := range w.running {
		if p.Group == grp.Name && (l == nil || !slices.Contains(l.pods, p.UID)) {
			pods++
		}
	}
	for _, p := range w.missing { // the minimum is bound now
		if p.Group == grp.Name {
			pods++
		}
	}
	return grp.Workers.Floor(pods)
}
