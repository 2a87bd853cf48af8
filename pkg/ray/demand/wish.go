package demand

import (
	"math"
	"slices"
)

// Group is a worker group as something to pack onto.
type Group struct {
	Name     string
	Host     Shape             // what one of its nodes declares to Ray
	Labels   map[string]string // of its nodes, in Ray
	Hosts    int               // nodes of one replica; zero reads as one
	Replicas int               // that it has, or has been granted and waits for
	Max      int               // replicas at most
}

// Unmet is demand that no allowed growth of any group would meet.
type Unmet struct {
	Gang  Gang  // where it is a placement group
	Loose Loose // else
}

// Growth is what a group should have.
type Growth struct {
	Replicas int
	// Batches are the replicas by which it grows for one placement group after the other: they help only
	// together. What it grows by beyond them helps one by one.
	Batches []int
}

// Wish says how many replicas each group should have for all demand to run, never fewer than it
// has, and what would wait even then. Placement groups come first, each whole or not at all, then
// tasks and actors, the hardest to place first. Room that is free now, or that a replica on its
// way will bring, is used before a group grows; a group grows in the order given, so the caller's
// order is the user's preference.
//
// Giving back is not its business: who is idle is in State.Nodes.
//
// A program may wait for any number of things, and a head may claim anything. So the work is bounded:
// what it does not reach is unmet, and seen again in the next answer.
func Wish(s *State, groups []Group) (map[string]Growth, []Unmet) {
	p := newPacking(s, groups)
	var unmet []Unmet
	batches := make([][]int, len(groups))
	for _, g := range s.Gangs {
		before := p.replicas
		if !p.placeGang(g) {
			unmet = append(unmet, Unmet{Gang: g})
			continue
		}
		for i, n := range p.replicas {
			if n > before[i] {
				batches[i] = append(batches[i], n-before[i])
			}
		}
	}
	loose := slices.Clone(s.Loose)
	slices.SortStableFunc(loose, func(a, b Loose) int { return Compare(a.Shape, b.Shape) })
	for _, l := range loose {
		if left := p.placeLoose(l); left > 0 {
			unmet = append(unmet, Unmet{Loose: Loose{Shape: l.Shape, Count: left}})
		}
	}
	wish := make(map[string]Growth, len(groups))
	for i, g := range groups {
		wish[g.Name] = Growth{p.replicas[i], batches[i]}
	}
	return wish, unmet
}

// packing is the cluster while it is filled in thought.
type packing struct {
	groups   []Group
	replicas []int // per group
	hosts    []host
	looks    *int // that are left
}

// host is a node with what is free on it.
type host struct {
	free   Shape
	labels map[string]string
	memory bool // whether it declares memory; without, nobody counts it
}

func newHost(free, total Shape, labels map[string]string) host {
	return host{free, labels, total.Memory > 0}
}

const (
	// mostLooks is how often a shape is held against a node: tens of milliseconds.
	mostLooks = 1_000_000
	// mostGrown is how many replicas a group grows by at once.
	mostGrown = 500
)

func newPacking(s *State, groups []Group) *packing {
	looks := mostLooks
	p := &packing{groups: slices.Clone(groups), looks: &looks}
	for i, g := range groups {
		p.groups[i].Max = min(g.Max, g.Replicas+mostGrown)
		p.replicas = append(p.replicas, g.Replicas)
		coming := g.Replicas * g.hosts()
		for _, n := range s.Nodes {
			if n.Group != g.Name {
				continue
			}
			coming--
			// A draining node takes no work, but it is one of the replicas until it is gone.
			if n.Status != Draining {
				p.hosts = append(p.hosts, newHost(n.Free, n.Total, g.Labels))
			}
		}
		for range coming {
			p.hosts = append(p.hosts, newHost(g.Host, g.Host, g.Labels))
		}
	}
	for _, n := range s.Nodes {
		// The head, and nodes of groups that are no more, lend what they have.
		if n.Status != Draining && !slices.ContainsFunc(groups, func(g Group) bool { return g.Name == n.Group }) {
			p.hosts = append(p.hosts, newHost(n.Free, n.Total, nil))
		}
	}
	return p
}

func (g Group) hosts() int { return max(1, g.Hosts) }

// trial makes a copy to try something on.
func (p *packing) trial() *packing {
	*p.looks -= len(p.hosts)
	return &packing{groups: p.groups, replicas: slices.Clone(p.replicas), hosts: slices.Clone(p.hosts), looks: p.looks}
}

// placeGang places all bundles or changes nothing.
func (p *packing) placeGang(g Gang) bool {
	if *p.looks <= 0 {
		return false
	}
	bundles := slices.Clone(g.Bundles)
	slices.SortStableFunc(bundles, Compare)
	t := p.trial()
	if g.Together {
		whole, ok := sum(bundles)
		if !ok || !t.place(whole, nil) {
			return false
		}
		*p = *t
		return true
	}
	used := map[int]bool{}
	for _, b := range bundles {
		if !g.Spread {
			used = nil
		}
		if !t.place(b, used) {
			return false
		}
	}
	*p = *t
	return true
}

// placeLoose places as many as it can and returns how many are left.
func (p *packing) placeLoose(l Loose) (left int64) {
	left = l.Count
	if *p.looks <= 0 {
		return left
	}
	*p.looks -= len(p.hosts)
	for i := range p.hosts {
		left -= p.fill(i, l.Shape, left)
	}
	for left > 0 {
		grown := len(p.hosts)
		if !p.place(l.Shape, nil) {
			break
		}
		left--
		for i := grown; i < len(p.hosts); i++ {
			left -= p.fill(i, l.Shape, left)
		}
	}
	return left
}

// fill puts as many of a shape on a node as fit, n at most.
func (p *packing) fill(i int, s Shape, n int64) int64 {
	if n <= 0 || !p.hosts[i].fits(s) {
		return 0
	}
	n = min(n, p.hosts[i].times(s))
	if !p.hosts[i].memory {
		s.Memory = 0
	}
	p.hosts[i].free = p.hosts[i].free.minus(s.times(n))
	return n
}

// place puts one shape on the first node with room, outside of those used, growing a group if none
// has. It notes the node in used.
func (p *packing) place(s Shape, used map[int]bool) bool {
	if *p.looks <= 0 {
		return false
	}
	*p.looks -= len(p.hosts)
	for i := range p.hosts {
		if !used[i] && p.hosts[i].fits(s) {
			p.take(i, s, used)
			return true
		}
	}
	for gi, g := range p.groups {
		fresh := newHost(g.Host, g.Host, g.Labels)
		if p.replicas[gi] >= g.Max || !fresh.fits(s) {
			continue
		}
		// A shape without GPUs gets a node with GPUs only where no other group would do: the
		// next one in line may well be cheaper.
		if s.MilliGPU == 0 && g.Host.MilliGPU > 0 && p.plainer(s) {
			continue
		}
		first := len(p.hosts)
		p.replicas[gi]++
		for range g.hosts() {
			p.hosts = append(p.hosts, fresh)
		}
		p.take(first, s, used)
		return true
	}
	return false
}

// plainer says whether a group without GPUs could still grow for a shape.
func (p *packing) plainer(s Shape) bool {
	for gi, g := range p.groups {
		if g.Host.MilliGPU == 0 && p.replicas[gi] < g.Max && newHost(g.Host, g.Host, g.Labels).fits(s) {
			return true
		}
	}
	return false
}

func (p *packing) take(i int, s Shape, used map[int]bool) {
	p.hosts[i].free = p.hosts[i].free.minus(s)
	if used != nil {
		used[i] = true
	}
}

// fits says whether a shape has room, and whether the node is what it insists on. Memory that a
// node does not declare is not counted: Ray counts it only where somebody set it.
func (h host) fits(s Shape) bool {
	need := s.Resources
	if !h.memory {
		need.Memory = 0
	}
	if !need.FitsIn(h.free.Resources) || s.Accelerator != "" && s.Accelerator != h.free.Accelerator {
		return false
	}
	for _, c := range s.Custom {
		if c.Milli > milli(h.free.Custom, c.Name) {
			return false
		}
	}
	return !slices.ContainsFunc(s.Selector, func(sel Selector) bool {
		value, has := h.labels[sel.Key]
		return (has && slices.Contains(sel.Values, value)) == sel.Not
	})
}

// times is how many of a shape that fits have room. What asks for nothing fills no node: all have.
func (h host) times(s Shape) int64 {
	n := int64(math.MaxInt64)
	count := func(asked, free int64) {
		if asked > 0 {
			n = min(n, free/asked)
		}
	}
	count(s.MilliCPU, h.free.MilliCPU)
	count(s.MilliGPU, h.free.MilliGPU)
	if h.memory {
		count(s.Memory, h.free.Memory)
	}
	for _, c := range s.Custom {
		count(c.Milli, milli(h.free.Custom, c.Name))
	}
	return n
}

// times is a shape so many times. What would overflow fits no node so often.
func (s Shape) times(n int64) Shape {
	s.MilliCPU, s.MilliGPU, s.Memory = s.MilliCPU*n, s.MilliGPU*n, s.Memory*n
	s.Custom = slices.Clone(s.Custom)
	for i := range s.Custom {
		s.Custom[i].Milli *= n
	}
	return s
}

// minus returns what is left of s. Accelerator is a property, not an amount.
func (s Shape) minus(o Shape) Shape {
	s.Resources = s.Sub(o.Resources)
	if len(o.Custom) > 0 {
		s.Custom = slices.Clone(s.Custom) // others hold the same
	}
	for _, c := range o.Custom {
		for i := range s.Custom {
			if s.Custom[i].Name == c.Name {
				s.Custom[i].Milli -= c.Milli
			}
		}
	}
	return s
}

// sum adds bundles that must lie on one node, or says that none could hold them.
func sum(bundles []Shape) (whole Shape, ok bool) {
	for _, b := range bundles {
		if b.Accelerator != "" && whole.Accelerator != "" && b.Accelerator != whole.Accelerator {
			return Shape{}, false
		}
		if b.Accelerator != "" {
			whole.Accelerator = b.Accelerator
		}
		whole.Resources = whole.Add(b.Resources)
		whole.Selector = append(whole.Selector, b.Selector...)
		for _, c := range b.Custom {
			i := slices.IndexFunc(whole.Custom, func(w Custom) bool { return w.Name == c.Name })
			if i < 0 {
				whole.Custom = append(whole.Custom, c)
				continue
			}
			whole.Custom[i].Milli += c.Milli
		}
	}
	return whole, true
}

func milli(custom []Custom, name string) int64 {
	i := slices.IndexFunc(custom, func(c Custom) bool { return c.Name == name })
	if i < 0 {
		return 0
	}
	return custom[i].Milli
}
