package scheduler

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// chunk is what is evicted together: one elastic unit of a gang, or all of the gang.
type chunk struct {
	gang    *snapshot.Gang
	rank    int // among the chunks of the gang
	pods    []*snapshot.Pod
	whole   bool
	request snapshot.Resources
	started time.Time // of its youngest pod; zero when that is not known yet
	of      *chunk    // all of the gang
	lost    int       // of all of the gang: pods that the decision evicts
}

func compareChunks(a, b *chunk) int {
	return cmp.Or(cmp.Compare(a.gang.ID, b.gang.ID), cmp.Compare(a.rank, b.rank))
}

// victims is the stock of what could be evicted, made when it is first asked for and kept up to date
// from then on. See world.follow.
type victims struct {
	byNode  map[string][]*chunk // by gang, then rank
	byQueue map[string][]*chunk // the same
	all     map[snapshot.GangID]*chunk

	queues   []string                  // in which there are any, by name
	weakest  map[string]*snapshot.Gang // by queue, as far as known: the gang with the least right to stay
	heaviest snapshot.Resources        // in each dimension, at least the most that the chunks of one node ask for

	searches  map[string]*search
	exposed   []string // queues of which something might go; see there
	exposedAt uint64   // the rev of the ledger at that time

	guarded []*muster // of which disruption budgets keep pods, by ID

	struck []*chunk // whole gangs that have lost pods in this decision
}

// stock returns the victims there are.
func (d *decision) stock() *victims {
	w := d.world
	if w.victims == nil {
		w.victims = &victims{byNode: map[string][]*chunk{}, byQueue: map[string][]*chunk{},
			all: map[snapshot.GangID]*chunk{}, weakest: map[string]*snapshot.Gang{}, searches: map[string]*search{}}
		for _, m := range w.musters {
			w.victims.add(m)
		}
		for id, n := range d.struck {
			if all := w.victims.all[id]; all != nil {
				w.victims.lose(all, n)
			}
		}
	}
	return w.victims
}

// add cuts a gang into chunks; one that may not be evicted has none.
func (v *victims) add(m *muster) {
	if m.gang.NonPreemptible || len(m.running) == 0 {
		return
	}
	if m.chunks == nil {
		elastic, all := cut(m.gang)
		m.chunks = elastic
		if len(all.pods) > 0 && guardOf(all.pods) == "" {
			m.chunks = append(m.chunks, all)
		}
	}
	v.guard(m, guardOf(m.running) != "")
	for rank, c := range m.chunks {
		c.rank = rank
		for _, node := range c.nodes() {
			v.byNode[node] = inserted(v.byNode[node], c)
			v.weigh(node)
		}
		v.queue(c.gang.Queue, inserted(v.byQueue[c.gang.Queue], c))
		if c.whole {
			v.all[c.gang.ID] = c
		}
	}
}

// remove forgets the chunks of a gang.
func (v *victims) remove(m *muster) {
	v.guard(m, false)
	for _, c := range m.chunks {
		for _, node := range c.nodes() {
			if v.byNode[node] = removed(v.byNode[node], c); len(v.byNode[node]) == 0 {
				delete(v.byNode, node)
			}
		}
		v.queue(c.gang.Queue, removed(v.byQueue[c.gang.Queue], c))
	}
	delete(v.all, m.gang.ID)
}

// queue sets the chunks of a queue.
func (v *victims) queue(name string, chunks []*chunk) {
	delete(v.weakest, name)
	v.exposedAt = 0
	at, there := slices.BinarySearch(v.queues, name)
	switch {
	case len(chunks) == 0:
		delete(v.byQueue, name)
		if there {
			v.queues = slices.Delete(v.queues, at, at+1)
		}
		return
	case !there:
		v.queues = slices.Insert(v.queues, at, name)
	}
	v.byQueue[name] = chunks
}

// weigh notes how much could be evicted from a node.
func (v *victims) weigh(node string) {
	var sum snapshot.Resources
	for _, c := range v.byNode[node] {
		sum = sum.Add(c.request)
	}
	for d := range dimensions {
		d.set(&v.heaviest, max(d.of(v.heaviest), d.of(sum)))
	}
}

// weakestOf is the gang of a queue with the least right to stay: of the lowest priority, and of those the
// last that came. Nil: the queue has none.
func (v *victims) weakestOf(queue string) *snapshot.Gang {
	chunks := v.byQueue[queue]
	if len(chunks) == 0 {
		return nil
	}
	if v.weakest[queue] == nil {
		v.weakest[queue] = slices.MinFunc(chunks, func(x, y *chunk) int {
			return cmp.Or(cmp.Compare(x.gang.Priority, y.gang.Priority), y.gang.Created.Compare(x.gang.Created), compareChunks(x, y))
		}).gang
	}
	return v.weakest[queue]
}

// rest forgets what a decision evicted, and what it looked up.
func (v *victims) rest() {
	for _, all := range v.struck {
		all.lost = 0
	}
	v.struck = v.struck[:0]
	clear(v.searches)
}

// lose counts pods of a gang as evicted; a negative number gives them back.
func (v *victims) lose(all *chunk, pods int) {
	if all.lost == 0 {
		v.struck = append(v.struck, all)
	}
	all.lost += pods
}

// below lists the chunks in the queues below an account, itself included.
func (v *victims) below(a *account, l *ledger) iter.Seq[*chunk] {
	return func(yield func(*chunk) bool) {
		for _, q := range v.queues {
			if !l.isBelow(q, a) {
				continue
			}
			for _, c := range v.byQueue[q] {
				if !yield(c) {
					return
				}
			}
		}
	}
}

func inserted(list []*chunk, c *chunk) []*chunk {
	if n := len(list); n == 0 || compareChunks(list[n-1], c) < 0 {
		return append(list, c)
	}
	at, _ := slices.BinarySearchFunc(list, c, compareChunks)
	return slices.Insert(list, at, c)
}

func removed(list []*chunk, c *chunk) []*chunk {
	at, there := slices.BinarySearchFunc(list, c, compareChunks)
	if !there {
		return list
	}
	return slices.Delete(list, at, at+1)
}

// nodes are those that a chunk has pods on, each once.
func (c *chunk) nodes() []string {
	var out []string
	for _, p := range c.pods {
		if !slices.Contains(out, p.Node) {
			out = append(out, p.Node)
		}
	}
	return out
}

// guardOf says why disruption budgets do not let all of some pods go as things are, or "". A step that is
// refused in part ends a gang by half.
func guardOf(pods []*snapshot.Pod) string {
	var going map[string]int
	for _, p := range pods {
		switch {
		case p.Guarded != "":
			return p.Guarded
		case p.Budget == "":
			continue
		case going == nil:
			going = map[string]int{}
		}
		if going[p.Budget]++; going[p.Budget] > p.Allowed {
			return fmt.Sprintf("disruption budget %s allows fewer evictions than it has pods", p.Budget)
		}
	}
	return ""
}

// idle says whether a gang's head says that none of its pods works.
func idle(g *snapshot.Gang, pods []*snapshot.Pod) bool {
	return g.Heard != nil && g.Heard.Fresh && !slices.ContainsFunc(pods, func(p *snapshot.Pod) bool { return p.Ray == nil || p.Ray.IdleSince.IsZero() })
}

// cut returns a gang's elastic units, first those that idle, then the youngest, and all its running pods as
// one chunk.
func cut(g *snapshot.Gang) (elastic []*chunk, all *chunk) {
	all = &chunk{gang: g, whole: true}
	all.of = all
	for _, grp := range g.Groups {
		units := unitsOf(g, grp.Name, func(p *snapshot.Pod) bool { return p.Node != "" && !p.Terminating })
		slices.SortStableFunc(units, func(x, y []*snapshot.Pod) int {
			if idles := idle(g, x); idles != idle(g, y) {
				if idles {
					return 1
				}
				return -1
			}
			return startOf(x).Compare(startOf(y))
		})
		kept := 0
		for _, u := range units {
			all.take(u)
			if kept >= grp.Min && guardOf(u) == "" {
				c := &chunk{gang: g, of: all}
				c.take(u)
				elastic = append(elastic, c)
			}
			kept += len(u)
		}
	}
	slices.Reverse(elastic)
	return elastic, all
}

// strike counts pods of a gang as evicted for good, for no other gang's sake.
func (d *decision) strike(g *snapshot.Gang, pods []*snapshot.Pod) {
	for _, p := range pods {
		d.evicted[p.UID] = true
	}
	d.struck[g.ID] += len(pods)
	if d.world.victims == nil || d.world.victims.all[g.ID] == nil {
		return
	}
	all := d.world.victims.all[g.ID]
	d.world.victims.lose(all, len(pods))
	for _, p := range all.pods {
		d.room.touch(p.Node)
	}
}

// pin notes that a gang is bound to something now, and no victim any more.
func (d *decision) pin(w *work) {
	d.bound[w.gang.ID] = true
	for _, p := range w.running {
		d.room.touch(p.Node)
	}
}

func (c *chunk) take(pods []*snapshot.Pod) {
	for _, p := range pods {
		c.pods = append(c.pods, p)
		c.request = c.request.Add(p.Request)
		if p.Started.After(c.started) {
			c.started = p.Started
		}
	}
}

func startOf(unit []*snapshot.Pod) (at time.Time) {
	for _, p := range unit {
		if p.Started.After(at) {
			at = p.Started
		}
	}
	return at
}

// left is what of a chunk is still there: units of a gang may have been evicted before the whole.
func (c *chunk) left(evicted map[string]bool) (pods []*snapshot.Pod, request snapshot.Resources) {
	if c.of.lost == 0 {
		return c.pods, c.request
	}
	for _, p := range c.pods {
		if !evicted[p.UID] {
			pods = append(pods, p)
			request = request.Add(p.Request)
		}
	}
	return pods, request
}

// grounds are why a chunk may be evicted for a gang.
type grounds int

const (
	none      grounds = iota
	preempted         // lower priority in the same queue
	overtaken         // came later to the same queue, and runs while the older gang waits
	reclaimed         // its queue holds more than it is entitled to
	moved             // it finds another place at once
)

// overtakenAfter is how long a gang waits while later work of its queue runs, before that work makes
// room: filling in is allowed, holding up is not. Without it a stream of small work could keep a
// large gang waiting for ever.
const overtakenAfter = 10 * time.Minute

// mayEvict says on which grounds a chunk may go for a gang that needs something, and whether its
// queue would then hold less than it is entitled to. See the KAI reference, "Actions", with the
// corrections listed there: what counts is the resource that is contested, and what is left after.
func (d *decision) mayEvict(c *chunk, q *demand, contested snapshot.Resources) (why grounds, overshoot bool) {
	g := q.gang
	pods, request := c.left(d.evicted)
	if len(pods) == 0 || c.gang.ID == g.ID || d.bound[c.gang.ID] || !frees(request, contested) {
		return none, false
	}
	if c.gang.Queue == g.Queue {
		switch {
		case c.gang.Priority < g.Priority:
			why = preempted
		case !q.elastic && c.gang.Priority == g.Priority && c.gang.Created.After(g.Created) && (d.due(q.muster) || d.waited(g, overtakenAfter)):
			why = overtaken
		}
		if why != none && c.whole && !d.ranFor(c, d.preemptMinRuntime(c.gang.Queue)) {
			return none, false
		}
		return why, false
	}
	x, y := d.ledger.siblings(g.Queue, c.gang.Queue)
	if x == nil || y == nil {
		return none, false
	}
	fair, deserved := d.entitled(g, x, q.need, snapshot.Resources{})
	threshold := y.allocatable
	switch {
	case fair && over(y.used, contested, y.allocatable):
	case deserved && over(y.used, contested, y.quota):
		threshold = y.quota
	default:
		return none, false
	}
	if c.whole && !d.ranFor(c, reclaimMinRuntime(y, x)) {
		return none, false
	}
	return reclaimed, under(y.used.Sub(request), contested, threshold)
}

// waited says whether a gang is at least that old.
func (d *decision) waited(g *snapshot.Gang, least time.Duration) bool {
	d.look(g.Created.Add(least))
	return d.s.Now.Sub(g.Created) >= least
}

// quota reads one dimension of a queue's quota.
func (a *account) quota(d dimension) int64 { return d.ceiling(a.queue.Quota) }

// under says whether a queue uses less than a threshold of a resource that is contested.
func under(used, contested snapshot.Resources, threshold func(dimension) int64) bool {
	for d := range dimensions {
		if d.of(contested) > 0 && d.of(used) < threshold(d) {
			return true
		}
	}
	return false
}

// frees says whether evicting request gives room in what is contested.
func frees(request, contested snapshot.Resources) bool {
	if contested.MilliGPU > 0 {
		return request.MilliGPU > 0
	}
	return contested.MilliCPU > 0 && request.MilliCPU > 0 || contested.Memory > 0 && request.Memory > 0
}

// entitled says whether a gang's queues, up to the level at which they meet the victim's, would
// stay within their fair share (fair) or even their quota (deserved) with what it needs.
// Less is taken as given back by all of them before.
func (d *decision) entitled(g *snapshot.Gang, top *account, need, less snapshot.Resources) (fair, deserved bool) {
	fair, deserved = true, true
	for a := d.ledger.accounts[g.Queue]; a != nil; a = a.parent {
		with := a.used.Add(need).Sub(less)
		fair = fair && !over(with, need, a.allocatable)
		deserved = deserved && !over(with, need, a.quota)
		if a == top {
			break
		}
	}
	return fair, deserved
}

// ranFor says whether a chunk has had its minimum runtime. A pod whose start is not known yet has
// just been bound.
func (d *decision) ranFor(c *chunk, least time.Duration) bool {
	if least <= 0 {
		return true
	}
	since := c.started
	if since.IsZero() {
		return false
	}
	d.look(since.Add(least))
	return d.s.Now.Sub(since) >= least
}

// preemptMinRuntime is the first value set from a queue upwards.
func (d *decision) preemptMinRuntime(queue string) time.Duration {
	for a := d.ledger.accounts[queue]; a != nil; a = a.parent {
		if t := a.queue.PreemptMinRuntime; t != nil {
			return *t
		}
	}
	return 0
}

// reclaimMinRuntime is the first value set from the level y, at which victim and beneficiary meet,
// upwards; between different top queues that level's only.
func reclaimMinRuntime(y, x *account) time.Duration {
	for a := y; a != nil; a = a.parent {
		if t := a.queue.ReclaimMinRuntime; t != nil {
			return *t
		}
		if x.parent == nil {
			break
		}
	}
	return 0
}

// cost orders sets of chunks by what evicting them destroys.
type cost struct {
	overshoot int   // chunks that leave their queue with less than it is entitled to
	whole     int   // gangs that end
	busy      int   // chunks that are not known to idle
	milliGPU  int64 // evicted in all
	milliCPU  int64
	priority  int64 // the sum over chunks of queue and gang priority
	youngest  int64 // negative start of the youngest, in seconds: who started last loses least
}

func (c cost) compare(o cost) int {
	return cmp.Or(cmp.Compare(c.overshoot, o.overshoot), cmp.Compare(c.whole, o.whole), cmp.Compare(c.busy, o.busy), cmp.Compare(c.milliGPU, o.milliGPU),
		cmp.Compare(c.milliCPU, o.milliCPU), cmp.Compare(c.priority, o.priority), cmp.Compare(c.youngest, o.youngest))
}

func (d *decision) costOf(c *chunk, overshoot bool) cost {
	pods, request := c.left(d.evicted)
	out := cost{milliGPU: request.MilliGPU, milliCPU: request.MilliCPU, priority: int64(c.gang.Priority)}
	if overshoot {
		out.overshoot = 1
	}
	if c.whole {
		out.whole = 1
	}
	if !idle(c.gang, pods) {
		out.busy = 1
	}
	if a := d.ledger.accounts[c.gang.Queue]; a != nil {
		out.priority += int64(a.queue.Priority) * 1000
	}
	at := c.started
	if len(pods) < len(c.pods) {
		at = startOf(pods)
	}
	if !at.IsZero() {
		out.youngest = -at.Unix()
	} else {
		out.youngest = math.MinInt64
	}
	return out
}

func (c cost) plus(o cost) cost {
	return cost{c.overshoot + o.overshoot, c.whole + o.whole, c.busy + o.busy, c.milliGPU + o.milliGPU, c.milliCPU + o.milliCPU,
		c.priority + o.priority, min(c.youngest, o.youngest)}
}
