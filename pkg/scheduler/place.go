package scheduler

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// decide finds a place for what a gang still needs and says where it stands. It returns a bind step
// only when every missing member of the minimum has a usable node now.
func (d *decision) decide(g *snapshot.Gang) (plan.Verdict, *plan.Bind) {
	v := plan.VerdictFor(g, g.Queue)
	m := musterOf(g)
	switch {
	case g.Suspended && len(m.running) == 0:
		return say(v, &blocked{plan.Suspended, "its owner is suspended", ""}), nil
	case g.Invalid != "":
		return say(v, &blocked{plan.Misconfigured, g.Invalid, "Mend the spec"}), nil
	}
	bookings := d.bookings(g.ID)
	if m.whole() {
		for _, b := range bookings {
			d.settle(b, plan.RequestReleased, "GangPlaced", "the gang runs on its nodes; the booking is over")
		}
		return d.grow(v, g, m)
	}
	if b := d.ledger.admissible(g.Queue); b != nil {
		return say(v, b), nil
	}
	least := minimum(g)
	if b := d.ledger.within(g.Queue, m.missingRequest(), least); b != nil {
		return say(v, b), nil
	}
	if b := m.incomplete(g); b != nil {
		if settled := g.Created.Add(assembly); d.s.Now.Before(settled) {
			v.Early = true
			d.look(settled)
		}
		return say(v, b), nil
	}
	if d.s.Now.Before(g.HeldUntil) {
		d.look(g.HeldUntil)
		v = say(v, &blocked{plan.BindRejected, "the API server refused to bind one of its pods", "Look at the admission policies for pods/binding"})
		v.Doing = "Trying again after a while; other work goes on"
		return v, nil
	}

	mark := d.room.mark()
	why, pod := d.room.placeAll(m.missing, g.ID, usable)
	if why == nil {
		return d.bindNow(v, g, m, mark, bookings)
	}
	if open := d.track(bookings, why, pod); open != nil {
		d.room.placeAll(m.missing, g.ID, coming) // holds what it will use
		v.ETA = open.ETA
		return waiting(v, m, open.String(), "Waiting for the nodes that were bought for it"), nil
	}
	if w, _ := d.room.placeAll(m.missing, g.ID, coming); w == nil {
		v.ETA = d.arrival(mark)
		return waiting(v, m, "the nodes that are coming have room for it", "Waiting for those nodes"), nil
	}
	return d.buy(v, g, m, why, pod), nil
}

// assembly is how long a gang's pods may take to appear before anyone is told that some are missing.
const assembly = 20 * time.Second

// bindNow turns the placements since mark into a bind step, elastic members that find room too.
func (d *decision) bindNow(v plan.Verdict, g *snapshot.Gang, m muster, mark int, bookings []*snapshot.Booking) (plan.Verdict, *plan.Bind) {
	for _, b := range bookings {
		if p := scaling.Track(d.s, b); p.Complete() {
			d.settle(b, plan.RequestReady, "NodesUsable", p.String())
		}
	}
	d.ledger.charge(g.Queue, m.missingRequest())
	v.Reason = plan.Running
	v.Message = fmt.Sprintf("all %s have a node and are being bound", pods(len(m.missing)))
	extra := d.growElastic(g, m)
	if extra > 0 {
		v.Message = fmt.Sprintf("all %s and %d beyond its minimum have a node and are being bound", pods(len(m.missing)), extra)
	}
	return v, d.bindSince(g, mark)
}

func (d *decision) bindSince(g *snapshot.Gang, mark int) *plan.Bind {
	placed, _ := d.room.since(mark)
	if len(placed) == 0 {
		return nil
	}
	bind := &plan.Bind{Gang: plan.OwnerOf(g), Queue: g.Queue}
	for _, p := range placed {
		bind.Assignments = append(bind.Assignments, plan.Assignment{
			Namespace: p.Pod.Namespace, Pod: p.Pod.Name, UID: p.Pod.UID, Node: p.Node.Name})
	}
	return bind
}

// grow serves a gang that has its minimum: members beyond it one by one, on free room only.
func (d *decision) grow(v plan.Verdict, g *snapshot.Gang, m muster) (plan.Verdict, *plan.Bind) {
	mark := d.room.mark()
	short := d.elasticShort(g, m)
	v.Reason = plan.Running
	have := len(m.running) + len(d.room.placed) - mark
	v.Message = fmt.Sprintf("%d of %s are bound", have, pods(have+short.left))
	if short.left > 0 && short.why != nil {
		v.Message += fmt.Sprintf("; the next waits: %s: %s", short.why.reason, short.why.message)
	}
	return v, d.bindSince(g, mark)
}

// growElastic binds members beyond the minimum while there is room, and returns how many.
func (d *decision) growElastic(g *snapshot.Gang, m muster) int {
	mark := d.room.mark()
	d.elasticShort(g, m)
	return len(d.room.placed) - mark
}

// shortfall is what elastic growth left over.
type shortfall struct {
	left int
	why  *blocked
}

func (d *decision) elasticShort(g *snapshot.Gang, m muster) shortfall {
	for k, p := range m.elastic {
		left := len(m.elastic) - k
		if b := d.ledger.admissible(g.Queue); b != nil {
			return shortfall{left, b}
		}
		if b := d.ledger.within(g.Queue, p.Request, p.Request); b != nil {
			return shortfall{left, b}
		}
		if why := d.room.placeOne(p, g.ID, usable); why != nil {
			reason, n, of := why.dominant()
			return shortfall{left, &blocked{reason: plan.NoNodeFits, message: fmt.Sprintf("%d of %d nodes: %s", n, of, reason)}}
		}
		d.ledger.charge(g.Queue, p.Request)
	}
	return shortfall{}
}

// track follows a gang's bookings. It returns the progress of the one that is still worth waiting
// for, and settles those that are not: instances that were lost or are late, and nodes that all
// came and do not fit (why and pod say how).
func (d *decision) track(bookings []*snapshot.Booking, why misfits, pod *snapshot.Pod) *scaling.Progress {
	var open *scaling.Progress
	for _, b := range bookings {
		p := scaling.Track(d.s, b)
		switch {
		case len(p.Lost) > 0:
			d.settle(b, plan.RequestFailed, "NodeLost", fmt.Sprintf("%d of %d instances are gone", len(p.Lost), p.Promised))
		case p.Complete():
			d.settle(b, plan.RequestFailed, "NodeDidNotFit", fmt.Sprintf("all %d nodes came, and pod %s does not fit: %s",
				p.Promised, pod.Name, firstOf(why)))
		case p.Late != "":
			d.settle(b, plan.RequestFailed, "ProvisionTimeout", fmt.Sprintf("%s within the provision timeout of %s", p, p.Late))
		default:
			open = &p
		}
	}
	return open
}

func firstOf(why misfits) string {
	reason, n, of := why.dominant()
	return fmt.Sprintf("%d of %d nodes: %s", n, of, reason)
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

func waiting(v plan.Verdict, m muster, message, doing string) plan.Verdict {
	v.Reason, v.Message, v.Doing = plan.WaitingForNodes, message, doing
	v.Message = fmt.Sprintf("%s; %s wait together", message, pods(len(m.missing)))
	return v
}

func say(v plan.Verdict, b *blocked) plan.Verdict {
	v.Reason, v.Message, v.Advice = b.reason, b.message, b.advice
	return v
}

func pods(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}
