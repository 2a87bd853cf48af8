package scheduler

import (
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// evictStale ends a gang that lost members while it ran and has no prospect of new ones: half a gang
// holds room and does no work. It never ends a gang that grew (its minimum does not rise while it
// runs), whose nodes or room are coming, or that is finishing.
func (d *decision) evictStale(w *work) {
	g := w.gang
	if g.ShortSince.IsZero() || g.Grace < 0 || g.Ending || len(w.bind) > 0 || len(w.running) == 0 {
		return
	}
	switch w.verdict.Reason {
	case "", plan.WaitingForNodes, plan.WaitingForPreemption, plan.Running:
		return
	}
	if due := g.ShortSince.Add(g.Grace); d.s.Now.Before(due) {
		d.look(due)
		return
	}
	step := plan.Evict{Gang: plan.OwnerOf(g), Queue: g.Queue, Whole: true,
		Because: fmt.Sprintf("because it ran below its minimum for %s and no room for the rest is in sight", g.Grace)}
	left := slices.DeleteFunc(slices.Clone(w.running), func(p *snapshot.Pod) bool { return d.evicted[p.UID] })
	if guardOf(left) != "" {
		return // every change of the budget is a decision
	}
	d.strike(g, left)
	for _, p := range left {
		step.Pods = append(step.Pods, plan.PodRef{Namespace: p.Namespace, Name: p.Name, UID: p.UID})
	}
	if len(step.Pods) > 0 {
		d.evictions = append(d.evictions, step)
	}
}
