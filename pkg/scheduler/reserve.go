package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// reservation is room that is kept for the gang that waits first in its queue. Work that comes after it
// fills in only as far as it is gone when the gang can start.
type reservation struct {
	gang  *snapshot.Gang
	queue *account
	at    time.Time // when the last of those in its way ends; zero: nobody knows
}

// guest is somebody who looks for a place, as far as reservations ask; the zero guest is welcome nowhere.
type guest struct {
	gang  *snapshot.Gang
	queue *account
	until time.Time // when it is gone at the latest, were it placed now; zero: nobody knows
	firm  bool      // it does not leave when asked to
}

// guestOf introduces a gang.
func (d *decision) guestOf(m *muster) guest {
	g := guest{gang: m.gang, queue: m.account, firm: m.gang.NonPreemptible || d.preemptMinRuntime(m.gang.Queue) > 0}
	if m.gang.Runtime > 0 {
		g.until = d.s.Now.Add(m.gang.Runtime)
	}
	return g
}

// welcome says whether somebody may use what is kept: whoever is gone in time, and whoever has to leave
// when the gang can start, because it came later to the same queue with no more right.
func (g guest) welcome(r *reservation) bool {
	switch {
	case g.gang == nil:
		return false
	case g.gang == r.gang:
		return true
	case !r.at.IsZero() && !g.until.IsZero() && !g.until.After(r.at):
		return true
	}
	later := g.gang.Priority < r.gang.Priority || g.gang.Priority == r.gang.Priority && g.gang.Created.After(r.gang.Created)
	return g.queue == r.queue && !g.firm && later
}

// open says whether a pod may take its place on a slot as far as reservations ask.
func (r *room) open(sl *slot, p *snapshot.Pod) bool {
	return sl != r.shut && (sl.kept == nil || p.Request.FitsIn(sl.slack) || r.guest.welcome(sl.kept))
}

// reserve keeps room for a gang that found none and is the first of its queue to do so: what those that run
// leave, in the order in which they end, until the gang finds its places. Of a gang that has waited long,
// and nobody knows until when, what it would use of the room that is free now: little by little all of it.
// One such gang at a time: two that wait for each other's room would get nowhere.
func (d *decision) reserve(w *work) {
	if w.account.reserved || w.gang.Suspended && !held(w.gang) || d.ledger.possible(w.gang, w.least) != nil {
		return
	}
	w.account.reserved = true
	r := &reservation{gang: w.gang, queue: w.account}
	nodes := d.keepWhatEnds(w, r)
	if nodes == nil && !d.aged && d.s.Now.Sub(w.gang.Created) >= overtakenAfter {
		nodes = d.keepWhatIsFree(w, r)
		d.aged = nodes != nil
	}
	if nodes == nil {
		return
	}
	d.plan.Reservations = append(d.plan.Reservations, plan.Reservation{Gang: plan.OwnerOf(w.gang), At: r.at, Nodes: nodes})
	v := &w.verdict
	v.Reserved = r.at
	doing := "Holding what is free on " + nodes1(len(nodes)) + " for it until there is enough"
	if !r.at.IsZero() {
		doing = "Keeping room on " + nodes1(len(nodes)) + " for when those that run there end"
		if v.ETA.IsZero() || r.at.Before(v.ETA) {
			v.ETA = r.at
		}
	}
	if v.Doing != "" {
		doing = v.Doing + ". " + doing
	}
	v.Doing = doing
}

// endings are the gangs that run of which it is known when they end, in that order.
func (d *decision) endings() []*muster {
	if !d.knowsEndings {
		d.knowsEndings = true
		for _, m := range d.world.ending {
			if m.gang.Ends.After(d.s.Now) {
				d.ends = append(d.ends, m)
			}
		}
		slices.SortFunc(d.ends, func(a, b *muster) int {
			return cmp.Or(a.gang.Ends.Compare(b.gang.Ends), cmp.Compare(a.gang.ID, b.gang.ID))
		})
	}
	return d.ends
}

// keepWhatEnds finds the first time at which the gang finds all its places, and keeps them.
func (d *decision) keepWhatEnds(w *work, r *reservation) (nodes []string) {
	ends := d.endings()
	if len(ends) == 0 {
		return nil
	}
	try := func(n int) (mark int, ok bool) {
		mark = d.room.mark()
		for _, m := range ends[:n] {
			for _, p := range m.running {
				if !d.evicted[p.UID] {
					d.room.evict(p)
				}
			}
		}
		return mark, d.room.tryAll(w.missing, w.gang.ID, leaving)
	}
	mark, ok := try(len(ends))
	d.room.undo(mark)
	if !ok {
		return nil
	}
	enough := leastWith(len(ends), func(n int) bool {
		mark, ok := try(n)
		d.room.undo(mark)
		return ok
	})
	r.at = ends[enough-1].gang.Ends
	mark, _ = try(enough)
	return d.keep(r, mark)
}

// leastWith is the least n from 1 on that has a property which all greater ones up to most have too.
func leastWith(most int, has func(n int) bool) int {
	low := 1
	for high := most; low < high; {
		if mid := (low + high) / 2; has(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// keepWhatIsFree keeps as much of the free room as the gang would use, if there is some, and the nodes are
// large enough for the gang once others have left.
func (d *decision) keepWhatIsFree(w *work, r *reservation) (nodes []string) {
	mark := d.room.mark()
	d.room.placeMost(w.missing, w.gang.ID, usable)
	if d.room.mark() == mark || !d.room.largeEnough(w.missing, w.need) {
		d.room.undo(mark)
		return nil
	}
	return d.keep(r, mark)
}

// largeEnough says whether usable nodes would be enough for pods were nobody else there, as far as sums and
// single nodes tell.
func (r *room) largeEnough(pods []*snapshot.Pod, need snapshot.Resources) bool {
	if !need.FitsIn(r.allocated) {
		return false
	}
	for _, class := range byClass(pods) {
		p := class[0]
		if !slices.ContainsFunc(r.nodes, func(sl *slot) bool {
			return sl != nil && p.Request.FitsIn(sl.node.Allocatable) && (r.classes == nil || r.classes.FitsClass(p, sl.node) == "")
		}) {
			return false
		}
	}
	return true
}

// keep takes back a trial and keeps the places that it found: what others may still use of those slots is
// what the trial left.
func (d *decision) keep(r *reservation, mark int) (nodes []string) {
	_, slots := d.room.since(mark)
	slack := map[*slot]snapshot.Resources{}
	for _, sl := range slots {
		if sl.kept == nil {
			slack[sl] = sl.free.Add(sl.leaving)
			nodes = append(nodes, sl.node.Name)
		}
	}
	d.room.undo(mark)
	for sl, left := range slack {
		sl.kept, sl.slack = r, left
		d.room.keeping = append(d.room.keeping, sl)
	}
	if len(slack) > 0 {
		d.room.changed()
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// reservedFor is for when room was reserved for a gang, as its last verdict says; zero: it was not.
func reservedFor(g *snapshot.Gang) time.Time {
	if !strings.Contains(g.LastVerdict, `"reserved"`) {
		return time.Time{}
	}
	v, err := plan.ParseVerdict(g.LastVerdict)
	if err != nil { // somebody edited it
		return time.Time{}
	}
	return v.Reserved
}

// due says whether the time has come for which room was reserved for a gang: those that filled in make room.
func (d *decision) due(m *muster) bool {
	d.look(m.reserved)
	return !m.reserved.IsZero() && !d.s.Now.Before(m.reserved)
}
