package scheduler

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// placeBase finds a place for all that a gang lacks of its minimum: on room that is free now, else
// on room that is about to be free, else on nodes that are coming, by buying, or by evicting,
// whichever its right and its queue's patience put first. Only free room is bound to; what it waits
// for is held against those that come after. It returns false where nothing is.
func (d *decision) placeBase(w *work) bool {
	need := w.need
	if d.shrinks(w) {
		w.say(&blocked{reason: plan.GangIncomplete, message: d.evictionOf(w.gang)})
		return false
	}
	if b := d.ledger.within(w.gang, need); b != nil {
		d.track(w, nil)
		if !d.evictFor(w, need) {
			w.say(b)
			return false
		}
		return true
	}
	f := d.hopeless[w.gang.Shape]
	if f == nil || !w.plain() {
		mark := d.room.mark()
		why, pod := d.room.placeAll(w.missing, w.gang.ID, usable)
		if why == nil {
			d.bindNow(w, mark, need)
			return true
		}
		if d.room.tryAll(w.missing, w.gang.ID, leaving) {
			d.awaitLeaving(w, mark, need)
			return true
		}
		f = &failure{why: why, pod: pod, found: slices.Index(w.missing, pod), of: len(w.missing)}
	}
	open := d.track(w, f)
	impatient := d.patience(w.gang) < d.expected(w, open, f)
	if impatient && d.evictFor(w, need) || d.awaitComing(w, open, f, need) || d.buy(w, f, need) ||
		!impatient && d.evictFor(w, need) {
		return true
	}
	d.abandon(w)
	if w.plain() {
		f.full = true
		d.hopeless[w.gang.Shape] = f
	}
	return false
}

// plain says that nothing sets a gang apart from others of its shape.
func (w *work) plain() bool {
	return len(w.bookings) == 0 && len(w.running) == 0 && w.gang.EvictedAt.IsZero()
}

// runs settles the purchases of a gang that has its minimum.
func (d *decision) runs(w *work) {
	w.verdict.Reason = plan.Running
	for _, b := range w.bookings {
		if scaling.Track(d.s, b).Complete() {
			d.settle(b, plan.RequestReleased, "GangPlaced", "the gang runs on its nodes; the booking is over")
		} else {
			d.settle(b, plan.RequestReleased, "NotNeeded", "the gang found room before its nodes came")
		}
	}
}

// bindNow binds what was placed since mark.
func (d *decision) bindNow(w *work, mark int, need snapshot.Resources) {
	for _, b := range w.bookings {
		if p := scaling.Track(d.s, b); p.Complete() {
			d.settle(b, plan.RequestReady, "NodesUsable", p.String())
		}
	}
	placed, _ := d.room.since(mark)
	w.bind = append(w.bind, placed...)
	d.pin(w)
	d.ledger.charge(w.gang, need)
	w.verdict.Reason = plan.Running
}

// awaitLeaving holds the room that others are leaving.
func (d *decision) awaitLeaving(w *work, mark int, need snapshot.Resources) {
	d.ledger.charge(w.gang, need)
	nodes := map[string]bool{}
	placed, _ := d.room.since(mark)
	for _, p := range placed {
		nodes[p.Node.Name] = true
	}
	w.verdict.Reason = plan.WaitingForPreemption
	w.verdict.Message = fmt.Sprintf("pods on %s are still on their way out; %s", nodes1(len(nodes)), wait(len(w.missing)))
	w.verdict.Doing = "Binding as soon as their room is free"
}

// awaitComing holds room on nodes that are on their way: those bought for the gang, or any.
func (d *decision) awaitComing(w *work, open *scaling.Progress, f *failure, need snapshot.Resources) bool {
	if f.full && open == nil {
		return false
	}
	mark := d.room.mark()
	placed := d.room.tryAll(w.missing, w.gang.ID, coming)
	switch {
	case open != nil:
		w.waitFor(open.ETA, open.String(), "Waiting for the nodes that were bought for it")
	case placed:
		w.waitFor(d.arrival(mark), "the nodes that are coming have room for it", "Waiting for those nodes")
	default:
		return false
	}
	d.ledger.charge(w.gang, need)
	return true
}

// patience is how long a gang waits for nodes rather than evict others: not at all when it is of
// those that are served at once, else what its queue says.
func (d *decision) patience(g *snapshot.Gang) time.Duration {
	b := d.boundsOf(g.Queue)
	if g.NonPreemptible || b == nil || b.PreferScaleUp <= 0 {
		return -1
	}
	return b.PreferScaleUp
}

// boundsOf are the bounds on buying for a queue; nil: nothing may be bought.
func (d *decision) boundsOf(queue string) *snapshot.Bounds {
	a := d.ledger.accounts[queue]
	if a == nil {
		return d.s.DefaultBounds
	}
	if !a.asked {
		a.bounds, a.asked = scaling.BoundsOf(d.s, a.chain), true
	}
	return a.bounds
}

// expected is how long nodes for a gang would take: those under way, else the soonest that could be
// bought.
func (d *decision) expected(w *work, open *scaling.Progress, f *failure) time.Duration {
	if open != nil {
		return max(0, open.ETA.Sub(d.s.Now))
	}
	if mark := d.room.mark(); !f.full {
		if d.room.tryAll(w.missing, w.gang.ID, coming) {
			at := d.arrival(mark)
			d.room.undo(mark)
			return max(0, at.Sub(d.s.Now))
		}
	}
	soonest := time.Duration(unlimited)
	if len(d.offers) == 0 {
		return soonest
	}
	for _, o := range rungs(d.offers, d.boundsOf(w.gang.Queue)) {
		if o.Refused == "" && o.More > 0 {
			soonest = min(soonest, o.ETA)
		}
	}
	return soonest
}

// evictionWindow is how long a gang for which others were evicted may not have more evicted: if
// that did not help, evicting again is not what helps.
const evictionWindow = 5 * time.Minute

// evictFor makes room by evicting others, where the gang has the right to. See makeRoom.
func (d *decision) evictFor(w *work, need snapshot.Resources) bool {
	g := w.gang
	if g.NeverEvicts {
		return false
	}
	if !g.EvictedAt.IsZero() && d.s.Now.Before(g.EvictedAt.Add(evictionWindow)) {
		d.look(g.EvictedAt.Add(evictionWindow))
		return false
	}
	// What is moved needs room itself: it helps only where there is enough, in the wrong places.
	move := !g.NonPreemptible && need.MilliGPU > 0 && need.MilliGPU <= d.room.free(g.ID).MilliGPU
	if !move && plainly == nil && len(d.exposed(g)) == 0 {
		return false
	}
	like := rights{g.Queue, g.Shape, g.Priority}
	if d.powerless[like] {
		return false
	}
	var e *eviction
	if move {
		e = d.makeRoom(g, w.missing, need, true)
	}
	if e == nil {
		e = d.makeRoom(g, w.missing, need, false)
	}
	if e == nil {
		// Whatever is like it comes later, and has no more rights than the older one.
		d.powerless[like] = w.plain()
		return false
	}
	d.ledger.charge(g, need)
	d.freed++
	clear(d.hopeless) // what leaves may be more than the gang needs
	steps := e.steps()
	d.evictions = append(d.evictions, steps...)
	w.verdict.Reason = plan.WaitingForPreemption
	w.verdict.Message = fmt.Sprintf("%s of %s make room for it; %s", pods(e.pods()), others(steps), wait(len(w.missing)))
	w.verdict.Doing = "Evicting them, and binding as soon as their room is free"
	return true
}

// others names the gangs that are evicted, or counts them.
func others(steps []plan.Step) string {
	if len(steps) == 1 {
		return steps[0].(plan.Evict).Gang.String() //nolint:forcetypeassert // evictions only
	}
	return fmt.Sprintf("%d other workloads", len(steps))
}

// track follows a gang's bookings. It returns the progress of the one that is still worth waiting
// for, and settles those that are not: instances that were lost or are late, and nodes that all
// came and do not serve. f is what the gang finds no room for; nil when it waits for something else.
func (d *decision) track(w *work, f *failure) *scaling.Progress {
	var open *scaling.Progress
	for _, b := range w.bookings {
		p := scaling.Track(d.s, b)
		switch {
		case len(p.Lost) > 0:
			d.settle(b, plan.RequestFailed, "NodeLost", fmt.Sprintf("%d of %s gone", len(p.Lost), instances(p.Promised)))
		case p.Complete() && f != nil && !d.serves(b, f.pod):
			d.settle(b, plan.RequestFailed, "NodeDidNotFit", fmt.Sprintf("all that was bought came, and %s", f.text()))
			d.blame(w, b, false)
		case p.Complete() && f == nil && d.s.Now.After(p.Deadline):
			d.settle(b, plan.RequestReleased, "NotNeeded", "the gang did not use its nodes in time")
		case p.Complete(): // they serve; what is missing is elsewhere
		case p.Late != "":
			d.settle(b, plan.RequestFailed, "ProvisionTimeout", fmt.Sprintf("%s at the end of the provision timeout of %s", p, p.Late))
			d.blame(w, b, true)
		default:
			open = &p
		}
	}
	return open
}

// serves says whether a pod would run on one of the nodes that came, were they its own: then others
// have taken the rest of the room that the gang was to have, and the nodes are not to blame.
func (d *decision) serves(b *snapshot.Booking, pod *snapshot.Pod) bool {
	for _, n := range d.s.Nodes {
		booked := slices.ContainsFunc(b.Nodes, func(part snapshot.BookedNodes) bool { return slices.Contains(part.Instances, n.InstanceID) })
		if booked && pod.Request.FitsIn(n.Free()) && n.FreePods() > 0 && d.room.fit.Fits(pod, n, nil) == "" {
			return true
		}
	}
	return false
}

// blame keeps this decision from buying again what has just not served: the snapshot tells only the
// next one.
func (d *decision) blame(w *work, b *snapshot.Booking, late bool) {
	for _, part := range b.Nodes {
		d.unfit[part.Group] = append(d.unfit[part.Group], snapshot.Unfit{Shape: w.gang.Shape, Late: late})
	}
}

// abandon gives up nodes that came for a gang that cannot be completed: they would wait and bill
// beside it for ever.
func (d *decision) abandon(w *work) {
	for _, b := range w.bookings {
		if p := scaling.Track(d.s, b); p.Complete() && !d.settled[b] {
			d.settle(b, plan.RequestReleased, "NotNeeded", "its nodes came, and the rest of the gang finds no room any more")
		}
	}
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

func (w *work) waitFor(eta time.Time, message, doing string) {
	w.verdict.Reason, w.verdict.Doing, w.verdict.ETA = plan.WaitingForNodes, doing, eta
	w.verdict.Message = fmt.Sprintf("%s; %s", message, wait(len(w.missing)))
}

func (w *work) say(b *blocked) {
	w.verdict.Reason, w.verdict.Message, w.verdict.Advice = b.reason, b.message, b.advice
}

// step is the bind of everything that the decision placed for a gang.
func (w *work) step() plan.Step {
	bind := plan.Bind{Gang: plan.OwnerOf(w.gang), Queue: w.gang.Queue}
	for _, p := range w.bind {
		bind.Assignments = append(bind.Assignments, plan.Assignment{
			Namespace: p.Pod.Namespace, Pod: p.Pod.Name, UID: p.Pod.UID, Node: p.Node.Name})
	}
	return bind
}

// progress says of a gang that runs how much of it does.
func (w *work) progress() string {
	have, waiting := len(w.running)+len(w.bind), w.waiting()
	text := fmt.Sprintf("%d of %s are bound", have, pods(have+waiting))
	if waiting == 0 {
		text = fmt.Sprintf("all %s are bound", pods(have))
		if have == 1 {
			text = "its pod is bound"
		}
	}
	if waiting > 0 && w.short != nil {
		text += fmt.Sprintf("; the next waits: %s: %s", w.short.reason, w.short.message)
	}
	return text
}

func wait(n int) string {
	if n == 1 {
		return "1 pod waits"
	}
	return fmt.Sprintf("%d pods wait together", n)
}

func pods(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}

func instances(n int) string {
	if n == 1 {
		return "1 instance is"
	}
	return fmt.Sprintf("%d instances are", n)
}

func nodes1(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
