package scheduler

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// misfits is why a pod found no place.
type misfits struct {
	request snapshot.Resources
	nodes   map[string]int  // per reason, on how many nodes
	nearest map[string]near // per shortage: the node that is short of least

	rejecting []*snapshot.Node // with room for the pod, but for a kubelet that would not run one like it
	until     time.Time        // when the first of them is tried again
	because   string           // its kubelet's reason
}

// near is a node and what it has of what is short: now, or when it is empty.
type near struct {
	node string
	has  int64
}

// Shortages, by dimension: of a node that is too small even when it is empty, and of one that others fill.
var (
	tooSmall = [dimensions]string{gpu: "too few GPUs even when empty", cpu: "too little CPU even when empty", memory: "too little memory even when empty"}
	tooFull  = [dimensions]string{gpu: "too few GPUs free", cpu: "too little CPU free", memory: "too little memory free"}
)

// noGPUs is why work that needs GPUs does not run on the nodes that are there for everything else.
// It is true and helps nobody as long as there are nodes with GPUs.
const noGPUs = "no GPUs"

// count notes one more node.
func (m *misfits) count(why string) { m.nodes[why]++ }

// short notes one more node that is short of a resource. Nodes come in the order of their names, and the
// first of those that are equally near stays.
func (m *misfits) short(why string, sl *slot, d dimension) {
	m.count(why)
	has := max(0, d.of(sl.free))
	if why == tooSmall[d] {
		has = d.of(sl.node.Allocatable)
	}
	if best, there := m.nearest[why]; !there || has > best.has {
		m.nearest[why] = near{sl.node.Name, has}
	}
}

// reject notes a node that has room, and what is remembered of its kubelet.
func (m *misfits) reject(n *snapshot.Node, r *snapshot.Rejection) {
	if m.rejecting = append(m.rejecting, n); len(m.rejecting) == 1 || r.Until.Before(m.until) {
		m.until, m.because = r.Until, r.Reason
	}
}

// dominant is the reason that holds on most nodes; among equals the first by name. Nodes without
// GPUs count only where there are no others.
func (m *misfits) dominant() (why string, nodes, of int) {
	for w, n := range m.nodes {
		if w == noGPUs && len(m.nodes) > 1 {
			continue
		}
		of += n
		if n > nodes || n == nodes && w < why {
			why, nodes = w, n
		}
	}
	return why, nodes, of
}

// text is the dominant reason with its numbers: a node that has room, where there is one; of a shortage what the nearest node has, because how many
// others there are changes with every node that comes or goes, and helps nobody.
func (m *misfits) text() string {
	switch len(m.rejecting) {
	case 0:
	case 1:
		return fmt.Sprintf("node %s has room, and its kubelet rejected such a pod lately (%s)", m.rejecting[0].Name, m.because)
	default:
		return fmt.Sprintf("%d nodes have room, and their kubelets rejected such pods lately (%s)", len(m.rejecting), m.because)
	}
	if len(m.nodes) == 0 {
		return "there are no nodes"
	}
	why, n, of := m.dominant()
	if why == noGPUs {
		return "no node has GPUs"
	}
	for d := range dimensions {
		best, wants := m.nearest[why], d.of(m.request)
		switch {
		case why != tooSmall[d] && why != tooFull[d]:
		case best.has == 0:
			return "no node has " + d.any() + " free"
		case why == tooSmall[d]:
			return fmt.Sprintf("the largest node, %s, has %s of the %s that it needs", best.node, d.number(best.has), d.amount(wants))
		default:
			return fmt.Sprintf("node %s, which comes nearest, has %s free of the %s that it needs", best.node, d.number(best.has), d.amount(wants))
		}
	}
	return fmt.Sprintf("%d of %s: %s", n, nodes1(of), why)
}

// any is one of a resource, as in "no node has any free".
func (d dimension) any() string {
	return [dimensions]string{gpu: "a GPU", cpu: "CPU", memory: "memory"}[d]
}

// amount prints so much of a resource.
func (d dimension) amount(v int64) string {
	switch d {
	case gpu:
		return snapshot.GPUs(v)
	case cpu:
		return snapshot.CPU(v)
	}
	return snapshot.Memory(v) + " of memory"
}

// number prints so much of a resource where amount follows.
func (d dimension) number(v int64) string {
	switch d {
	case gpu:
		return snapshot.Thousandths(v)
	case cpu:
		return snapshot.CPU(v)
	}
	return snapshot.Memory(v)
}

// misfits says what stands in the way of a pod that found no place.
func (r *room) misfits(p *snapshot.Pod, g snapshot.GangID, upTo stage) *misfits {
	q := question{rev: r.rev, class: p.Class, request: p.Request, upTo: upTo, zone: r.zone}
	if p.Class == "" || p.Alone {
		q.pod = p
	}
	if len(r.keeping) > 0 {
		q.guest = r.guest
	}
	if len(r.shelves[g]) > 0 {
		q.gang = g
	}
	why, known := r.reasons[q]
	if !known {
		why = r.count(p, g, upTo)
		r.reasons[q] = why
	}
	return why
}

func (r *room) count(p *snapshot.Pod, g snapshot.GangID, upTo stage) *misfits {
	m := &misfits{request: p.Request, nodes: map[string]int{}, nearest: map[string]near{}}
	r.each(func(sl *slot) {
		r.looks++
		switch {
		case sl.stage > upTo:
		case r.outside(p, sl.node.Zone):
			m.count("in another zone than the gang")
		case sl.booked != "" && sl.booked != g:
			m.count("reserved for another gang")
		default:
			if _, why, d := r.stageFor(sl, p, upTo); why != "" {
				if d < dimensions {
					m.short(why, sl, d)
				} else {
					m.count(why)
				}
			} else if !r.open(sl, p) {
				m.count("kept for a gang that is before it")
			} else if why := r.fit.Fits(p, sl.node, r.placed); why != "" {
				m.count(why)
				if again := sl.node.Rejected(p.Class); again != nil {
					m.reject(sl.node, again)
				}
			}
		}
	})
	return m
}
