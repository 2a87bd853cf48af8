package scheduler

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// warmShape stands for a gang's shape in purchases that are for no gang.
const warmShape = "warm"

// What keeps capacity warm, as CapacityRequests name it.
const (
	queueVersion     = "scheduling.run.ai/v2"
	nodeGroupVersion = "config.capmgr.io/v1alpha1"
)

// keepWarm decides last, on what the gangs left: which idle nodes stay for the queues' minimum, and
// what is bought where a group or a queue is below its own. It returns the nodes that stay, by name.
func (d *decision) keepWarm() map[string]bool {
	w := &warmth{d: d, claimed: map[string]int64{}, taken: map[string]bool{},
		booked: scaling.WarmNodes(d.s), kept: map[string]bool{}}
	for _, o := range d.offers {
		w.fillGroup(o)
	}
	minima := w.minima()
	if len(minima) > 0 {
		w.countPlaced()
	}
	for _, q := range minima {
		w.fillQueue(q)
	}
	return w.kept
}

// warmth is the state of keepWarm.
type warmth struct {
	d       *decision
	claimed map[string]int64 // by queue, ancestors included: thousandths of devices that count for it beside the budget's
	taken   map[string]bool  // nodes that count for some queue already, by name
	booked  map[string]bool  // nodes that purchases under way keep warm: the budget counts them
	kept    map[string]bool
}

// fillGroup buys what a group lacks of its minimum. The cloud keeps its own minimum by itself; the
// configured one may be above that.
func (w *warmth) fillGroup(o scaling.Offer) {
	count := w.buy(nil, o, o.Group.Min-w.d.budget.Nodes(o.Group.Name))
	w.checkout(plan.Owner{APIVersion: nodeGroupVersion, Kind: "NodeGroup", Name: o.Group.Name, UID: o.Group.Name}, "", o, count)
}

// minima are the queues that keep GPUs warm: those further down first, since what is theirs counts
// for their ancestors too.
func (w *warmth) minima() []*snapshot.Queue {
	var out []*snapshot.Queue
	for _, q := range w.d.s.Queues {
		if w.d.s.Bounds[q.Name].MinGPUs > 0 && q.Invalid == "" {
			out = append(out, q)
		}
	}
	slices.SortStableFunc(out, func(a, b *snapshot.Queue) int {
		return cmp.Compare(len(w.d.ledger.chain(b.Name)), len(w.d.ledger.chain(a.Name)))
	})
	return out
}

// countPlaced charges what this decision has just placed on managed nodes: the budget knows only
// what is bound, and what is booked or bought for a gang.
func (w *warmth) countPlaced() {
	placed, slots := w.d.room.since(0)
	for k, p := range placed {
		if sl := slots[k]; sl.node.Group != "" && sl.booked == "" && !w.isBooked(sl) {
			w.claim(w.d.s.Gang(p.Pod.Gang).Queue, p.Pod.Request.MilliGPU)
		}
	}
}

func (w *warmth) isBooked(sl *slot) bool {
	return w.booked[sl.node.InstanceID] || w.booked[sl.node.Name]
}

func (w *warmth) claim(queue string, milliGPU int64) {
	for _, q := range w.d.ledger.chain(queue) {
		w.claimed[q] += milliGPU
	}
}

// fillQueue counts what a queue has, then idle GPUs on nodes that stay anyway, then the cheapest idle
// nodes that suffice, which stay for it; and buys the rest along its ladder.
func (w *warmth) fillQueue(q *snapshot.Queue) {
	bounds := w.d.s.Bounds[q.Name]
	need := bounds.MinGPUs*1000 - w.d.budget.MilliGPUs(q.Name) - w.claimed[q.Name]
	// What another autoscaler made, it removes when it is idle, and it makes none for nobody.
	offers := slices.DeleteFunc(slices.Clone(w.d.rungs(&bounds)), func(o scaling.Offer) bool { return o.Group.Delegated })
	var idle []scaling.Idle
	w.d.room.each(func(sl *slot) {
		price, ok := priceOf(sl.node, offers)
		if !ok || sl.stage > coming || sl.booked != "" || sl.free.MilliGPU <= 0 || w.taken[sl.node.Name] || w.isBooked(sl) {
			return
		}
		if sl.stage == usable && sl.used == 0 && !sl.node.IdleSince.IsZero() && sl.free.MilliGPU >= 1000 {
			idle = append(idle, scaling.Idle{Node: sl.node.Name, GPUs: sl.free.MilliGPU / 1000, Price: price})
		} else if need > 0 {
			w.taken[sl.node.Name] = true
			w.claim(q.Name, sl.free.MilliGPU)
			need -= sl.free.MilliGPU
		}
	})
	for k, stays := range scaling.CheapestSet(idle, (need+999)/1000) {
		if stays {
			w.taken[idle[k].Node], w.kept[idle[k].Node] = true, true
			w.claim(q.Name, idle[k].GPUs*1000)
			need -= idle[k].GPUs * 1000
		}
	}
	for _, o := range offers {
		if need <= 0 || o.Shape == nil || o.Shape.Allocatable.MilliGPU <= 0 {
			continue
		}
		each := o.Shape.Allocatable.MilliGPU
		if count := w.buy(w.d.ledger.chain(q.Name), o, int((need+each-1)/each)); count > 0 {
			w.checkout(plan.Owner{APIVersion: queueVersion, Kind: "Queue", Name: q.Name, UID: q.UID}, q.Name, o, count)
			return // one purchase at a time; what is still lacking is bought next
		}
	}
}

// priceOf is what a node of one of the offered groups costs per hour.
func priceOf(n *snapshot.Node, offers []scaling.Offer) (snapshot.Dollars, bool) {
	for _, o := range offers {
		if o.Group.Name == n.Group {
			return o.Price, true
		}
	}
	return 0, false
}

// buy takes up to count nodes of a group within all bounds and returns how many: nobody waits for
// them together, so some are better than none.
func (w *warmth) buy(queues []string, o scaling.Offer, count int) int {
	if o.Refused != "" || slices.ContainsFunc(o.Group.Unfit, func(u snapshot.Unfit) bool {
		return u.Shape == warmShape && w.d.s.Now.Before(u.Until)
	}) {
		return 0
	}
	for n := range count {
		if denied := w.d.budget.Buy(queues, o.Group, 1); denied != nil {
			w.d.look(denied.Until)
			return n
		}
	}
	return max(0, count)
}

// checkout turns a purchase into steps, as a gang's: the intent first, then the launch.
func (w *warmth) checkout(owner plan.Owner, queue string, o scaling.Offer, count int) {
	if count == 0 {
		return
	}
	owner.Namespace = w.d.s.Home
	attempt := w.d.s.WarmAttempts[owner.UID] + 1
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s\n%d\n%s", owner, owner.UID, attempt, o.Group.Name))
	token := hex.EncodeToString(sum[:])
	name := owner.Name
	if len(name) > 40 {
		name = name[:40]
	}
	purchase := plan.Purchase{Group: o.Group.Name, Count: count, Zone: o.Group.Zone, Token: token[:48]}
	book := plan.Book{Gang: owner, Queue: queue, Request: "warm-" + name + "-" + token[:8], Attempt: attempt, Shape: warmShape,
		Purchases: []plan.Purchase{purchase}, HourlyCost: o.Price * snapshot.Dollars(count)}
	w.d.plan.Steps = append(w.d.plan.Steps, book,
		plan.GrowNodeGroup{Namespace: owner.Namespace, Request: book.Request, Purchase: purchase})
}

// settleWarm ends purchases that keep capacity warm: when their nodes are usable, they are ordinary
// idle nodes, and when they are lost or late, another purchase may follow.
func (d *decision) settleWarm(b *snapshot.Booking) {
	switch p := scaling.Track(d.s, b); {
	case len(p.Lost) > 0:
		d.settle(b, plan.RequestFailed, "NodeLost", fmt.Sprintf("%d of %d instances are gone", len(p.Lost), p.Promised))
	case p.Complete():
		d.settle(b, plan.RequestReady, "NodesUsable", p.String())
		d.settle(b, plan.RequestReleased, "NodesUsable", p.String()+", and anyone's to use")
	case p.Late != "":
		d.settle(b, plan.RequestFailed, "ProvisionTimeout", fmt.Sprintf("%s within the provision timeout of %s", p, p.Late))
	}
}
