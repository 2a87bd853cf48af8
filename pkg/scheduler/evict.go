package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// eviction is one try to make room for a gang: everything it did can be taken back.
type eviction struct {
	d *decision
	*demand
	move   bool              // what goes must find another place
	chunks []*chunk          // evicted, in order
	gone   [][]*snapshot.Pod // their pods, parallel to chunks
}

// mayGo says whether a chunk may be evicted for the gang, and whether that leaves its queue with
// less than it is entitled to. What is moved costs its queue nothing.
func (e *eviction) mayGo(c *chunk, contested snapshot.Resources) (why grounds, overshoot bool) {
	if e.gang.Surge && c.gang.Serves && c.gang.Top.UID == e.gang.Top.UID {
		return none, false // an upgrade does not stop what it upgrades
	}
	if !e.move {
		return e.d.mayEvict(c, e.demand, contested)
	}
	pods, request := c.left(e.d.evicted)
	if len(pods) == 0 || len(pods) > maxMoves || c.gang.ID == e.gang.ID || e.d.bound[c.gang.ID] || !frees(request, contested) ||
		c.gang.Priority > e.gang.Priority || c.whole && !e.d.ranFor(c, e.d.preemptMinRuntime(c.gang.Queue)) {
		return none, false
	}
	return moved, false
}

// makeRoom finds the smallest damage that gives every missing pod of a gang a place, and places
// them on the room that is about to become free. It returns nil and leaves everything as it was
// when there is none.
//
// It satisfies the queues' limits first, then goes pod by pod, each on the node where it costs
// least, and in the end gives back whatever turned out not to be needed. With move, what goes must
// find another place at once: nobody loses anything but the time of a restart.
func (d *decision) makeRoom(q *demand, move bool) *eviction {
	e := &eviction{d: d, demand: q, move: move}
	mark := d.room.mark()
	if !e.underLimits() {
		return e.giveUp(mark)
	}
	for _, p := range q.pods {
		if d.room.placeOne(p, q.gang.ID, leaving) {
			continue
		}
		if !e.clearNodeFor(p) || !d.room.placeOne(p, q.gang.ID, leaving) {
			return e.giveUp(mark)
		}
	}
	if len(e.chunks) == 0 || d.tooMany(e.count()) {
		return e.giveUp(mark)
	}
	e.spare(mark)
	if e.move && !e.rehouse() {
		return e.giveUp(mark)
	}
	d.spentVictims += e.count()
	return e
}

// tooMany says whether so many more evictions would be too many for one decision.
func (d *decision) tooMany(more int) bool {
	most := d.s.Limits.MaxVictims
	return most > 0 && d.spentVictims > 0 && d.spentVictims+more > most
}

// maxMoves is how many pods may be moved to make room for one gang.
const maxMoves = 16

// rehouse finds another place for everything that is moved, and holds it for this decision.
func (e *eviction) rehouse() bool {
	if e.count() > maxMoves {
		return false
	}
	for k, pods := range e.gone {
		if !e.d.room.tryAll(pods, e.chunks[k].gang.ID, leaving) {
			return false
		}
	}
	return true
}

// count is how many pods are evicted.
func (e *eviction) count() (n int) {
	for _, pods := range e.gone {
		n += len(pods)
	}
	return n
}

// underLimits evicts until no limit of the gang's queues stands in the way.
func (e *eviction) underLimits() bool {
	for {
		b := e.d.ledger.within(e.gang, e.need)
		if b == nil {
			return true
		}
		if b.reason != plan.WaitingForQuota {
			return false // quota of work that may not be evicted: no eviction helps
		}
		a, dim := e.limited()
		var best *chunk
		var least cost
		for c := range e.d.stock().below(a, e.d.ledger) {
			e.d.room.looks++
			why, overshoot := e.mayGo(c, e.only(dim))
			if why == none {
				continue
			}
			if cost := e.d.costOf(c, overshoot); best == nil || cost.compare(least) < 0 {
				best, least = c, cost
			}
		}
		if best == nil {
			return false
		}
		e.evict(best)
	}
}

// limited is the first account and dimension whose limit stands in the way.
func (e *eviction) limited() (*account, dimension) {
	for a := e.d.ledger.accounts[e.gang.Queue]; a != nil; a = a.parent {
		with := a.used.Add(e.need)
		for d := range dimensions {
			if d.of(e.need) > 0 && d.of(with) > d.ceiling(a.queue.Limit) {
				return a, d
			}
		}
	}
	return nil, 0
}

// only is what is needed of one resource.
func (e *eviction) only(d dimension) (contested snapshot.Resources) {
	d.set(&contested, d.of(e.need))
	return contested
}

// clearNodeFor evicts what has to go from the node where making room for a pod costs least.
func (e *eviction) clearNodeFor(p *snapshot.Pod) bool {
	search, out := e.search(p), map[*slot]bool{}
	if search == nil {
		return false
	}
	for {
		best := search.best(e, p, out)
		if best == nil {
			return false
		}
		mark, chunks := e.d.room.mark(), len(e.chunks)
		for _, c := range best.chunks {
			e.evict(c)
		}
		if e.d.room.fit.Fits(p, best.slot.node, e.d.room.placed) == "" {
			return true
		}
		e.restore(mark, chunks)
		out[best.slot] = true
	}
}

// cheapest returns the chunks to evict so that one node has room for a pod, smallest damage first.
func (e *eviction) cheapest(sl *slot, p *snapshot.Pod) (set []*chunk, total cost, ok bool) {
	type offer struct {
		chunk *chunk
		cost  cost
	}
	contested := scarce(p.Request, sl)
	var few [16]offer
	offers := few[:0]
	for _, c := range e.d.stock().byNode[sl.node.Name] {
		e.d.room.looks++
		if why, overshoot := e.mayGo(c, contested); why != none {
			offers = append(offers, offer{c, e.d.costOf(c, overshoot)})
		}
	}
	if len(offers) == 0 {
		return nil, cost{}, false
	}
	slices.SortStableFunc(offers, func(x, y offer) int {
		return cmp.Or(x.cost.compare(y.cost), cmp.Compare(x.chunk.gang.ID, y.chunk.gang.ID))
	})
	mark, chunks := e.d.room.mark(), len(e.chunks)
	defer e.restore(mark, chunks)
	for _, o := range offers {
		why, overshoot := e.mayGo(o.chunk, contested)
		if why == none { // those before it brought its queue down to what it is entitled to
			continue
		}
		total = total.plus(e.d.costOf(o.chunk, overshoot))
		e.evict(o.chunk)
		set = append(set, o.chunk)
		if _, why, _ := e.d.room.stageFor(sl, p, leaving); why == "" {
			return set, total, true
		}
	}
	return nil, cost{}, false
}

// scarce is the part of a request that a node is short of; all of it where something else than
// room stands in the way.
func scarce(request snapshot.Resources, sl *slot) snapshot.Resources {
	room := sl.free.Add(sl.leaving)
	short := snapshot.Resources{}
	for d := range dimensions {
		if v := d.of(request); v > d.of(room) {
			d.set(&short, v)
		}
	}
	if short.IsZero() {
		return request
	}
	return short
}

// evict counts a chunk as gone: its room is about to be free, its queue no longer uses it.
func (e *eviction) evict(c *chunk) {
	pods, request := c.left(e.d.evicted)
	for _, p := range pods {
		e.d.evicted[p.UID] = true
		e.d.room.evict(p)
	}
	e.d.stock().lose(c.of, len(pods))
	if len(c.of.pods) > len(pods) {
		for _, p := range c.of.pods { // what evicting the rest of the gang costs has changed
			e.d.room.touch(p.Node)
		}
	}
	if !e.move {
		e.d.ledger.vacate(c.gang, request)
	}
	e.chunks, e.gone = append(e.chunks, c), append(e.gone, pods)
}

// restore takes back the room since a mark and every chunk after the first n.
func (e *eviction) restore(mark, n int) {
	e.d.room.undo(mark)
	for k := len(e.chunks) - 1; k >= n; k-- {
		e.unevict(k)
	}
	e.chunks, e.gone = e.chunks[:n], e.gone[:n]
}

// unevict gives a chunk back to its queue.
func (e *eviction) unevict(k int) {
	var request snapshot.Resources
	for _, p := range e.gone[k] {
		delete(e.d.evicted, p.UID)
		request = request.Add(p.Request)
	}
	e.d.stock().lose(e.chunks[k].of, -len(e.gone[k]))
	if !e.move {
		e.d.ledger.occupy(e.chunks[k].gang, request)
	}
}

func (e *eviction) giveUp(mark int) *eviction {
	e.restore(mark, 0)
	return nil
}

// spare gives back chunks that turned out not to be needed: with all others gone, the gang still
// finds its places and its limits still hold. The largest is tried first.
func (e *eviction) spare(mark int) {
	order := make([]int, len(e.chunks))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(len(e.gone[y]), len(e.gone[x])) })
	chunks := slices.Clone(e.chunks)
	keep := make([]bool, len(chunks))
	for k := range keep {
		keep[k] = true
	}
	try := func() bool {
		e.restore(mark, 0)
		for k, c := range chunks {
			if keep[k] {
				e.evict(c)
			}
		}
		if e.d.ledger.within(e.gang, e.need) != nil {
			return false
		}
		return e.d.room.tryAll(e.pods, e.gang.ID, leaving)
	}
	idle := make([]bool, len(chunks))
	some := false
	for k := range chunks {
		idle[k] = e.idle(k)
		some = some || idle[k]
	}
	if !some {
		return
	}
	for _, k := range order {
		if !idle[k] {
			continue
		}
		keep[k] = false
		if !try() {
			keep[k] = true
		}
	}
	try()
}

// idle says whether nothing was placed on the room that a chunk leaves.
func (e *eviction) idle(k int) bool {
	request := map[string]snapshot.Resources{}
	for _, p := range e.gone[k] {
		request[p.Node] = request[p.Node].Add(p.Request)
	}
	for node, r := range request {
		sl := e.d.room.byName[node]
		if sl != nil && sl.free.Add(sl.leaving).Sub(r).Shortfall() {
			return false
		}
	}
	return true
}

// because is why others are evicted.
func (e *eviction) because() string {
	why := fmt.Sprintf("for %s (queue %s)", plan.OwnerOf(e.gang), e.gang.Queue)
	if e.move {
		why += ", and there is other room for what goes"
	}
	return why
}

// steps are the evictions as part of a plan, one per victim gang.
func (e *eviction) steps() []plan.Step {
	var out []plan.Step
	index := map[snapshot.GangID]int{}
	for k, c := range e.chunks {
		at, ok := index[c.gang.ID]
		if !ok {
			at = len(out)
			index[c.gang.ID] = at
			out = append(out, plan.Evict{Gang: plan.OwnerOf(c.gang), Queue: c.gang.Queue,
				For: plan.OwnerOf(e.gang), Because: e.because()})
		}
		step := out[at].(plan.Evict) //nolint:forcetypeassert // written four lines above
		step.Whole = step.Whole || c.whole
		for _, p := range e.gone[k] {
			step.Pods = append(step.Pods, plan.PodRef{Namespace: p.Namespace, Name: p.Name, UID: p.UID})
		}
		out[at] = step
	}
	return out
}
