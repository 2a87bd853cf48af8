package scheduler

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// search remembers what making room for a kind of pod costs on every node, for as long as the queues
// stand to each other as they did. Where nothing has changed on a node since, the answer is the same,
// so that a gang's next pod looks only at the few nodes that the one before it changed.
type search struct {
	quiet map[string]bool // by queue with victims; see standing
	nodes map[*slot]*clearance

	settled bool   // every queue is quiet
	none    uint64 // the rev of the room in which there was no node at all
}

// clearance is what has to go from one node for a pod, and what that destroys.
type clearance struct {
	slot   *slot
	rev    uint64 // of the slot
	chunks []*chunk
	cost   cost
	ok     bool
}

// maxSearches bounds what is remembered; forgetting changes the cost, never the answer.
const maxSearches = 64

// weigh notes which queues have victims, and how much can be evicted from one node at most.
func (v *victims) weigh() {
	if v.weighed {
		return
	}
	v.weighed = true
	v.queues = slices.Sorted(maps.Keys(v.byQueue))
	v.heaviest = snapshot.Resources{}
	for _, chunks := range v.byNode {
		var sum snapshot.Resources
		for _, c := range chunks {
			sum = sum.Add(c.request)
		}
		for d := range dimensions {
			d.set(&v.heaviest, max(d.of(v.heaviest), d.of(sum)))
		}
	}
}

// search returns what is known of the nodes on which room for a pod could be made, or nil when no
// queue has anything to give. All that mayGo asks of the gang and the queues is part of the key.
func (e *eviction) search(p *snapshot.Pod) *search {
	v := e.d.stock()
	quiet := make(map[string]bool, len(v.queues))
	key := make([]byte, 0, 128+16*len(v.queues))
	for _, n := range []int64{p.Request.MilliGPU, p.Request.MilliCPU, p.Request.Memory, int64(e.gang.Priority)} {
		key = binary.LittleEndian.AppendUint64(key, uint64(n)) //nolint:gosec // its bits
	}
	some, settled := e.move, true
	for _, q := range v.queues {
		if e.move {
			quiet[q] = true // queues have no say in it
			continue
		}
		var st standing
		key, st = e.standing(key, q)
		quiet[q] = st.quiet
		some, settled = some || !st.closed, settled && st.quiet
	}
	if !some && plainly == nil {
		return nil
	}
	if e.move {
		key = append(key, 'm')
	}
	if e.d.running(e.gang) {
		key = append(key, e.gang.ID...) // it spares its own
	}
	s := v.searches[string(key)]
	if s == nil {
		if len(v.searches) >= maxSearches {
			clear(v.searches)
		}
		s = &search{quiet: quiet, nodes: map[*slot]*clearance{}, settled: settled}
		v.searches[string(key)] = s
	}
	return s
}

// running says whether a gang has pods that could be victims.
func (d *decision) running(g *snapshot.Gang) bool {
	for _, p := range g.Members {
		if p.Node != "" {
			return true
		}
	}
	return false
}

// standing is how a queue with victims stands to a gang.
type standing struct {
	quiet  bool // evicting whatever is on one node would not change it
	closed bool // nothing of it may go, whatever else goes from the same node
}

// standing describes how a queue with victims stands to the gang, and adds it to a key.
func (e *eviction) standing(key []byte, queue string) ([]byte, standing) {
	if queue == e.gang.Queue {
		if e.d.preemptMinRuntime(queue) <= 0 && !e.precedes(queue) {
			return append(key, 'c'), standing{quiet: true, closed: true}
		}
		key = append(key, 'p')
		key = append(key, queue...)
		key = binary.LittleEndian.AppendUint64(key, uint64(e.gang.Created.UnixNano())) //nolint:gosec // its bits
		return key, standing{quiet: true}
	}
	x, y := e.d.ledger.siblings(e.gang.Queue, queue)
	if x == nil || y == nil {
		return append(key, '-'), standing{quiet: true, closed: true}
	}
	most := e.d.stock().heaviest
	fair, deserved := e.d.entitled(e.gang, x, e.need, snapshot.Resources{})
	laterFair, laterDeserved := e.d.entitled(e.gang, x, e.need, most)
	least := reclaimMinRuntime(y, x)
	st := standing{quiet: fair == laterFair && deserved == laterDeserved}
	key = append(key, 'r', flag(fair), flag(deserved))
	key = binary.LittleEndian.AppendUint64(key, uint64(least)) //nolint:gosec // its bits
	var above [2]bool
	for d := range dimensions {
		for k, threshold := range [...]int64{y.allocatable(d), y.quota(d)} {
			used := d.of(y.used)
			above[k] = above[k] || used > threshold
			switch {
			case used < threshold:
				key = append(key, '<')
			case used-d.of(most) > threshold:
				key = append(key, '>')
			default:
				key, st.quiet = append(key, '~'), false
			}
		}
	}
	st.closed = least <= 0 && (!laterFair || !above[0]) && (!laterDeserved || !above[1])
	return key, st
}

// precedes says whether anything of the gang's own queue might have to make room for it.
func (e *eviction) precedes(queue string) bool {
	for _, c := range e.d.stock().byQueue[queue] {
		if c.gang.Priority < e.gang.Priority || c.gang.Priority == e.gang.Priority && c.gang.Created.After(e.gang.Created) {
			return true
		}
	}
	return false
}

func flag(x bool) byte {
	if x {
		return '1'
	}
	return '0'
}

// best is the node where making room costs least, but for those that are out; nil: there is none.
func (s *search) best(e *eviction, p *snapshot.Pod, out map[*slot]bool) (best *clearance) {
	if s.none == e.d.room.rev && s.none > 0 && plainly == nil {
		return nil
	}
	defer func() {
		if best == nil && s.settled && len(out) == 0 && len(e.d.room.shelves[e.gang.ID]) == 0 {
			s.none = e.d.room.rev
		}
	}()
	for _, sl := range e.d.room.nodes {
		if sl == nil || sl.booked != "" && sl.booked != e.gang.ID || !p.Request.FitsIn(sl.node.Allocatable) || out[sl] {
			continue
		}
		if c := s.on(e, sl, p); c.ok && (best == nil || c.cost.compare(best.cost) < 0) {
			best = c
		}
	}
	return best
}

// on is what has to go from one node.
func (s *search) on(e *eviction, sl *slot, p *snapshot.Pod) *clearance {
	if c := s.nodes[sl]; c != nil && c.rev == sl.rev && plainly == nil {
		return c
	}
	c := &clearance{slot: sl}
	c.chunks, c.cost, c.ok = e.cheapest(sl, p)
	c.rev = sl.rev
	for _, victim := range e.d.stock().byNode[sl.node.Name] {
		if !s.quiet[victim.gang.Queue] {
			return c
		}
	}
	s.nodes[sl] = c
	return c
}
