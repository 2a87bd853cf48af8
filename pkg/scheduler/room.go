package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// room is the account of free capacity during one decision: usable nodes, nodes that are coming,
// and nodes that the decision buys. Placements are tried and undone on it.
type room struct {
	fit    Fitter
	slots  []*slot
	placed []snapshot.Placed
	took   []*slot // parallel to placed
}

// slot is one node's share of the room.
type slot struct {
	node   *snapshot.Node
	free   snapshot.Resources
	pods   int // how many more the kubelet accepts
	stage  stage
	booked snapshot.GangID // "" for anyone
	at     time.Time       // when a coming node is expected
	used   int             // placements of this decision
}

// stage is how real a slot is; a gang tries the most real first.
type stage int

const (
	usable stage = iota // there, now
	coming              // on its way
	bought              // bought by this decision
)

func newRoom(s *snapshot.Snapshot, fit Fitter) *room {
	r := &room{fit: fit}
	owners := scaling.Owners(s)
	for _, n := range s.Nodes {
		if n.Usable && !n.Draining {
			r.slots = append(r.slots, &slot{node: n, free: n.Free(), pods: n.FreePods(), booked: owners[n.InstanceID]})
		}
	}
	for _, a := range scaling.Coming(s) {
		r.slots = append(r.slots, &slot{node: a.Node, free: a.Node.Free(), pods: a.Node.FreePods(),
			stage: coming, booked: a.Booked, at: a.At})
	}
	return r
}

// mark remembers a state of the room for undo.
func (r *room) mark() int { return len(r.placed) }

// undo takes back every placement since the mark.
func (r *room) undo(mark int) {
	for k := len(r.placed) - 1; k >= mark; k-- {
		sl := r.took[k]
		sl.free = sl.free.Add(r.placed[k].Pod.Request)
		sl.pods++
		sl.used--
	}
	r.placed, r.took = r.placed[:mark], r.took[:mark]
}

func (r *room) take(sl *slot, p *snapshot.Pod) {
	sl.free = sl.free.Sub(p.Request)
	sl.pods--
	sl.used++
	r.placed = append(r.placed, snapshot.Placed{Pod: p, Node: sl.node})
	r.took = append(r.took, sl)
}

// open adds a node that this decision buys, and close removes it again.
func (r *room) open(n *snapshot.Node, owner snapshot.GangID) *slot {
	sl := &slot{node: n, free: n.Free(), pods: n.FreePods(), stage: bought, booked: owner}
	r.slots = append(r.slots, sl)
	return sl
}

func (r *room) truncate(slots int) { r.slots = r.slots[:slots] }

// placeAll puts every pod on a slot of at most the given stage, in order, or none and says for the
// first that found no place what stands in the way on how many nodes.
func (r *room) placeAll(pods []*snapshot.Pod, g snapshot.GangID, upTo stage) (misfits, *snapshot.Pod) {
	mark := r.mark()
	for _, p := range pods {
		if why := r.placeOne(p, g, upTo); why != nil {
			r.undo(mark)
			return why, p
		}
	}
	return nil, nil
}

// placeOne puts a pod on the best slot. It returns nil, or what stands in the way on how many
// nodes.
func (r *room) placeOne(p *snapshot.Pod, g snapshot.GangID, upTo stage) misfits {
	why := misfits{}
	var best *slot
	for _, sl := range r.slots {
		if sl.stage > upTo {
			continue
		}
		if sl.booked != "" && sl.booked != g {
			why["is reserved for another gang"]++
			continue
		}
		if best != nil && !better(p, g, sl, best) {
			continue
		}
		if short := r.shortage(sl, p); short != "" {
			why[short]++
			continue
		}
		if w := r.fit.Fits(p, sl.node, r.placed); w != "" {
			why[w]++
			continue
		}
		best = sl
	}
	if best == nil {
		return why
	}
	r.take(best, p)
	return nil
}

func (r *room) shortage(sl *slot, p *snapshot.Pod) string {
	dim := p.Request.Shortage(sl.free)
	if dim == "" && sl.pods <= 0 {
		return "accepts no more pods"
	}
	if dim == "" {
		return ""
	}
	if p.Request.Shortage(sl.node.Allocatable) != "" {
		return "is too small in " + dim
	}
	return "has too little " + dim + " free"
}

// better says whether a is a better place than b: what was bought for the gang first, real before
// coming, CPU work off the GPU nodes, then the fullest node, so that whole ones stay whole.
func better(p *snapshot.Pod, g snapshot.GangID, a, b *slot) bool {
	flag := func(x bool) int {
		if x {
			return 0
		}
		return 1
	}
	wastesGPU := func(sl *slot) bool { return p.Request.MilliGPU == 0 && sl.node.Allocatable.MilliGPU > 0 }
	return cmp.Or(
		cmp.Compare(flag(!wastesGPU(a)), flag(!wastesGPU(b))),
		cmp.Compare(a.stage, b.stage),
		cmp.Compare(flag(a.booked == g), flag(b.booked == g)),
		cmp.Compare(a.free.MilliGPU, b.free.MilliGPU),
		cmp.Compare(a.free.MilliCPU, b.free.MilliCPU),
		a.at.Compare(b.at),
		cmp.Compare(a.node.Name, b.node.Name),
	) < 0
}

// since lists the placements after a mark.
func (r *room) since(mark int) ([]snapshot.Placed, []*slot) { return r.placed[mark:], r.took[mark:] }

// wanted says whether the decision uses a node, by its name or instance ID.
func (r *room) wanted(name string) bool {
	return slices.ContainsFunc(r.slots, func(sl *slot) bool {
		return (sl.used > 0 || sl.booked != "") && (sl.node.Name == name || sl.node.InstanceID == name)
	})
}

// misfits counts the nodes per reason for which a pod does not fit them.
type misfits map[string]int

// dominant is the reason that holds on most nodes; among equals the first by name.
func (m misfits) dominant() (why string, nodes, of int) {
	for w, n := range m {
		of += n
		if n > nodes || n == nodes && w < why {
			why, nodes = w, n
		}
	}
	return why, nodes, of
}
