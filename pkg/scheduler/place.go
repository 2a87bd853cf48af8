package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// demand is what a gang asks room for at once: all that it lacks of its minimum, or its next elastic unit.
type demand struct {
	*work
	pods    []*snapshot.Pod
	need    snapshot.Resources
	elastic bool          // beyond the minimum
	spare   bool          // beyond the wish
	said    *plan.Verdict // the answer: on the gang, or on its next unit
	kind    string        // equal for demands that fail alike; "" where nothing else is like it
	kept    string        // who would make room but for a disruption budget; see there
}

// base is what a gang lacks of its minimum.
func (w *work) base() *demand {
	q := &demand{work: w, pods: w.missing, need: w.need, said: &w.verdict}
	if w.plain() {
		q.kind = w.gang.Shape
	}
	return q
}

// unit is the gang's next elastic unit.
func (w *work) unit() *demand {
	u := &w.elastic[w.grown]
	pods := u.pods
	q := &demand{work: w, pods: pods, need: sumOf(pods), elastic: true, spare: u.spare, said: &plan.Verdict{}}
	if p := pods[0]; len(pods) == 1 && p.Class != "" && !p.Alone && len(w.bookings) == 0 {
		q.kind = fmt.Sprint("one ", p.Class, " ", p.Request)
	}
	return q
}

// plain says that nothing sets a gang apart from others of its shape.
func (w *work) plain() bool {
	return len(w.bookings) == 0 && len(w.running) == 0 && w.gang.EvictedAt.IsZero()
}

// place finds a place for a demand: on room that is free now, else on room that is about to be free, else
// on nodes that are coming, by buying, or by evicting, whichever its right and its queue's patience put
// first. Only free room is bound to; what it waits for is held against those that come after. It returns
// false where nothing is.
func (d *decision) place(q *demand) bool {
	d.room.guest = d.guestOf(q.muster)
	if d.shrinks(q.work) {
		q.say(&blocked{reason: plan.GangIncomplete, message: d.evictionOf(q.gang)})
		return false
	}
	if q.spare {
		return d.placeSpare(q)
	}
	if b := d.ledger.within(q.gang, q.need); b != nil {
		d.track(q.work, nil)
		if d.evictFor(q, nil) {
			return true
		}
		q.say(b)
		q.said.Message += q.kept
		return false
	}
	if q.kind != "" && len(d.room.keeping) > 0 { // what is kept is open to some and not to others
		q.kind = fmt.Sprint(q.kind, " ", q.gang.Queue, " ", q.gang.Priority, " ", q.gang.NonPreemptible, " ", q.gang.Runtime)
	}
	f := d.hopeless[q.kind]
	if f == nil || q.kind == "" {
		if f = d.placeReal(q); f == nil {
			return true
		}
	}
	if q.elastic && d.taking(q.work) {
		q.waitFor(time.Time{}, "the gang is being bound to the nodes that were bought for it", "Looking for more when that is done")
		return false
	}
	open := d.track(q.work, f)
	impatient := d.patience(q.gang) < d.expected(q, open, f)
	if impatient && d.evictFor(q, f) || d.awaitComing(q, open, f) || d.mayBuy(q, open) && d.buy(q, f) || !impatient && d.evictFor(q, f) {
		return true
	}
	if q.said.Reason != plan.WaitingForNodes && q.said.Reason != plan.WaitingForPreemption { // they come first
		q.said.Message += q.kept
	}
	d.abandon(q.work)
	if q.kind != "" {
		f.full = true
		d.hopeless[q.kind] = f
	}
	return false
}

// mayBuy says whether nodes may be bought for a demand: one purchase at a time for a gang.
func (d *decision) mayBuy(q *demand, open *scaling.Progress) bool {
	if open == nil {
		return true
	}
	q.waitFor(open.ETA, open.String(), "Waiting for the nodes that were bought for it before any more are")
	return false
}

// placeSpare finds a place for what is beyond the wish, on room that is free and by nobody's leave.
func (d *decision) placeSpare(q *demand) bool {
	if b := d.ledger.within(q.gang, q.need); b != nil {
		q.say(b)
		return false
	}
	if d.placeNow(q) {
		return true
	}
	q.say(&blocked{plan.NoNodeFits, "no room is left over for more than its wish", ""})
	return false
}

// placeReal finds a place on nodes that are there: on what is free, to bind to it, else on what others are
// leaving, to wait for it. It returns nil, or what stands in the way.
func (d *decision) placeReal(q *demand) *failure {
	mark := d.room.mark()
	if d.placeInZone(q) {
		d.take(q, mark)
		return nil
	}
	why, pod := d.room.placeAll(q.pods, q.gang.ID, usable)
	switch {
	case why == nil:
		d.take(q, mark)
	case d.room.tryAll(q.pods, q.gang.ID, leaving):
		d.awaitLeaving(q, mark)
	default:
		return q.failure(why, pod)
	}
	return nil
}

// placeNow binds a demand to what is free.
func (d *decision) placeNow(q *demand) bool {
	mark := d.room.mark()
	if !d.placeInZone(q) && !d.room.tryAll(q.pods, q.gang.ID, usable) {
		return false
	}
	d.take(q, mark)
	return true
}

// failure is what stands in the way of a demand, of which a pod found no place.
func (q *demand) failure(why *misfits, pod *snapshot.Pod) *failure {
	return &failure{why: why, pod: pod, found: slices.Index(q.pods, pod), of: len(q.pods)}
}

// take binds what was placed since mark, or holds the room while others are yet to leave the quota for it.
func (d *decision) take(q *demand, mark int) {
	b := d.ledger.vacant(q.gang, q.need)
	if b == nil || q.unborn() {
		d.bindNow(q, mark)
		return
	}
	d.ledger.charge(q.gang, q.need)
	q.said.Reason, q.said.Message = b.reason, b.message
	q.said.Doing = "Binding as soon as it is"
}

// bindNow binds what was placed since mark. Pods that do not exist yet are granted: the room is theirs until
// the next decision, which holds it again.
func (d *decision) bindNow(q *demand, mark int) {
	if len(q.bookings) > 0 && !q.elastic {
		d.room.seat(q.gang.ID)
	}
	d.ready(q.work)
	if placed, _ := d.room.since(mark); q.unborn() {
		q.expects = true
	} else {
		q.bind = append(q.bind, placed...)
	}
	d.pin(q.work)
	d.ledger.charge(q.gang, q.need)
	q.said.Reason = plan.Running
}

// awaitLeaving holds the room that others are leaving.
func (d *decision) awaitLeaving(q *demand, mark int) {
	d.ledger.charge(q.gang, q.need)
	nodes := map[string]bool{}
	placed, _ := d.room.since(mark)
	for _, p := range placed {
		nodes[p.Node.Name] = true
	}
	q.said.Reason = plan.WaitingForPreemption
	q.said.Message = fmt.Sprintf("pods on %s are still on their way out; %s", nodes1(len(nodes)), wait(len(q.pods)))
	q.said.Doing = "Binding as soon as their room is free"
}

// awaitComing holds room on nodes that are on their way: those bought for the gang, or any.
func (d *decision) awaitComing(q *demand, open *scaling.Progress, f *failure) bool {
	owners := len(d.room.lending.owners)
	if f.full && open == nil && f.owners == owners {
		return false
	}
	f.owners = owners
	mark := d.room.mark()
	placed := (open != nil || !f.full) && d.room.tryAll(q.pods, q.gang.ID, coming) || open == nil && d.borrow(q)
	switch {
	case open != nil && (placed || !q.elastic):
		q.waitFor(open.ETA, open.String(), "Waiting for the nodes that were bought for it")
	case placed:
		q.waitFor(d.arrival(mark), "the nodes that are coming have room for it", "Waiting for those nodes")
	default:
		return false
	}
	d.ledger.charge(q.gang, q.need)
	return true
}

// arrival is when the last coming node that was used since mark is expected.
func (d *decision) arrival(mark int) (at time.Time) {
	_, slots := d.room.since(mark)
	for _, sl := range slots {
		if sl.at.After(at) {
			at = sl.at
		}
	}
	return at
}

func (q *demand) waitFor(eta time.Time, message, doing string) {
	q.said.Reason, q.said.Doing, q.said.ETA = plan.WaitingForNodes, doing, eta
	q.said.Message = fmt.Sprintf("%s; %s", message, wait(len(q.pods)))
}

func (q *demand) say(b *blocked) { say(q.said, b) }

func (w *work) say(b *blocked) { say(&w.verdict, b) }

func say(v *plan.Verdict, b *blocked) { v.Reason, v.Message, v.Advice = b.reason, b.message, b.advice }

// step is the bind of everything that the decision placed for a gang.
func (w *work) step() plan.Step {
	bind := plan.Bind{Gang: plan.OwnerOf(w.gang), Queue: w.gang.Queue}
	for _, p := range w.bind {
		bind.Assignments = append(bind.Assignments, plan.Assignment{
			Namespace: p.Pod.Namespace, Pod: p.Pod.Name, UID: p.Pod.UID, Node: p.Node.Name})
	}
	return bind
}

// waits is how many elastic pods are not bound yet.
func (w *work) waits() (n int) {
	for k := range w.elastic {
		if u := &w.elastic[k]; !u.spare || !u.unborn {
			n += len(u.pods)
		}
	}
	return n - w.units
}

// progress says of a gang that runs how much of it does, and why the rest waits.
func (w *work) progress() {
	have, rest := len(w.running)+len(w.bind), w.waits()
	v := &w.verdict
	switch {
	case rest == 0 && have == 0:
		v.Message = "it needs no pods"
	case rest == 0 && have == 1:
		v.Message = "its pod is bound"
	case rest == 0:
		v.Message = fmt.Sprintf("its %s are bound", pods(have))
	case rest == w.making:
		v.Message = fmt.Sprintf("%d of %s are bound; there is room for the others, and they are being made", have, pods(have+rest))
	default:
		v.Message = fmt.Sprintf("%d of %s are bound", have, pods(have+rest))
	}
	if next := w.next; rest > w.making && next != nil {
		v.Message += fmt.Sprintf("; the next waits: %s: %s", next.Reason, next.Message)
		v.Doing, v.Advice, v.ETA = next.Doing, next.Advice, next.ETA
	}
}
