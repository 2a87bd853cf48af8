package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

const (
	// settledFor is how long everything on a node must have been there before it is moved away to save
	// money: what came back, because somebody took its new place, is left alone for a while.
	settledFor = 10 * time.Minute
	// mostEmptied is how many nodes one decision tries to empty.
	mostEmptied = 8
)

// consolidate moves elastic units and single pods off one node that costs more than the configured bar, where
// there is room for all of them on others: then it idles, and is given back. Nobody's minimum is broken for
// that, and nothing is moved while anything else goes on: what is free may be somebody's in a moment.
func (d *decision) consolidate() {
	if d.s.Limits.ConsolidateAbove <= 0 || !d.quiet() {
		return
	}
	for _, n := range d.costly() {
		if chunks := d.movable(n); chunks != nil && d.fitElsewhere(n, chunks) {
			because := fmt.Sprintf("because there is room for it elsewhere, and node %s can be given back, for %s/h", n.Name, d.s.NodeGroup(n.Group).Price)
			for _, c := range chunks {
				gone := d.end(c, because)
				d.ledger.occupy(gone.gang, gone.request) // it is moved, and uses as much as before
			}
			return
		}
	}
}

// quiet says whether nobody waits for room, and nothing is on its way.
func (d *decision) quiet() bool {
	if len(d.evictions) > 0 || len(d.s.Bookings) > 0 || len(d.room.vacating) > 0 || len(d.plan.Reservations) > 0 {
		return false
	}
	heard := map[*muster]bool{}
	for _, w := range d.works {
		if w.starts() || w.holds || w.making > 0 || w.next != nil || !shut(w.verdict.Reason) {
			return false
		}
		heard[w.muster] = true
	}
	return !slices.ContainsFunc(d.world.musters, func(m *muster) bool {
		return m.queues() && !heard[m] && (m.verdict == nil || !shut(m.verdict.Reason))
	})
}

// shut says whether a gang for which that is said has no use for a free node.
func shut(r plan.Reason) bool {
	switch r {
	case plan.Running, plan.ExceedsLimit, plan.WaitingForQuota, plan.NonPreemptibleOverQuota, plan.QueueNotFound, plan.NotLeafQueue,
		plan.Misconfigured, plan.NotPermitted, plan.Suspended:
		return true
	}
	return false
}

// costly lists nodes that it might pay to empty, the most expensive first, and of those the emptiest.
func (d *decision) costly() (nodes []*snapshot.Node) {
	warm := slices.ContainsFunc(d.s.Queues, func(q *snapshot.Queue) bool { return d.s.Bounds[q.Name].MinGPUs > 0 })
	for _, g := range d.s.NodeGroups {
		if warm || g.Price < d.s.Limits.ConsolidateAbove || g.Delegated || g.Unknown != "" || len(g.Instances) <= g.Min {
			continue
		}
		for k := range g.Instances {
			n := d.s.Node(g.Instances[k].Node)
			if n != nil && n.Usable && !n.Draining && !n.Cordoned && n.Protected == "" && n.IdleSince.IsZero() {
				nodes = append(nodes, n)
			}
		}
	}
	slices.SortFunc(nodes, func(a, b *snapshot.Node) int {
		return cmp.Or(cmp.Compare(d.s.NodeGroup(b.Group).Price, d.s.NodeGroup(a.Group).Price), cmp.Compare(len(a.Pods), len(b.Pods)), cmp.Compare(a.Name, b.Name))
	})
	return nodes[:min(len(nodes), mostEmptied)]
}

// movable lists what is on a node, where all of it may be moved; else nil.
func (d *decision) movable(n *snapshot.Node) (chunks []*chunk) {
	window := max(settledFor, d.s.NodeGroup(n.Group).IdleAfter)
	pods := 0
	for _, p := range n.Pods {
		if p.Resident {
			continue
		}
		c := d.alone(n, p)
		if pods++; c == nil || pods > maxMoves || !d.ranFor(c, max(window, d.preemptMinRuntime(c.gang.Queue))) {
			return nil
		}
		if !slices.Contains(chunks, c) {
			chunks = append(chunks, c)
		}
	}
	return chunks
}

// alone is the elastic unit or the single pod that a pod is of, if all of that is on its node and may be moved.
func (d *decision) alone(n *snapshot.Node, p *snapshot.Pod) *chunk {
	if p.Gang == "" || p.Terminating || p.Protected != "" {
		return nil
	}
	for _, c := range d.stock().byNode[n.Name] {
		if !slices.Contains(c.pods, p) || c.whole && (len(c.pods) > 1 || c.gang.Cluster.UID != "") {
			continue
		}
		if !slices.ContainsFunc(c.pods, func(o *snapshot.Pod) bool { return o.Node != n.Name || o.Protected != "" }) {
			return c
		}
	}
	return nil
}

// fitElsewhere says whether all chunks find a place on other nodes of the same zone, and holds it for this
// decision.
func (d *decision) fitElsewhere(n *snapshot.Node, chunks []*chunk) bool {
	mark := d.room.mark()
	d.room.shut = d.room.byName[n.Name]
	defer func() { d.room.shut = nil }()
	for _, c := range chunks {
		if !d.room.tryAll(c.pods, c.gang.ID, usable) {
			d.room.undo(mark)
			return false
		}
	}
	placed, _ := d.room.since(mark)
	if slices.ContainsFunc(placed, func(p snapshot.Placed) bool { return p.Node.Zone != n.Zone }) {
		d.room.undo(mark)
		return false
	}
	return true
}
