package scheduler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// room is the account of capacity: usable nodes, what is about to become free on them, nodes that are
// coming, and nodes that a decision buys. Placements and evictions are tried and undone on it; between
// two decisions it is at rest, and only the nodes that changed are filed anew. See follow.
type room struct {
	fit        Fitter
	nodes      []*slot          // parallel to the snapshot's nodes; nil for those that take no pods
	coming     []*slot          // on their way, in the order of scaling.Coming
	bought     []*slot          // by this decision
	byName     map[string]*slot // usable nodes
	byInstance map[string]*slot // the same by the cloud's name, where there is one
	arriving   map[string]*slot // coming nodes by name and by instance
	allocated  snapshot.Resources
	zones      map[string]int           // how many usable nodes are in each
	zone       string                   // where pods with GPUs may go while it is set; see basket.try
	guest      guest                    // for whom places are looked for
	own        func(*snapshot.Pod) bool // which pods go only on what is booked for the gang; nil: none
	ownFirst   func(*snapshot.Pod) bool // which go there before what is free; nil: none
	looks      int64                    // slots that were looked at
	log        []entry
	placed     []snapshot.Placed // what the Fitter needs to know: both placements and evictions

	owners   map[string]snapshot.GangID   // by instance, as the slots are filed
	unbooked []*slot                      // by this decision
	keeping  []*slot                      // of which this decision keeps something for somebody
	edited   bool                         // by this decision, beyond placements and evictions
	shelves  map[snapshot.GangID][]*shelf // the slots again, by whom they are booked for
	shelf    map[kind]*shelf
	byKind   []*shelf // by their id
	vacating []*slot  // usable slots that something is leaving
	shut     *slot    // on which nothing is placed; nil: none
	lending  lending

	classes  classFitter           // nil: every slot has to be asked about
	rev      uint64                // names the state of the room: equal only when nothing has changed
	last     uint64                // the highest rev that was ever given
	verdicts map[string][]bool     // by pod class and shelf: whether the shelf's nodes take such pods at all
	reasons  map[question]*misfits // why pods found no place
}

// classFitter is a Fitter that can rule out all nodes of a class at once.
type classFitter interface {
	// FitsClass says why no node of the node's class takes any pod of the pod's class, whatever
	// runs there; "" when some node may.
	FitsClass(pod *snapshot.Pod, node *snapshot.Node) (why string)
}

// question is all that the answer to why a pod finds no place depends on.
type question struct {
	rev     uint64
	guest   guest         // where something is kept for somebody
	pod     *snapshot.Pod // nil for pods that their class and request describe
	class   string
	request snapshot.Resources
	gang    snapshot.GangID
	upTo    stage
	zone    string
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

	kept  *reservation       // what is kept of it for another gang; nil: nothing
	slack snapshot.Resources // of what is kept: how much more others may use

	rev    uint64 // names the state of the slot, as room.rev does that of the room
	shelf  *shelf
	vacate int // where it is among those that something is leaving, from 1
}

// entry is one change of the room: a placement, or the eviction of a pod.
type entry struct {
	slot    *slot
	pod     *snapshot.Pod
	evicted bool
	before  uint64 // the rev that undoing it returns to
	slotted uint64 // the same of the slot
	placed  int    // how many were placed before
	touched bool   // nothing on the slot itself has changed
	back    bool   // the pod was taken off the slot that it was put on before
	slack   bool   // it uses slack of the slot
}

// stage is how real capacity is; a gang tries the most real first.
type stage int

const (
	usable  stage = iota // there, now
	leaving              // held by pods that are leaving
	coming               // on nodes that are on their way
	bought               // on nodes that this decision buys
)

func newRoom(fit Fitter) *room {
	r := &room{fit: fit, byName: map[string]*slot{}, byInstance: map[string]*slot{}, zones: map[string]int{}, owners: map[string]snapshot.GangID{},
		shelves: map[snapshot.GangID][]*shelf{}, shelf: map[kind]*shelf{},
		verdicts: map[string][]bool{}, reasons: map[question]*misfits{}, lending: lending{seated: map[snapshot.GangID]bool{}}}
	r.classes, _ = fit.(classFitter)
	return r
}

// total is the capacity that is there and coming.
func (r *room) total() snapshot.Resources {
	sum := r.allocated
	for _, sl := range r.coming {
		sum = sum.Add(sl.node.Allocatable)
	}
	return sum
}

// free is what is free now, in sum, for a gang on usable nodes.
func (r *room) free(g snapshot.GangID) (sum snapshot.Resources) {
	for _, owner := range owners(g) {
		for _, sh := range r.shelves[owner] {
			if sh.kind.stage == usable {
				sum = sum.Add(sh.free)
			}
		}
	}
	return sum
}

// owners are those whose slots a gang may use: nobody's in particular, and its own.
func owners(g snapshot.GangID) []snapshot.GangID {
	if g == "" {
		return []snapshot.GangID{""}
	}
	return []snapshot.GangID{"", g}
}

// each visits all slots: usable ones by name, then those that are coming, then what is bought.
func (r *room) each(visit func(*slot)) {
	for _, list := range [...][]*slot{r.nodes, r.coming, r.bought} {
		for _, sl := range list {
			if sl != nil {
				visit(sl)
			}
		}
	}
}

// unbook opens the nodes of a booking that is over to everyone. Those that were promised and not
// launched do not come any more.
func (r *room) unbook(b *snapshot.Booking) {
	r.edited = true
	for _, part := range b.Nodes {
		for _, id := range part.Instances {
			for _, sl := range [...]*slot{r.byInstance[id], r.arriving[id]} {
				if sl != nil && sl.booked == b.Gang && sl.node.Group == part.Group {
					r.rebook(sl, "")
					r.unbooked = append(r.unbooked, sl)
				}
			}
		}
	}
	r.coming = slices.DeleteFunc(r.coming, func(sl *slot) bool {
		promised := sl.booked == b.Gang && sl.booked != "" && sl.node.InstanceID == "" && strings.HasPrefix(sl.node.Name, b.Request+"/")
		if promised && sl.used == 0 {
			r.unshelve(sl)
			delete(r.arriving, sl.node.Name)
			return true
		}
		return false
	})
	r.changed()
}

// rebook files a slot under another owner.
func (r *room) rebook(sl *slot, owner snapshot.GangID) {
	r.unshelve(sl)
	sl.booked = owner
	r.file(sl)
}

// mark remembers a state of the room for undo.
func (r *room) mark() int { return len(r.log) }

// undo takes back everything since the mark.
func (r *room) undo(mark int) {
	for k := len(r.log) - 1; k >= mark; k-- {
		e := r.log[k]
		r.rev, e.slot.rev, r.placed = e.before, e.slotted, r.placed[:e.placed]
		if e.touched {
			continue
		}
		if e.evicted {
			e.slot.leaving = e.slot.leaving.Sub(e.pod.Request)
			e.slot.leavingN--
			r.vacates(e.slot)
			continue
		}
		if e.back {
			e.put(1)
		} else {
			e.put(-1)
		}
	}
	r.log = r.log[:mark]
}

func (r *room) take(sl *slot, p *snapshot.Pod) {
	e := entry{slot: sl, pod: p, slack: sl.kept != nil && !r.guest.welcome(sl.kept)}
	e.put(1)
	r.note(e, snapshot.Placed{Pod: p, Node: sl.node})
}

// giveBack takes pods off the slots that they were put on.
func (r *room) giveBack(log []entry) {
	for _, e := range log {
		if !e.evicted && !e.touched {
			e.put(-1)
			r.note(entry{slot: e.slot, pod: e.pod, slack: e.slack, back: true}, snapshot.Placed{Pod: e.pod})
		}
	}
}

// put puts the pod on the slot, or takes it off for n = -1.
func (e entry) put(n int) {
	sl, request := e.slot, e.pod.Request.Times(int64(n))
	sl.shelf.take(sl)
	sl.free = sl.free.Sub(request)
	sl.pods -= n
	sl.used += n
	if e.slack {
		sl.slack = sl.slack.Sub(request)
	}
	sl.shelf.put(sl)
}

// note writes down a change that has been made.
func (r *room) note(e entry, placed snapshot.Placed) {
	e.before, e.slotted, e.placed = r.rev, e.slot.rev, len(r.placed)
	r.changed()
	e.slot.rev = r.rev
	placed.Serial = r.rev
	r.log = append(r.log, e)
	r.placed = append(r.placed, placed)
}

// touch notes that something has changed which concerns a slot.
func (r *room) touch(node string) {
	sl := r.byName[node]
	if sl == nil {
		return
	}
	r.log = append(r.log, entry{slot: sl, touched: true, before: r.rev, slotted: sl.rev, placed: len(r.placed)})
	r.changed()
	sl.rev = r.rev
}

// changed gives the state of the room a name that it never had.
func (r *room) changed() {
	r.last++
	r.rev = r.last
}

// vacates keeps the list of slots that something is leaving.
func (r *room) vacates(sl *slot) {
	switch {
	case sl.shelf == nil || sl.stage != usable || (sl.leavingN > 0) == (sl.vacate > 0):
	case sl.leavingN > 0:
		r.vacating = append(r.vacating, sl)
		sl.vacate = len(r.vacating)
	default:
		end := r.vacating[len(r.vacating)-1]
		r.vacating[sl.vacate-1], end.vacate = end, sl.vacate
		r.vacating = r.vacating[:len(r.vacating)-1]
		sl.vacate = 0
	}
}

// add puts in a node.
func (r *room) add(sl *slot) {
	r.file(sl)
	r.vacates(sl)
}

// unshelve takes a slot out of the index, before what it is filed under changes.
func (r *room) unshelve(sl *slot) {
	sl.shelf.take(sl)
	r.changed()
}

// file puts a slot into the index.
func (r *room) file(sl *slot) {
	k := kindOf(sl)
	sl.shelf = r.shelf[k]
	if sl.shelf == nil {
		sl.shelf = &shelf{id: len(r.byKind), kind: k, example: sl.node}
		r.shelf[k] = sl.shelf
		r.byKind = append(r.byKind, sl.shelf)
		r.shelves[k.booked] = append(r.shelves[k.booked], sl.shelf)
	}
	sl.shelf.put(sl)
	r.changed()
}

// evict counts a bound pod's room as leaving.
func (r *room) evict(p *snapshot.Pod) {
	sl := r.byName[p.Node]
	if sl == nil { // on a node that takes no pods: its room helps nobody
		sl = &slot{}
	}
	sl.leaving = sl.leaving.Add(p.Request)
	sl.leavingN++
	r.vacates(sl)
	r.note(entry{slot: sl, pod: p, evicted: true}, snapshot.Placed{Pod: p})
}

// build adds a node that this decision buys.
func (r *room) build(n *snapshot.Node, owner snapshot.GangID) {
	sl := &slot{node: n, free: n.Free(), pods: n.FreePods(), stage: bought, booked: owner}
	r.add(sl)
	r.bought, r.edited = append(r.bought, sl), true
}

// close removes the nodes opened last, all but the first n.
func (r *room) close(n int) {
	if len(r.bought) == n {
		return
	}
	for _, sl := range r.bought[n:] {
		r.unshelve(sl)
	}
	r.bought = r.bought[:n]
	r.changed()
}

// placeAll puts every pod on room of at most the given stage, in order, or none and says for the
// first that found no place what stands in the way on how many nodes.
func (r *room) placeAll(pods []*snapshot.Pod, g snapshot.GangID, upTo stage) (*misfits, *snapshot.Pod) {
	mark := r.mark()
	if p := r.placeMost(pods, g, upTo); p != nil {
		why := r.misfits(p, g, upTo)
		r.undo(mark)
		return why, p
	}
	return nil, nil
}

// tryAll is placeAll for those who need no reasons.
func (r *room) tryAll(pods []*snapshot.Pod, g snapshot.GangID, upTo stage) bool {
	mark := r.mark()
	if r.placeMost(pods, g, upTo) != nil {
		r.undo(mark)
		return false
	}
	return true
}

// placeMost puts pods on their best slots until one finds none.
func (r *room) placeMost(pods []*snapshot.Pod, g snapshot.GangID, upTo stage) (unplaced *snapshot.Pod) {
	for _, p := range pods {
		if !r.placeOne(p, g, upTo) {
			return p
		}
	}
	return nil
}

// placeOne puts a pod on the best slot, if any has room.
func (r *room) placeOne(p *snapshot.Pod, g snapshot.GangID, upTo stage) bool {
	sl := r.find(p, g, upTo)
	if sl == nil {
		return false
	}
	r.take(sl, p)
	return true
}

// plainly, in tests, looks for a place in the simplest way, and nothing is remembered of victims: what
// the index and the memory are compared with.
var plainly func(r *room, p *snapshot.Pod, g snapshot.GangID, upTo stage) *slot

// find returns the best slot for a pod, or nil.
func (r *room) find(p *snapshot.Pod, g snapshot.GangID, upTo stage) (best *slot) {
	if plainly != nil {
		return plainly(r, p, g, upTo)
	}
	bestAt := bought
	try := func(sl *slot, at stage) (more bool) {
		r.looks++
		if best != nil && !r.better(p, g, sl, at, best, bestAt) {
			return false
		}
		if !r.open(sl, p) {
			return true
		}
		if r.fit.Fits(p, sl.node, r.placed) != "" {
			return true
		}
		best, bestAt = sl, at
		return false
	}
	may := r.shelvesFor(p)
	for _, owner := range owners(g) {
		if owner != g && r.own != nil && r.own(p) {
			continue
		}
		for _, sh := range r.shelves[owner] {
			if sh.kind.stage <= upTo && (may == nil || may[sh.id]) && !r.outside(p, sh.kind.zone) {
				sh.each(p, func(sl *slot) bool { return try(sl, sl.stage) })
			}
		}
	}
	if r.lending.on && upTo >= coming {
		r.eachLent(p, g, may, func(sl *slot) bool { return try(sl, max(sl.stage, coming)) })
	}
	if upTo >= leaving {
		r.eachVacating(p, g, upTo, func(sl *slot) bool { return try(sl, leaving) })
	}
	return best
}

// eachVacating calls with the slots that have room for a pod when those have gone that are leaving.
func (r *room) eachVacating(p *snapshot.Pod, g snapshot.GangID, upTo stage, try func(*slot) (more bool)) {
	for _, sl := range r.vacating {
		if !r.forGang(sl, p, g) || r.outside(p, sl.node.Zone) {
			continue
		}
		if at, why, _ := r.stageFor(sl, p, upTo); why == "" && at == leaving {
			try(sl)
		}
	}
}

// forGang says whether a gang may use a slot for a pod, as far as bookings go.
func (r *room) forGang(sl *slot, p *snapshot.Pod, g snapshot.GangID) bool {
	return sl.booked == g || sl.booked == "" && (r.own == nil || !r.own(p))
}

// outside says whether a zone is another than the one that pods with GPUs are confined to at the moment.
func (r *room) outside(p *snapshot.Pod, zone string) bool {
	return r.zone != "" && p.Request.MilliGPU > 0 && zone != "" && zone != r.zone
}

// shelvesFor says by shelf whether a pod may find a place there if there is room; nil: on all of them.
func (r *room) shelvesFor(p *snapshot.Pod) []bool {
	if r.classes == nil || p.Class == "" || p.Alone {
		return nil
	}
	known := r.verdicts[p.Class]
	if len(known) == len(r.byKind) {
		return known
	}
	for _, sh := range r.byKind[len(known):] {
		known = append(known, sh.kind.class == "" || r.classes.FitsClass(p, sh.example) == "")
	}
	r.verdicts[p.Class] = known
	return known
}

// stageFor says at which stage a slot has room for a pod, or why it has none and of which resource it is
// short; dimensions where it is none.
func (r *room) stageFor(sl *slot, p *snapshot.Pod, upTo stage) (at stage, why string, of dimension) {
	d := shortage(p.Request, sl.free)
	if d == dimensions && sl.pods > 0 {
		return sl.stage, "", dimensions
	}
	if sl.stage == usable && upTo >= leaving && sl.leavingN > 0 &&
		p.Request.FitsIn(sl.free.Add(sl.leaving)) && sl.pods+sl.leavingN > 0 {
		return leaving, "", dimensions
	}
	small := shortage(p.Request, sl.node.Allocatable)
	switch {
	case d == dimensions:
		return 0, "no more pods accepted", dimensions
	case d == gpu && sl.node.Allocatable.MilliGPU == 0:
		return 0, noGPUs, dimensions
	case small < dimensions:
		return 0, tooSmall[small], small
	}
	return 0, tooFull[d], d
}

// shortage is the first dimension of a request that room does not cover, the scarcest first; dimensions
// where it covers all.
func shortage(request, room snapshot.Resources) dimension { return named(request.Shortage(room)) }

// better says whether a is a better place than b: CPU work off the GPU nodes, real room before
// leaving and coming, what was bought for the gang first, then the fullest node, so that whole ones
// stay whole.
func (r *room) better(p *snapshot.Pod, g snapshot.GangID, a *slot, atA stage, b *slot, atB stage) bool {
	flag := func(x bool) int {
		if x {
			return 0
		}
		return 1
	}
	first := func(sl *slot) int { return flag(r.ownFirst == nil || sl.booked == g || !r.ownFirst(p)) }
	sparesGPU := func(sl *slot) bool { return p.Request.MilliGPU > 0 || sl.node.Allocatable.MilliGPU == 0 }
	return cmp.Or(
		cmp.Compare(first(a), first(b)),
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
		if !e.evicted && !e.touched && !e.back {
			placed, slots = append(placed, snapshot.Placed{Pod: e.pod, Node: e.slot.node}), append(slots, e.slot)
		}
	}
	return placed, slots
}

// wanted says whether the decision uses a node, by its name or instance ID.
func (r *room) wanted(name string) bool {
	for _, sl := range [...]*slot{r.byName[name], r.byInstance[name], r.arriving[name]} {
		if sl != nil && (sl.used > 0 || sl.booked != "") {
			return true
		}
	}
	return false
}
