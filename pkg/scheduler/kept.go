package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Who is kept by a disruption budget is looked for on behalf of the first few gangs that find nobody to
// evict, among the first few of those that are kept: the answer changes no decision.
const (
	keptAsked  = 4
	keptLooked = 64
)

// guard lists a gang of which a disruption budget keeps pods, or takes it off the list.
func (v *victims) guard(m *muster, is bool) {
	at, there := slices.BinarySearchFunc(v.guarded, m, func(x, y *muster) int { return cmp.Compare(x.gang.ID, y.gang.ID) })
	switch {
	case is && !there:
		v.guarded = slices.Insert(v.guarded, at, m)
	case !is && there:
		v.guarded = slices.Delete(v.guarded, at, at+1)
	}
}

// kept says which gang would make room for a demand if no disruption budget kept it, as a further clause of
// the verdict; "" when there is none. f is what stands in the way; nil: a limit does.
func (d *decision) kept(q *demand, f *failure) string {
	if d.keptAsked >= keptAsked || q.spare {
		return ""
	}
	d.keptAsked++
	e := &eviction{d: d, demand: q}
	var contested snapshot.Resources
	if f != nil {
		contested = f.pod.Request
	} else {
		if b := d.ledger.within(q.gang, q.need); b == nil || b.reason != plan.WaitingForQuota {
			return "" // no eviction helps
		}
		_, dim := e.limited()
		contested = e.only(dim)
	}
	list := d.stock().guarded
	for _, m := range list[:min(len(list), keptLooked)] {
		d.room.looks++
		if slices.ContainsFunc(m.running, func(p *snapshot.Pod) bool { return d.evicted[p.UID] }) {
			continue // it makes room as it is
		}
		_, all := cut(m.gang)
		if why, _ := e.mayGo(all, contested); why == none || f != nil && !d.helps(all, q, f) {
			continue
		}
		return fmt.Sprintf("; %s would make room, and %s", plan.OwnerOf(m.gang), guardOf(all.pods))
	}
	return ""
}

// helps says whether the pod that found no place would find one without a gang.
func (d *decision) helps(all *chunk, q *demand, f *failure) bool {
	mark := d.room.mark()
	defer d.room.undo(mark)
	if d.room.placeMost(q.pods[:f.found], q.gang.ID, leaving) != nil {
		return false
	}
	for _, p := range all.pods {
		d.room.evict(p)
	}
	return d.room.placeOne(q.pods[f.found], q.gang.ID, leaving)
}
