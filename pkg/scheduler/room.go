package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// room is the account of capacity during one decision: usable nodes, what is about to become free
// on them, nodes that are coming, and nodes that the decision buys. Placements and evictions are
// tried and undone on it.
type room struct {
	fit    Fitter
	slots  []*slot
	byName map[string]*slot // usable nodes only
	log    []entry
	placed []snapshot.Placed // what the Fitter needs to know: both placements and evictions
}

// slot is one node's share of the room.
type slot struct {
	node     *snapshot.Node
	free     snapshot.Resources // now; below zero when more than that is promised from what is leaving
	pods     int                // how many more the kubelet accepts now
	leaving  snapshot.Resources // held by pods that are on their way out, or are to be evicted
	leavingN int
	stage    stage
	booked   snapshot.GangID // "" for anyone
	at       time.Time       // when a coming node is expected
	used     int             // placements of this decision
}

// entry is one change of the room: a placement, or the eviction of a pod.
type entry struct {
	slot    *slot
	pod     *snapshot.Pod
	evicted bool
}

// stage is how real capacity is; a gang tries the most real first.
type stage int

const (
	usable  stage = iota // there, now
	leaving              // held by pods that are leaving
	coming               // on nodes that are on their way
	bought               // on nodes that this decision buys
)

func newRoom(s *snapshot.Snapshot, fit Fitter) *room {
	r := &room{fit: fit, byName: make(map[string]*slot, len(s.Nodes))}
	owners := scaling.Owners(s)
	for _, n := range s.Nodes {
		if !n.Usable || n.Draining {
			continue
		}
		sl := &slot{node: n, free: n.Free(), pods: n.FreePods(), booked: owners[n.InstanceID]}
		for _, p := range n.Pods {
			if p.Terminating {
				sl.leaving = sl.leaving.Add(p.Request)
				sl.leavingN++
			}
		}
		r.slots = append(r.slots, sl)
		r.byName[n.Name] = sl
	}
	for _, a := range scaling.Coming(s) {
		r.slots = append(r.slots, &slot{node: a.Node, free: a.Node.Free(), pods: a.Node.FreePods(),
			stage: coming, booked: a.Booked, at: a.At})
	}
	return r
}

// total is the capacity that is there and coming.
func (r *room) total() (sum snapshot.Resources) {
	for _, sl := range r.slots {
		sum = sum.Add(sl.node.Allocatable)
	}
	return sum
}

// mark remembers a state of the room for undo.
func (r *room) mark() int { return len(r.log) }

// undo takes back everything since the mark.
func (r *room) undo(mark int) {
	for k := len(r.log) - 1; k >= mark; k-- {
		e := r.log[k]
		if e.evicted {
			e.slot.leaving = e.slot.leaving.Sub(e.pod.Request)
			e.slot.leavingN--
			continue
		}
		e.slot.free = e.slot.free.Add(e.pod.Request)
		e.slot.pods++
		e.slot.used--
	}
	r.log, r.placed = r.log[:mark], r.placed[:mark]
}

func (r *room) take(sl *slot, p *snapshot.Pod) {
	sl.free = sl.free.Sub(p.Request)
	sl.pods--
	sl.used++
	r.log = append(r.log, entry{slot: sl, pod: p})
	r.placed = append(r.placed, snapshot.Placed{Pod: p, Node: sl.node})
}

// evict counts a bound pod's room as leaving.
func (r *room) evict(p *snapshot.Pod) {
	sl := r.byName[p.Node]
	if sl == nil { // on a node that takes no pods: its room helps nobody
		sl = &slot{}
	}
	sl.leaving = sl.leaving.Add(p.Request)
	sl.leavingN++
	r.log = append(r.log, entry{slot: sl, pod: p, evicted: true})
	r.placed = append(r.placed, snapshot.Placed{Pod: p})
}

// open adds a node that this decision buys.
func (r *room) open(n *snapshot.Node, owner snapshot.GangID) {
	r.slots = append(r.slots, &slot{node: n, free: n.Free(), pods: n.FreePods(), stage: bought, booked: owner})
}

// truncate removes the nodes opened last.
func (r *room) truncate(slots int) { r.slots = r.slots[:slots] }

// placeAll puts every pod on room of at most the given stage, in order, or none and says for the
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
	var why misfits
	var best *slot
	bestStage := bought
	for _, sl := range r.slots {
		if sl.stage > upTo {
			continue
		}
		if sl.booked != "" && sl.booked != g {
			why.add("reserved for another gang")
			continue
		}
		at, short := r.stageFor(sl, p, upTo)
		if short != "" {
			why.add(short)
			continue
		}
		if best != nil && !better(p, g, sl, at, best, bestStage) {
			continue
		}
		if w := r.fit.Fits(p, sl.node, r.placed); w != "" {
			why.add(w)
			continue
		}
		best, bestStage = sl, at
	}
	if best == nil {
		if why == nil {
			why = misfits{}
		}
		return why
	}
	r.take(best, p)
	return nil
}

// stageFor says at which stage a slot has room for a pod, or what it is short of.
func (r *room) stageFor(sl *slot, p *snapshot.Pod, upTo stage) (stage, string) {
	dim := p.Request.Shortage(sl.free)
	if dim == "" && sl.pods > 0 {
		return sl.stage, ""
	}
	if sl.stage == usable && upTo >= leaving && sl.leavingN > 0 &&
		p.Request.FitsIn(sl.free.Add(sl.leaving)) && sl.pods+sl.leavingN > 0 {
		return leaving, ""
	}
	switch {
	case dim == "":
		return 0, "no more pods accepted"
	case dim == "gpu" && sl.node.Allocatable.MilliGPU == 0:
		return 0, noGPUs
	case p.Request.Shortage(sl.node.Allocatable) != "":
		return 0, tooSmall[p.Request.Shortage(sl.node.Allocatable)]
	}
	return 0, tooLittle[dim]
}

var (
	tooSmall  = map[string]string{"gpu": "too few GPUs even when empty", "cpu": "too little CPU even when empty", "memory": "too little memory even when empty"}
	tooLittle = map[string]string{"gpu": "too few GPUs free", "cpu": "too little CPU free", "memory": "too little memory free"}
)

// noGPUs is why work that needs GPUs does not run on the nodes that are there for everything else.
// It is true and helps nobody as long as there are nodes with GPUs.
const noGPUs = "no GPUs"

// better says whether a is a better place than b: CPU work off the GPU nodes, real room before
// leaving and coming, what was bought for the gang first, then the fullest node, so that whole ones
// stay whole.
func better(p *snapshot.Pod, g snapshot.GangID, a *slot, atA stage, b *slot, atB stage) bool {
	flag := func(x bool) int {
		if x {
			return 0
		}
		return 1
	}
	sparesGPU := func(sl *slot) bool { return p.Request.MilliGPU > 0 || sl.node.Allocatable.MilliGPU == 0 }
	return cmp.Or(
		cmp.Compare(flag(sparesGPU(a)), flag(sparesGPU(b))),
		cmp.Compare(atA, atB),
		cmp.Compare(flag(a.booked == g), flag(b.booked == g)),
		cmp.Compare(a.free.MilliGPU, b.free.MilliGPU),
		cmp.Compare(a.free.MilliCPU, b.free.MilliCPU),
		a.at.Compare(b.at),
		cmp.Compare(a.node.Name, b.node.Name),
	) < 0
}

// since lists the placements after a mark.
func (r *room) since(mark int) (placed []snapshot.Placed, slots []*slot) {
	for _, e := range r.log[mark:] {
		if !e.evicted {
			placed, slots = append(placed, snapshot.Placed{Pod: e.pod, Node: e.slot.node}), append(slots, e.slot)
		}
	}
	return placed, slots
}

// wanted says whether the decision uses a node, by its name or instance ID.
func (r *room) wanted(name string) bool {
	return slices.ContainsFunc(r.slots, func(sl *slot) bool {
		return (sl.used > 0 || sl.booked != "") && (sl.node.Name == name || sl.node.InstanceID == name)
	})
}

// misfits counts the nodes per reason for which a pod does not fit them.
type misfits map[string]int

func (m *misfits) add(why string) {
	if *m == nil {
		*m = misfits{}
	}
	(*m)[why]++
}

// dominant is the reason that holds on most nodes; among equals the first by name. Nodes without
// GPUs count only where there are no others.
func (m misfits) dominant() (why string, nodes, of int) {
	for w, n := range m {
		if w == noGPUs && len(m) > 1 {
			continue
		}
		of += n
		if n > nodes || n == nodes && w < why {
			why, nodes = w, n
		}
	}
	return why, nodes, of
}
