package scheduler

import (
	"slices"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// world is a snapshot as the decision accounts it: ledger, room, and what follows from each gang. It is
// at rest between two decisions, and follows from one snapshot to the next by what has changed: values
// that did not change are the same pointers.
type world struct {
	s       *snapshot.Snapshot
	ledger  *ledger
	room    *room
	musters []*muster                   // parallel to the snapshot's gangs
	victims *victims                    // nil until somebody looks for some
	ending  map[snapshot.GangID]*muster // those that run and are known to end
	spent   *scaling.Spending
	moved   []string // nodes of gangs that have changed since spent was brought up to date

	bookings map[snapshot.GangID][]*snapshot.Booking
	works    []*work // to be used again
	used     int     // of them, by the decision under way
}

// blank is a sheet to work on that nobody uses any more.
func (w *world) blank() *work {
	if w.used == len(w.works) {
		w.works = append(w.works, &work{})
	}
	out := w.works[w.used]
	*out = work{}
	w.used++
	return out
}

func newWorld(fit Fitter, queues []*snapshot.Queue) *world {
	return &world{s: &snapshot.Snapshot{Queues: queues}, ledger: newLedger(queues), room: newRoom(fit), ending: map[snapshot.GangID]*muster{}, spent: scaling.NewSpending()}
}

// follow brings the account to a snapshot. It returns false where starting over is the only way.
func (w *world) follow(s *snapshot.Snapshot) bool {
	if !slices.Equal(w.s.Queues, s.Queues) || w.room.littered() {
		return false
	}
	w.bookings = make(map[snapshot.GangID][]*snapshot.Booking, len(s.Bookings))
	for _, b := range s.Bookings {
		if !b.Warm {
			w.bookings[b.Gang] = append(w.bookings[b.Gang], b)
		}
	}
	w.room.follow(w.s, s)
	w.gangs(w.s.Gangs, s.Gangs)
	w.spent.Follow(s, w.moved, w.ledger.chain)
	w.s, w.moved = s, w.moved[:0]
	w.ledger.reset()
	return true
}

// gangs replaces the musters of the gangs that have changed. Both lists are sorted by ID.
func (w *world) gangs(old, now []*snapshot.Gang) {
	musters := make([]*muster, 0, len(now))
	var come []*muster
	k := 0
	for _, g := range now {
		for k < len(old) && old[k] != g && old[k].ID < g.ID {
			w.leave(w.musters[k])
			k++
		}
		switch {
		case k < len(old) && old[k] == g:
			m := w.musters[k]
			if m.booked != (len(w.bookings[g.ID]) > 0) {
				w.leave(m)
				come = append(come, m)
			}
			musters = append(musters, m)
			k++
			continue
		case k < len(old) && old[k].ID == g.ID:
			w.leave(w.musters[k])
			k++
		}
		m := musterOf(g)
		m.account = w.ledger.accounts[g.Queue]
		m.shut = m.account.closedTo(g.Namespace) != ""
		musters, come = append(musters, m), append(come, m)
	}
	for ; k < len(old); k++ {
		w.leave(w.musters[k])
	}
	w.musters = musters
	w.enter(come)
}

// leave takes a gang out of all accounts.
func (w *world) leave(m *muster) {
	w.ledger.leave(m)
	w.touch(m)
	delete(w.ending, m.gang.ID)
	if m.queues() {
		at, there := slices.BinarySearchFunc(m.account.waiting, m, compareMusters)
		if there {
			m.account.waiting = slices.Delete(m.account.waiting, at, at+1)
		}
	}
	if w.victims != nil {
		w.victims.remove(m)
	}
}

// touch notes where a gang that has changed has pods.
func (w *world) touch(m *muster) {
	for _, p := range m.gang.Members {
		if p.Node != "" {
			w.moved = append(w.moved, p.Node)
		}
	}
}

// enter puts gangs into all accounts.
func (w *world) enter(come []*muster) {
	const few = 64 // beyond it is cheaper to sort once
	var sort map[*account]bool
	for _, m := range come {
		m.booked, m.verdict, m.like = len(w.bookings[m.gang.ID]) > 0, nil, nil
		w.ledger.enter(m)
		w.touch(m)
		if len(m.running) > 0 && !m.gang.Ends.IsZero() {
			w.ending[m.gang.ID] = m
		}
		if w.victims != nil {
			w.victims.add(m)
		}
		switch a := m.account; {
		case !m.queues():
		case len(come) > few:
			if sort == nil {
				sort = map[*account]bool{}
			}
			a.waiting, sort[a] = append(a.waiting, m), true
		default:
			at, _ := slices.BinarySearchFunc(a.waiting, m, compareMusters)
			a.waiting = slices.Insert(a.waiting, at, m)
		}
	}
	for _, a := range w.ledger.all {
		if sort[a] {
			slices.SortFunc(a.waiting, compareMusters)
		}
	}
}

// rest takes back all that a decision did.
func (w *world) rest() {
	w.used = 0
	w.room.rest()
	if w.victims != nil {
		w.victims.rest()
	}
}

// follow files the nodes that changed, in themselves or in whom they are booked for. Both lists are
// sorted by name.
func (r *room) follow(old, now *snapshot.Snapshot) {
	owners := scaling.Owners(now)
	slots := make([]*slot, 0, len(now.Nodes))
	k := 0
	for _, n := range now.Nodes {
		for k < len(old.Nodes) && old.Nodes[k] != n && old.Nodes[k].Name < n.Name {
			r.remove(r.nodes[k])
			k++
		}
		switch {
		case k < len(old.Nodes) && old.Nodes[k] == n:
			slots = append(slots, r.nodes[k])
			k++
			continue
		case k < len(old.Nodes) && old.Nodes[k].Name == n.Name:
			r.remove(r.nodes[k])
			k++
		}
		slots = append(slots, r.slotOf(n, owners[n.InstanceID]))
	}
	for ; k < len(old.Nodes); k++ {
		r.remove(r.nodes[k])
	}
	r.nodes = slots
	for _, some := range [...]map[string]snapshot.GangID{r.owners, owners} {
		for id := range some {
			if sl := r.byInstance[id]; sl != nil && sl.booked != owners[id] {
				r.rebook(sl, owners[id])
			}
		}
	}
	r.owners = owners
	r.expect(scaling.Coming(now))
}

// slotOf files a node; nil where it takes no pods.
func (r *room) slotOf(n *snapshot.Node, owner snapshot.GangID) *slot {
	if !n.Usable || n.Draining {
		return nil
	}
	sl := &slot{node: n, free: n.Free(), pods: n.FreePods(), booked: owner}
	for _, p := range n.Pods {
		if p.Terminating {
			sl.leaving = sl.leaving.Add(p.Request)
			sl.leavingN++
		}
	}
	r.add(sl)
	r.byName[n.Name] = sl
	if n.InstanceID != "" {
		r.byInstance[n.InstanceID] = sl
	}
	r.allocated = r.allocated.Add(n.Allocatable)
	r.zones[n.Zone]++
	return sl
}

// remove takes out a node that is gone or has changed; nil is none.
func (r *room) remove(sl *slot) {
	if sl == nil {
		return
	}
	r.unshelve(sl)
	sl.leavingN = 0
	r.vacates(sl)
	delete(r.byName, sl.node.Name)
	if r.byInstance[sl.node.InstanceID] == sl {
		delete(r.byInstance, sl.node.InstanceID)
	}
	r.allocated = r.allocated.Sub(sl.node.Allocatable)
	if r.zones[sl.node.Zone]--; r.zones[sl.node.Zone] == 0 {
		delete(r.zones, sl.node.Zone)
	}
}

// expect puts in the nodes that are on their way.
func (r *room) expect(arrivals []scaling.Arrival) {
	r.arriving = make(map[string]*slot, len(arrivals))
	for _, a := range arrivals {
		sl := &slot{node: a.Node, free: a.Node.Free(), pods: a.Node.FreePods(), stage: coming, booked: a.Booked, at: a.At}
		r.add(sl)
		r.coming, r.edited = append(r.coming, sl), true
		r.arriving[a.Node.Name] = sl
		if a.Node.InstanceID != "" {
			r.arriving[a.Node.InstanceID] = sl
		}
	}
}

// rest returns to what the snapshot says of the nodes. Those that are coming are filed anew each time:
// they are few, and expected later by the minute.
func (r *room) rest() {
	r.undo(0)
	r.close(0)
	for _, sl := range r.coming {
		r.unshelve(sl)
	}
	r.coming = nil
	for _, sl := range r.unbooked {
		if sl.stage == usable {
			r.rebook(sl, r.owners[sl.node.InstanceID])
		}
	}
	r.unbooked = r.unbooked[:0]
	for _, sl := range r.keeping {
		sl.kept, sl.slack, r.edited = nil, snapshot.Resources{}, true
	}
	r.lending.owners = r.lending.owners[:0]
	clear(r.lending.seated)
	r.keeping, r.guest, r.looks = r.keeping[:0], guest{}, 0
	if r.edited { // what was done was more than what is undone by its log
		r.edited = false
		r.changed()
	}
	const many = 1 << 12
	if len(r.reasons) > many {
		clear(r.reasons)
	}
}

// littered says that most of what the room remembers is of nodes and gangs that are no more.
func (r *room) littered() bool {
	const some = 256
	return len(r.byKind) > some+4*len(r.nodes)
}
