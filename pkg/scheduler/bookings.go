package scheduler

import (
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// over says whether this decision has ended a booking.
func (d *decision) over(b *snapshot.Booking) bool {
	state := d.settled[b]
	return state == plan.RequestFailed || state == plan.RequestReleased
}

// ready notes that all nodes that were bought for a gang are usable, and what their boots have taught.
func (d *decision) ready(w *work) {
	for _, b := range w.bookings {
		if p := scaling.Track(d.s, b); p.Complete() && d.settled[b] == "" {
			d.settle(b, plan.RequestReady, "NodesUsable", p.String())
		}
	}
}

// placed ends the bookings of a gang that has its minimum, but for those that its next elastic units still
// wait for.
func (d *decision) placed(w *work) {
	for _, b := range w.bookings {
		p := scaling.Track(d.s, b)
		switch {
		case d.over(b):
		case p.Complete() && w.starts(): // what comes of it shows in the next decision
		case p.Complete():
			d.settle(b, plan.RequestReleased, "GangPlaced", "the gang runs on its nodes; the booking is over")
		case w.waits() == 0:
			d.settle(b, plan.RequestReleased, "NotNeeded", "the gang found room before its nodes came")
		}
	}
}

// starts says whether a gang gets a place in this decision.
func (w *work) starts() bool { return len(w.bind) > 0 || w.expects }

// taking says whether a gang is about to run on nodes that were bought for it. That they have no room for
// more then does not say that they do not serve.
func (d *decision) taking(w *work) bool {
	return w.starts() && slices.ContainsFunc(w.bookings, func(b *snapshot.Booking) bool {
		p := scaling.Track(d.s, b)
		return p.Complete() && !d.over(b)
	})
}

// track follows a gang's bookings. It returns the progress of the one that is still worth waiting
// for, and settles those that are not: instances that were lost or are late, and nodes that all
// came and do not serve. f is what the gang finds no room for; nil when it waits for something else.
func (d *decision) track(w *work, f *failure) *scaling.Progress {
	var open *scaling.Progress
	for _, b := range w.bookings {
		p := scaling.Track(d.s, b)
		switch {
		case d.over(b):
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
		if p := scaling.Track(d.s, b); p.Complete() && !d.over(b) {
			d.settle(b, plan.RequestReleased, "NotNeeded", "its nodes came, and the rest of the gang finds no room any more")
		}
	}
}
