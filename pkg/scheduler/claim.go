package scheduler

import (
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// precedence is what right a waiting gang has to room before it is its queue's turn.
type precedence int

const (
	cleared  precedence = iota // others were evicted for it
	resumed                    // it was let go on a moment ago, and its pods are being made
	hole                       // it runs, and lost members
	promised                   // workers of it were granted a moment ago
	paid                       // nodes were bought for it
	nobody                     // none
)

func (w *work) claim() precedence {
	switch {
	case !w.gang.EvictedAt.IsZero():
		return cleared
	case !w.gang.ResumedAt.IsZero() && !w.whole():
		return resumed
	case !w.whole() && len(w.running) > 0:
		return hole
	case w.granted:
		return promised
	case len(w.bookings) > 0:
		return paid
	}
	return nobody
}

// serveClaims gives gangs what they have a claim on, in the order of their claims. Those for which others were
// evicted take one unit each in turn: what was left for one is not to go to another that wants more.
func (d *decision) serveClaims(queue *line, claimed []*work) {
	for len(claimed) > 0 {
		var again []*work
		for _, w := range claimed {
			if d.tired() {
				return
			}
			if d.serveClaim(queue, w) {
				again = append(again, w)
			}
		}
		claimed = again
	}
}

// serveClaim gives a gang what it has a claim on, or the next of it: then it returns true. For what it still
// lacks it waits its turn.
func (d *decision) serveClaim(queue *line, w *work) (more bool) {
	if w.grown == 0 {
		d.hear(w.muster)
	}
	switch {
	case w.whole():
		had := w.grown
		if d.claimUnits(w) { // what nobody needs any more is given up before the others are served
			d.track(w, nil)
			d.placed(w)
		}
		if w.claim() == cleared && w.grown > had && w.next == nil {
			return true
		}
		d.grow(queue, w)
		return false
	case w.claim() <= resumed:
		d.place(w.base())
	case !d.claimRoom(w.base()) || w.holds:
		queue.push(w.waiting())
	}
	if len(w.bind) > 0 {
		d.claimUnits(w)
		d.grow(queue, w)
	}
	return false
}

// claimRoom gives a gang what it has a claim on. It returns false where that is not enough: to buy or to
// evict it waits its turn.
func (d *decision) claimRoom(q *demand) bool {
	d.room.guest = d.guestOf(q.muster)
	if d.shrinks(q.work) || d.ledger.within(q.gang, q.need) != nil {
		return false
	}
	if q.claim() == hole {
		f := d.placeReal(q)
		return f == nil || d.hold(q, d.track(q.work, f))
	}
	return d.claimNodes(q)
}

// claimNodes binds a gang to the nodes that were bought for it. Until they are all usable it holds them, and
// no more than it lacks of the room that is free: that is for those whose turn comes before.
func (d *decision) claimNodes(q *demand) bool {
	d.room.own = q.own()
	placed := d.placeNow(q)
	d.room.own = nil
	if placed {
		return true
	}
	var f *failure
	mark := d.room.mark()
	if why, pod := d.room.placeAll(q.pods, q.gang.ID, usable); why != nil {
		f = q.failure(why, pod)
	}
	d.room.undo(mark)
	return d.hold(q, d.track(q.work, f))
}

// own says which pods of a demand its nodes were bought for: those with GPUs, if any has.
func (q *demand) own() func(*snapshot.Pod) bool {
	return func(p *snapshot.Pod) bool { return p.Request.MilliGPU > 0 || q.need.MilliGPU == 0 }
}

// hold keeps the nodes that were bought for a gang and are not all there, and what else it needs.
func (d *decision) hold(q *demand, open *scaling.Progress) bool {
	if open == nil {
		return false
	}
	mark := d.room.mark()
	d.room.ownFirst = q.own()
	d.room.tryAll(q.pods, q.gang.ID, coming)
	d.room.ownFirst = nil
	q.holds, q.held = true, slices.Clone(d.room.log[mark:])
	d.room.seat(q.gang.ID)
	d.ledger.charge(q.gang, q.need)
	q.waitFor(open.ETA, open.String(), "Waiting for the nodes that were bought for it")
	return true
}

// trade gives up what a gang holds for room that is free, where there is enough when its turn comes.
func (d *decision) trade(w *work) bool {
	q, before, mark := w.base(), w.verdict, d.room.mark()
	d.room.guest = d.guestOf(w.muster)
	d.room.giveBack(w.held)
	d.ledger.charge(w.gang, q.need.Times(-1))
	w.verdict = plan.VerdictFor(w.gang, w.gang.Queue)
	if !d.placeNow(q) {
		d.room.undo(mark)
		d.ledger.charge(w.gang, q.need)
		w.verdict = before
	}
	return true
}

// claimUnits gives the elastic units of a gang what it has a claim on: the room that others were evicted
// from for it, what was granted it a moment ago, and what stands free of the nodes that were bought for
// it. It returns false where units are left that it may have more for.
func (d *decision) claimUnits(w *work) bool {
	cleared := !w.gang.EvictedAt.IsZero() && w.whole() // else it was for its minimum
	if len(w.bookings) == 0 && !cleared && !w.granted || d.shrinks(w) || d.ledger.admits(w.gang) != nil {
		return false
	}
	d.room.guest = d.guestOf(w.muster)
	defer func() { d.room.own = nil }()
	for w.grown < len(w.elastic) {
		u := &w.elastic[w.grown]
		granted := d.granted(w.gang, u)
		free := cleared || granted
		if u.short || u.spare && !granted || // nobody is evicted for that
			!d.wanted(w.gang, u) || !free && len(w.bookings) == 0 {
			break
		}
		q := w.unit()
		if d.ledger.within(w.gang, q.need) != nil {
			break
		}
		if d.room.own = nil; !free {
			d.room.own = q.own()
		}
		if d.placeReal(q) != nil {
			return false
		}
		w.note(q, true)
		if cleared {
			break
		}
	}
	return true
}
