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

// carryOut turns evictions and grants into steps, as the kinds of their gangs allow: a gang that can be
// suspended is first, so that its pods are not replaced, and comes back by itself; of worker groups that
// capmgr resizes, the pods are named, for the same reason. Everything else is evicted.
func (d *decision) carryOut() (stops, resizes []plan.Step) {
	leaves := d.leaves()
	resizes, named := d.resizes(leaves)
	for _, step := range d.evictions {
		e, ok := step.(plan.Evict)
		if !ok {
			stops = append(stops, step)
			continue
		}
		if g := d.s.Gang(e.Gang.Gang()); e.Whole && g.Suspendable.UID != "" {
			stops = append(stops, plan.Suspend{Gang: e.Gang, Object: plan.Of(g.Suspendable), Mode: snapshot.SuspendedForOthers, For: e.For, Because: e.Because})
		}
		e.Pods = slices.DeleteFunc(slices.Clone(e.Pods), func(p plan.PodRef) bool { return named[p.UID] })
		if len(e.Pods) > 0 {
			stops = append(stops, e)
		}
	}
	return stops, resizes
}

// leaves files the pods of evictions that can be named instead.
func (d *decision) leaves() map[crew]*leave {
	leaves := map[crew]*leave{}
	for _, step := range d.evictions {
		e, ok := step.(plan.Evict)
		if !ok || e.Whole {
			continue
		}
		g := d.s.Gang(e.Gang.Gang())
		if g.Scaler != snapshot.ScaledByCapmgr || d.s.Now.Before(g.ContendedUntil) {
			continue
		}
		for _, p := range e.Pods {
			k := slices.IndexFunc(g.Members, func(m *snapshot.Pod) bool { return m.UID == p.UID })
			if groupOf(g, g.Members[k].Group).Workers != nil {
				d.file(leaves, crew{g.ID, g.Members[k].Group}, p.UID, e)
			}
		}
	}
	return leaves
}

func (d *decision) file(leaves map[crew]*leave, c crew, uid string, e plan.Evict) {
	l := leaves[c]
	if l == nil {
		l = &leave{because: e.Because}
		leaves[c] = l
	}
	l.pods = append(l.pods, uid)
	if e.For.UID != "" && !slices.Contains(l.forWhom, e.For) {
		l.forWhom = append(l.forWhom, e.For)
		l.urgent = l.urgent || d.s.Gang(e.For.Gang()).NonPreemptible
	}
}

// resizes are the changes of worker groups, and the pods that they name.
func (d *decision) resizes(leaves map[crew]*leave) (out []plan.Step, named map[string]bool) {
	grants := d.ceilings()
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
	named = map[string]bool{}
	for _, step := range steps {
		r, ok := step.(plan.Resize)
		if !ok {
			out = append(out, step)
			continue
		}
		if d.stopsAll(r.Gang) {
			continue
		}
		if l := leaves[crew{r.Gang.Gang(), r.Name}]; l != nil {
			r.For = l.forWhom
		}
		for _, l := range r.Leavers {
			named[l.UID] = true
		}
		out = append(out, r)
	}
	return out, named
}

// stopsAll says whether this decision stops a gang.
func (d *decision) stopsAll(g plan.Owner) bool {
	return slices.ContainsFunc(d.evictions, func(step plan.Step) bool {
		e, ok := step.(plan.Evict)
		return ok && e.Whole && e.Gang.UID == g.UID
	})
}

// grants says how many replicas each worker group of a gang may have: those that run, and those that have
// a place by now. A gang that was not served to the end, or has not its minimum, keeps what it has.
func (d *decision) grants(w *work, leaves map[crew]*leave) (out []scaling.Grant) {
	g := w.gang
	if g.Scaler != snapshot.ScaledByCapmgr || w.verdict.Reason != plan.Running || w.expects && len(w.missing) > 0 {
		return nil
	}
	for k := range g.Groups {
		grp := &g.Groups[k]
		if grp.Workers == nil {
			continue
		}
		grant := scaling.Grant{Gang: g.ID, Group: grp.Name, Replicas: grp.Workers.Replicas}
		if w.servedOut() {
			grant.Replicas = d.staying(w, grp) + w.replicas[grp.Name]
			grant.Because = w.because(grant.Replicas > grp.Workers.Replicas)
		}
		for _, p := range w.bind {
			grant.Keep = append(grant.Keep, p.Pod.UID)
		}
		leaves[crew{g.ID, grp.Name}].into(&grant)
		out = append(out, grant)
	}
	return out
}

// servedOut says whether every unit of a gang has had its turn.
func (w *work) servedOut() bool { return w.grown == len(w.elastic) || w.next != nil || w.stopped }

// because is why a gang's worker groups have the size that they have.
func (w *work) because(grows bool) string {
	switch {
	case grows:
	case w.next != nil:
		return fmt.Sprintf("%s: %s", w.next.Reason, w.next.Message)
	case w.stopped:
		return "no more are wanted"
	}
	return "there is room for it"
}

// remaining is what is left of a worker group of a gang that needs nothing, without those who leave.
func (d *decision) remaining(c crew, l *leave) scaling.Grant {
	k, _ := slices.BinarySearchFunc(d.s.Gangs, c.gang, func(g *snapshot.Gang, id snapshot.GangID) int { return cmp.Compare(g.ID, id) })
	g, w := d.s.Gangs[k], &work{muster: d.world.musters[k]}
	grant := scaling.Grant{Gang: c.gang, Group: c.group, Replicas: d.staying(w, groupOf(g, c.group))}
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
func (d *decision) staying(w *work, grp *snapshot.Group) int {
	pods := 0
	for _, p := range w.running {
		if p.Group == grp.Name && !d.evicted[p.UID] {
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
