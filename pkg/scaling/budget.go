package scaling

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Budget answers whether one more node may be bought for a queue, and remembers what this decision
// buys. What runs and comes counts against the bounds of its queue and of every ancestor.
type Budget struct {
	s     *snapshot.Snapshot
	held  *Spending
	spent map[string]*use // by queue, descendants included; those that held has and nothing was added to are not here
	all   use
	nodes map[string]int // members per group, bought ones included
	grown int            // bought within the growth window, by this decision included
}

// use is what has been bought for a queue, running plus coming.
type use struct {
	milliGPU int64
	cost     snapshot.Dollars
	nodes    map[string]int
	total    int
}

// NewBudget starts a budget from what runs, which held has counted, and what comes. chain returns a
// queue and its ancestors, leaf first.
func NewBudget(s *snapshot.Snapshot, chain func(queue string) []string, held *Spending) *Budget {
	b := &Budget{s: s, held: held, spent: map[string]*use{}, nodes: map[string]int{}, grown: grown(s)}
	for _, g := range s.NodeGroups {
		b.nodes[g.Name] = members(s, g)
		b.all.total += b.nodes[g.Name]
		b.all.cost += g.Price * snapshot.Dollars(b.nodes[g.Name])
	}
	// Booked nodes count in full for their queue until the booking ends, whatever runs on them.
	for _, bk := range s.Bookings {
		for _, part := range bk.Nodes {
			if g := s.NodeGroup(part.Group); g != nil {
				b.charge(chain(payer(s, bk)), g, part.Count)
			}
		}
	}
	return b
}

// payer is the queue for which the nodes of a purchase count, or "".
func payer(s *snapshot.Snapshot, b *snapshot.Booking) string {
	if b.Warm {
		return b.Queue
	}
	if g := s.Gang(b.Gang); g != nil {
		return g.Queue
	}
	return ""
}

func (b *Budget) of(queue string) *use {
	u := b.spent[queue]
	if u == nil {
		u = &use{nodes: map[string]int{}}
		if held := b.held.spent[queue]; held != nil {
			u.milliGPU, u.cost = held.milliGPU, held.cost
		}
		b.spent[queue] = u
	}
	return u
}

func (b *Budget) charge(queues []string, g *snapshot.NodeGroup, count int) {
	gpus := int64(0)
	if t := shape(b.s, g); t != nil {
		gpus = t.Allocatable.MilliGPU
	}
	for _, q := range queues {
		u := b.of(q)
		u.milliGPU += gpus * int64(count)
		u.cost += g.Price * snapshot.Dollars(count)
		u.nodes[g.Name] += count
	}
}

// MilliGPUs is what a queue and all below it have of managed nodes, running plus coming, this
// decision's purchases included, in thousandths of a device.
func (b *Budget) MilliGPUs(queue string) int64 { return b.of(queue).milliGPU }

// Nodes is how many members a group has or is about to have.
func (b *Budget) Nodes(group string) int { return b.nodes[group] }

// Denial says which bound stands in the way of buying.
type Denial struct {
	Reason  plan.Reason // BoundReached or BudgetExceeded
	Message string
	Until   time.Time // when time alone lifts it; zero when it does not
}

// Buy takes count nodes of a group for a queue, or says which bound forbids it. Nothing is taken
// on a denial.
func (b *Budget) Buy(queues []string, g *snapshot.NodeGroup, count int) *Denial {
	if d := b.check(queues, g, count); d != nil {
		return d
	}
	b.charge(queues, g, count)
	b.nodes[g.Name] += count
	b.all.total += count
	b.grown += count
	b.all.cost += g.Price * snapshot.Dollars(count)
	return nil
}

// Return gives back what Buy took, for a trial that was undone.
func (b *Budget) Return(queues []string, g *snapshot.NodeGroup, count int) {
	b.charge(queues, g, -count)
	b.nodes[g.Name] -= count
	b.all.total -= count
	b.grown -= count
	b.all.cost -= g.Price * snapshot.Dollars(count)
}

func (b *Budget) check(queues []string, g *snapshot.NodeGroup, count int) *Denial {
	bound := func(format string, args ...any) *Denial {
		return &Denial{Reason: plan.BoundReached, Message: fmt.Sprintf(format, args...)}
	}
	broke := func(whose string, have, limit snapshot.Dollars) *Denial {
		return &Denial{Reason: plan.BudgetExceeded, Message: fmt.Sprintf("%s costs %s/h, and %d more of %s at %s/h each would exceed its %s/h",
			whose, have, count, g.Name, g.Price, limit)}
	}
	if b.nodes[g.Name]+count > g.Max {
		return bound("node group %s has %d of at most %s, and %d more would be needed", g.Name, b.nodes[g.Name], nodes(g.Max), count)
	}
	if l := b.s.Limits.MaxNodes; l > 0 && b.all.total+count > l {
		return bound("the cluster has %d of at most %d bought nodes, and %d more would be needed", b.all.total, l, count)
	}
	if l := b.s.Limits.MaxHourlyCost; l > 0 && b.all.cost+g.Price*snapshot.Dollars(count) > l {
		return broke("the cluster", b.all.cost, l)
	}
	if d := b.tooFast(count); d != nil {
		return d
	}
	gpus := int64(0)
	if t := shape(b.s, g); t != nil {
		gpus = t.Allocatable.MilliGPU * int64(count)
	}
	bounded := false
	for _, q := range queues {
		bounds, ok := b.s.Bounds[q]
		if !ok {
			continue
		}
		bounded = true
		if d := b.within(q, bounds, g, gpus, count, bound, broke); d != nil {
			return d
		}
	}
	if bounded || len(queues) == 0 {
		return nil
	}
	if b.s.DefaultBounds == nil {
		return bound("queue %s has no scaling bounds, so nothing is bought for it", queues[0])
	}
	return b.within(queues[0], *b.s.DefaultBounds, g, gpus, count, bound, broke)
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func (b *Budget) within(queue string, bounds snapshot.Bounds, g *snapshot.NodeGroup, gpus int64, count int,
	bound func(string, ...any) *Denial, broke func(string, snapshot.Dollars, snapshot.Dollars) *Denial) *Denial {
	u := b.of(queue)
	if m := bounds.MaxGPUs; m != nil && gpus > 0 && u.milliGPU+gpus > *m*1000 {
		if *m == 0 {
			return bound("no GPUs may be bought for queue %s", queue)
		}
		return bound("queue %s has %s of at most %s bought, and %s more would be needed", queue,
			snapshot.Thousandths(u.milliGPU), snapshot.GPUs(*m*1000), snapshot.Thousandths(gpus))
	}
	if m, ok := bounds.MaxNodes[g.Name]; ok && u.nodes[g.Name]+count > m {
		return bound("queue %s has %d of at most %s of %s, and %d more would be needed", queue, u.nodes[g.Name], nodes(m), g.Name, count)
	}
	if m := bounds.MaxHourlyCost; m != nil && u.cost+g.Price*snapshot.Dollars(count) > *m {
		return broke("queue "+queue, u.cost, *m)
	}
	return nil
}

// BoundsOf returns the bounds that hold for a queue: its own, those of its nearest ancestor that has
// any, or the defaults; nil when there are none. queues is the queue and its ancestors, leaf first.
func BoundsOf(s *snapshot.Snapshot, queues []string) *snapshot.Bounds {
	for _, q := range queues {
		if _, ok := s.Bounds[q]; ok {
			b := s.Bounds[q]
			return &b
		}
	}
	return s.DefaultBounds
}
