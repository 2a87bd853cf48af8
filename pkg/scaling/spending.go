package scaling

import (
	"maps"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Spending is what the work of every queue holds of managed nodes, its descendants' included: a node
// that is shared, by the share of it that is used. Nodes of a purchase under way are left out for the
// queue that pays for it; Budget counts those in full. Others that run there, as they may where capacity
// is kept warm, count for their own queues. It follows from one snapshot to the next by what has changed.
type Spending struct {
	nodes  []*snapshot.Node            // as they were last, by name
	booked map[string]string           // by instance of a purchase under way: the queue that pays
	prices map[string]snapshot.Dollars // by node group
	held   map[string][]holding        // by node
	spent  map[string]*use             // by queue
}

// holding is what the pods of one queue hold of one node.
type holding struct {
	queues   []string // the queue and its ancestors
	milliGPU int64
	cost     snapshot.Dollars
}

// NewSpending returns the spending of an empty world.
func NewSpending() *Spending {
	return &Spending{held: map[string][]holding{}, spent: map[string]*use{}}
}

// Follow brings it to a snapshot. Nodes that are the same value as before have not changed; moved names
// those whose pods' gangs have. chain returns a queue and its ancestors, leaf first, and must answer as
// before for all other gangs.
func (sp *Spending) Follow(s *snapshot.Snapshot, moved []string, chain func(queue string) []string) {
	prices := make(map[string]snapshot.Dollars, len(s.NodeGroups))
	for _, g := range s.NodeGroups {
		prices[g.Name] = g.Price
	}
	booked := map[string]string{}
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			if _, known := prices[part.Group]; !known {
				continue
			}
			for _, id := range part.Instances {
				booked[id] = payer(s, b)
			}
		}
	}
	if !maps.Equal(prices, sp.prices) {
		*sp = *NewSpending()
	}
	changed := map[string]bool{}
	for _, name := range moved {
		changed[name] = true
	}
	compare(sp.nodes, s.Nodes, func(name string) { changed[name] = true })
	for _, g := range s.NodeGroups {
		for k := range g.Instances {
			if i := &g.Instances[k]; i.Node != "" && booked[i.ID] != sp.booked[i.ID] {
				changed[i.Node] = true
			}
		}
	}
	sp.nodes, sp.booked, sp.prices = s.Nodes, booked, prices
	for name := range changed {
		sp.release(name)
		if n := s.Node(name); n != nil {
			if price, managed := prices[n.Group]; managed {
				sp.hold(s, n, price, booked[n.InstanceID], chain)
			}
		}
	}
}

// compare calls with the name of every node that is in one list only or another value in each. Both are
// sorted by name.
func compare(old, now []*snapshot.Node, differs func(name string)) {
	k := 0
	for _, n := range now {
		for k < len(old) && old[k] != n && old[k].Name < n.Name {
			differs(old[k].Name)
			k++
		}
		same := k < len(old) && old[k] == n
		if k < len(old) && old[k].Name == n.Name {
			k++
		}
		if !same {
			differs(n.Name)
		}
	}
	for ; k < len(old); k++ {
		differs(old[k].Name)
	}
}

// hold counts the pods of a node for the queues that do not pay for it anyway.
func (sp *Spending) hold(s *snapshot.Snapshot, n *snapshot.Node, price snapshot.Dollars, payer string, chain func(queue string) []string) {
	paid := chain(payer)
	for _, p := range n.Pods {
		if p.Gang == "" || p.Resident {
			continue
		}
		g := s.Gang(p.Gang)
		if g == nil {
			continue
		}
		share := shareOf(p.Request, n.Allocatable)
		queues := chain(g.Queue)
		if len(paid) > 0 {
			queues = slices.DeleteFunc(slices.Clone(queues), func(q string) bool { return slices.Contains(paid, q) })
		}
		h := holding{queues, p.Request.MilliGPU, snapshot.Dollars(int64(price) * share / 1000)}
		sp.count(h, 1)
		sp.held[n.Name] = append(sp.held[n.Name], h)
	}
}

// release takes back what was counted of a node.
func (sp *Spending) release(node string) {
	for _, h := range sp.held[node] {
		sp.count(h, -1)
	}
	delete(sp.held, node)
}

func (sp *Spending) count(h holding, times int64) {
	for _, q := range h.queues {
		u := sp.spent[q]
		if u == nil {
			u = &use{nodes: map[string]int{}}
			sp.spent[q] = u
		}
		u.milliGPU += h.milliGPU * times
		u.cost += h.cost * snapshot.Dollars(times)
	}
}

// shareOf is the part of a node that a pod uses, in thousandths: of its GPUs where it has any,
// else of the scarcer of CPU and memory.
func shareOf(request, allocatable snapshot.Resources) int64 {
	part := func(used, of int64) int64 {
		if of <= 0 {
			return 0
		}
		return min(1000, used*1000/of)
	}
	if allocatable.MilliGPU > 0 {
		return part(request.MilliGPU, allocatable.MilliGPU)
	}
	return max(part(request.MilliCPU, allocatable.MilliCPU), part(request.Memory, allocatable.Memory))
}
