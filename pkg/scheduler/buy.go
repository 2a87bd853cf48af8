package scheduler

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// buy looks for nodes that give the whole gang a place together with what is there and coming. It
// adds the steps and returns true, or says which reason stands in the way.
func (d *decision) buy(q *demand, f *failure) bool {
	if f.why.until.Sub(d.s.Now) < d.expected(q, nil, f) && d.keptOff(q, f) { // nothing is bought for what may run sooner
		return false
	}
	if len(d.offers) == 0 {
		q.say(&blocked{plan.NoNodeFits, f.text() + ", and no node group is configured", "Add nodes, or configure a node group"})
		return false
	}
	if why := d.ledger.vacant(q.gang, q.need); why != nil {
		q.say(why)
		return false
	}
	queues, bounds := d.ledger.chain(q.gang.Queue), d.boundsOf(q.gang.Queue)
	if q.basket == nil {
		q.basket = &basket{d: d, gang: q.gang, queues: queues, offers: d.rungs(bounds), opened: map[string]int{}, zone: d.zoneOf(q.gang)}
	}
	b := q.basket
	b.demand, b.denied, b.elsewhere, b.refused, b.rejected = q, nil, nil, nil, nil
	classes := byClass(q.pods)
	stuck, ok := b.choose(classes, bounds != nil && len(bounds.Ladder) > 0)
	if !ok {
		b.refuse(classes[stuck], f)
		return false
	}
	b.promise()
	d.room.seat(q.gang.ID)
	d.ledger.charge(q.gang, q.need)
	return true
}

// rungs orders the offers: along the ladder where the queue has one, else cheapest GPU first, which is
// a good order to look at them but not yet the choice; see choose.
func (d *decision) rungs(bounds *snapshot.Bounds) []scaling.Offer {
	if bounds != nil && len(bounds.Ladder) > 0 {
		var out []scaling.Offer
		for _, name := range bounds.Ladder {
			for _, o := range d.offers {
				if o.Group.Name == name {
					out = append(out, o)
				}
			}
		}
		return out
	}
	if d.cheapestFirst == nil {
		d.cheapestFirst = slices.Clone(d.offers)
		slices.SortStableFunc(d.cheapestFirst, func(a, b scaling.Offer) int {
			return cmp.Or(cmp.Compare(perUnit(a), perUnit(b)), cmp.Compare(a.Group.Name, b.Group.Name))
		})
	}
	return d.cheapestFirst
}

// perUnit is what one GPU of the offer costs in micro-dollars per hour, or one node without GPUs.
// CPU nodes come out cheapest, so that work without GPUs does not buy them.
func perUnit(o scaling.Offer) int64 {
	if o.Shape != nil && o.Shape.Allocatable.MilliGPU > 0 {
		return int64(o.Price) * 1000 / o.Shape.Allocatable.MilliGPU
	}
	return int64(o.Price)
}

// byClass splits pods into runs of one class, the head first: pods that no node can tell apart go
// to one node group together.
func byClass(pods []*snapshot.Pod) [][]*snapshot.Pod {
	var classes [][]*snapshot.Pod
	index := map[string]int{}
	for _, p := range pods {
		k, ok := index[p.Class]
		if !ok {
			k = len(classes)
			index[p.Class] = k
			classes = append(classes, nil)
		}
		classes[k] = append(classes[k], p)
	}
	return classes
}

// basket is what is being bought for one gang.
type basket struct {
	d      *decision
	demand *demand // for which it is filled at the moment
	gang   *snapshot.Gang
	queues []string
	offers []scaling.Offer // in the order to try
	opened map[string]int  // nodes per group
	name   string          // of the request; "" until somebody asks
	zone   string          // where its GPU pods are; "" while they may be anywhere

	denied    *scaling.Denial // the last bound that stood in the way
	elsewhere *scaling.Offer  // the first group that would fit, and is in another zone

	refused *scaling.Offer // the first group that would fit, may be bought from, and cannot launch

	rejected *scaling.Offer // the first group whose nodes' kubelets would not run the pod that is stuck
}

// try places a class with new nodes of one group, or leaves everything as it was. Where the nodes are
// for GPUs, all of the class goes to their zone.
func (b *basket) try(class []*snapshot.Pod, o scaling.Offer) bool {
	room := b.d.room
	room.zone = b.zoneFor(class, o)
	defer func() { room.zone = "" }()
	if o.Shape != nil && !b.fits(class[0], o) || o.Group.Delegated && b.demand.unborn() { // who is told shows its pods
		return false
	}
	if o.Refused != "" {
		b.remember(class, o)
		return false
	}
	mark, slots, before := room.mark(), len(room.bought), b.opened[o.Group.Name]
	for _, p := range class {
		if room.placeOne(p, b.gang.ID, bought) {
			continue
		}
		denied := b.d.budget.Buy(b.queues, o.Group, 1) != nil
		if !denied {
			node := *o.Shape
			node.Name = fmt.Sprintf("%s/%s/%d", b.request(), o.Group.Name, b.opened[o.Group.Name])
			b.opened[o.Group.Name]++
			room.build(&node, b.gang.ID)
			if room.placeOne(p, b.gang.ID, bought) {
				continue
			}
		}
		room.undo(mark)
		room.close(slots)
		more := b.opened[o.Group.Name] - before
		b.d.budget.Return(b.queues, o.Group, more)
		b.opened[o.Group.Name] = before
		if denied { // asked again for all of them at once: what this gang would add is not there yet
			b.denied = b.d.budget.Buy(b.queues, o.Group, more+1)
		}
		return false
	}
	return true
}

// remember keeps why a group that cannot launch now is of no use: a bound that will stand when the
// cloud delivers again weighs more than the refusal.
func (b *basket) remember(class []*snapshot.Pod, o scaling.Offer) {
	count := 1
	if o.Shape != nil {
		count = max(1, atLeast(b.leftover(class, b.zoneFor(class, o)), o).nodes)
	}
	if denied := b.d.budget.Buy(b.queues, o.Group, count); denied != nil {
		b.denied = denied
		return
	}
	b.d.budget.Return(b.queues, o.Group, count)
	if b.refused == nil {
		b.refused = &o
	}
}

// fits says whether an empty node of the offer takes the pod at all.
func (b *basket) fits(p *snapshot.Pod, o scaling.Offer) bool {
	if b.unfit(o.Group) != nil {
		return false
	}
	if o.Group.Rejected(p.Class) != nil {
		if b.rejected == nil {
			b.rejected = &o
		}
		return false
	}
	return p.Request.FitsIn(o.Shape.Free()) && b.d.room.fit.Fits(p, o.Shape, nil) == ""
}

// unfit returns what is remembered of the group's nodes that did not serve this shape of gang, or
// nil: from before, or from this very decision.
func (b *basket) unfit(g *snapshot.NodeGroup) *snapshot.Unfit {
	for _, u := range append(slices.Clone(g.Unfit), b.d.unfit[g.Name]...) {
		if u.Shape == b.gang.Shape && (u.Until.IsZero() || b.d.s.Now.Before(u.Until)) {
			return &u
		}
	}
	return nil
}

// request names the CapacityRequest of this attempt. The name is a function of gang and attempt,
// so that writing it twice is one object.
func (b *basket) request() string {
	if b.name == "" {
		name := b.gang.Name
		if len(name) > 40 {
			name = name[:40]
		}
		b.name = strings.Trim(name, "-.") + "-" + b.hash("")[:8]
	}
	return b.name
}

// hash names the attempt, or the part of it that one node group delivers.
func (b *basket) hash(group string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%s", b.gang.ID, b.gang.Attempts+1, group))
	return hex.EncodeToString(sum[:])
}

// promise says what is bought, when it is expected and for how much.
func (b *basket) promise() {
	var eta time.Time
	var nodes []string
	cost := snapshot.Dollars(0)
	for _, o := range b.d.offers {
		n := b.opened[o.Group.Name]
		if n == 0 {
			continue
		}
		cost += o.Price * snapshot.Dollars(n)
		nodes = append(nodes, fmt.Sprintf("%d of %s", n, o.Group.Name))
		if at := b.d.s.Now.Add(o.ETA); at.After(eta) {
			eta = at
		}
	}
	b.demand.waitFor(eta, "no room is free", fmt.Sprintf("Buying %s for %s/h", strings.Join(nodes, " and "), cost))
}

// checkout turns the basket into steps: the intent first, then a launch per group.
func (b *basket) checkout() {
	book := plan.Book{Gang: plan.OwnerOf(b.gang), Queue: b.gang.Queue, Request: b.request(),
		Attempt: b.gang.Attempts + 1, Shape: b.gang.Shape}
	for _, o := range b.d.offers {
		if n := b.opened[o.Group.Name]; n > 0 {
			purchase := plan.Purchase{Group: o.Group.Name, Count: n, Zone: o.Group.Zone, Token: b.hash(o.Group.Name)[:48]}
			if o.Group.Delegated {
				purchase.Pods = b.tenants(o.Group)
			}
			book.Purchases = append(book.Purchases, purchase)
			book.HourlyCost += o.Price * snapshot.Dollars(n)
		}
	}
	if len(book.Purchases) == 0 {
		return
	}
	b.d.plan.Steps = append(b.d.plan.Steps, book)
	for _, p := range book.Purchases {
		b.d.plan.Steps = append(b.d.plan.Steps, plan.GrowNodeGroup{Namespace: b.gang.Namespace, Request: book.Request, Purchase: p})
	}
}

// tenants lists the pods that were placed on the nodes bought of a group. Nodes count in the order in
// which they were opened, which is that of their first pods.
func (b *basket) tenants(g *snapshot.NodeGroup) (out []plan.Tenant) {
	index := map[*slot]int{}
	placed, slots := b.d.room.since(0)
	for k, sl := range slots {
		if sl.stage != bought || sl.booked != b.gang.ID || sl.node.Group != g.Name || placed[k].Pod.Gang != b.gang.ID {
			continue
		}
		if _, seen := index[sl]; !seen {
			index[sl] = len(index)
		}
		p := placed[k].Pod
		out = append(out, plan.Tenant{PodRef: plan.PodRef{Namespace: p.Namespace, Name: p.Name, UID: p.UID}, Node: index[sl]})
	}
	return out
}

// refuse says why nothing was bought: the cloud does not deliver at the moment, a bound stands in the
// way, what was bought before did not serve, or nothing that can be bought has the shape.
func (b *basket) refuse(class []*snapshot.Pod, f *failure) {
	v := b.demand.said
	switch bad := b.backsOff(); {
	case b.d.keptOff(b.demand, f):
	case b.refused != nil && (b.denied == nil || !b.refused.Until.IsZero()):
		b.demand.say(&blocked{plan.CapacityUnavailable, fmt.Sprintf("node group %s: %s", b.refused.Group.Name, b.refused.Refused), ""})
		v.Doing = "Trying again when the group recovers, and taking any room that becomes free"
		v.ETA = b.refused.Until
	case b.denied != nil:
		b.demand.say(&blocked{b.denied.Reason, b.denied.Message, "It starts when room becomes free, or when more may be bought"})
		if v.ETA = b.denied.Until; !v.ETA.IsZero() {
			v.Doing = "Buying when an hour has passed since earlier purchases"
		}
		b.d.look(b.denied.Until)
	case b.rejected != nil:
		r := b.rejected.Group.Rejected(class[0].Class)
		b.demand.say(&blocked{plan.BackingOff, fmt.Sprintf("nodes of node group %s came up, and their kubelets rejected such pods (%s)", b.rejected.Group.Name, r.Reason), rejectedAdvice})
		v.Doing = "Waiting before buying that kind again, and taking any room that becomes free"
		v.ETA = r.Until
	case bad != nil && bad.Late:
		b.demand.say(&blocked{plan.BackingOff, "nodes were bought for it and did not become usable in time", "Look at why nodes of its node groups do not come up"})
		v.Doing = "Waiting before buying again, and taking any room that becomes free"
		v.ETA = bad.Until
	case bad != nil:
		b.demand.say(&blocked{plan.NoNodeFits, "nodes were bought for it, and " + f.text(), "Compare the pod's request with what the nodes really offer"})
		v.Doing = "Waiting before buying that kind again, and taking any room that becomes free"
		v.ETA = bad.Until
	case b.elsewhere != nil:
		b.demand.say(&blocked{plan.NoMatchingNodeGroup,
			fmt.Sprintf("its GPU pods stay in one zone, and node group %s, which has room for pods of group %s, is in %s", b.elsewhere.Group.Name, class[0].Group, b.elsewhere.Group.Zone),
			"Configure a node group in the same zone, or set the annotation capmgr.io/zones: any"})
	default:
		b.demand.say(&blocked{plan.NoMatchingNodeGroup,
			fmt.Sprintf("a pod of group %s (%s) fits no node that queue %s can buy%s", class[0].Group, class[0].Request, b.gang.Queue, b.lesson(class[0])),
			"Ask for less per pod, or have a node group of this shape configured for the queue"})
	}
}

const rejectedAdvice = "Look at the events of the pods that failed, and at the kubelet and the device plugin of their nodes"

// keptOff says of a demand that there is room for its next pod, but for a kubelet that would not run one
// like it, and returns true; or false.
func (d *decision) keptOff(q *demand, f *failure) bool {
	if len(f.why.rejecting) == 0 {
		return false
	}
	q.say(&blocked{plan.BackingOff, f.text(), rejectedAdvice})
	q.said.Doing, q.said.ETA = "Trying it there again later, and taking any other room that becomes free", f.why.until
	d.look(f.why.until)
	return true
}

// lesson says what nodes of a rung turned out to offer beside their own pods, where that is too little
// for a pod.
func (b *basket) lesson(p *snapshot.Pod) string {
	for _, o := range b.offers {
		if o.Group.Learned && o.Shape != nil && !p.Request.FitsIn(o.Shape.Free()) {
			return fmt.Sprintf("; nodes of %s turned out to offer %s", o.Group.Name, o.Shape.Free())
		}
	}
	return ""
}

// backsOff returns what is remembered of the first rung whose nodes did not serve, or nil.
func (b *basket) backsOff() *snapshot.Unfit {
	for _, o := range b.offers {
		if u := b.unfit(o.Group); u != nil {
			return u
		}
	}
	return nil
}
