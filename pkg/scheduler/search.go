package scheduler

import (
	"encoding/binary"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// search remembers what making room for a kind of pod costs on every node, for as long as the queues
// stand to each other as they did. Where nothing has changed on a node since, the answer is the same,
// so that a gang's next pod looks only at the few nodes that the one before it changed.
type search struct {
	loud  map[string]bool // queues with victims that are not quiet; see standing
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

// search returns what is known of the nodes on which room for a pod could be made, or nil when no
// queue has anything to give. All that mayGo asks of the gang and the queues is part of the key.
func (e *eviction) search(p *snapshot.Pod) *search {
	v := e.d.stock()
	var loud map[string]bool
	key := make([]byte, 0, 128)
	for _, n := range []int64{p.Request.MilliGPU, p.Request.MilliCPU, p.Request.Memory, int64(e.gang.Priority)} {
		key = binary.LittleEndian.AppendUint64(key, uint64(n)) //nolint:gosec // its bits
	}
	some := e.move // queues have no say in it
	if !e.move {
		for _, q := range e.d.exposed(e.gang) {
			var st standing
			key, st = e.standing(key, q)
			if !st.quiet {
				if loud == nil {
					loud = map[string]bool{}
				}
				loud[q] = true
			}
			some = some || !st.closed
		}
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
		s = &search{loud: loud, nodes: map[*slot]*clearance{}, settled: len(loud) == 0}
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
		key = append(key, 'p')
		key = append(key, queue...)
		key = binary.LittleEndian.AppendUint64(key, uint64(e.gang.Created.UnixNano())) //nolint:gosec // its bits
		return key, standing{quiet: true}
	}
	x, y := e.d.ledger.siblings(e.gang.Queue, queue)
	if x == nil || y == nil {
		return key, standing{quiet: true, closed: true}
	}
	most := e.d.stock().heaviest
	fair, deserved := e.d.entitled(e.gang, x, e.need, snapshot.Resources{})
	laterFair, laterDeserved := e.d.entitled(e.gang, x, e.need, most)
	least := reclaimMinRuntime(y, x)
	st := standing{quiet: fair == laterFair && deserved == laterDeserved}
	key = append(key, 'r')
	key = append(key, queue...)
	key = append(key, flag(fair), flag(deserved))
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
	st.closed = (!laterFair || !above[0]) && (!laterDeserved || !above[1])
	return key, st
}

// precedes says whether anything of the gang's own queue might have to make room for it.
func (d *decision) precedes(g *snapshot.Gang) bool {
	w := d.stock().weakestOf(g.Queue)
	return w != nil && (w.Priority < g.Priority || w.Priority == g.Priority && w.Created.After(g.Created))
}

// exposed lists the queues of which something might go for a gang: its own, and those that use more than
// is theirs, or an ancestor of theirs does. All others are closed.
func (d *decision) exposed(g *snapshot.Gang) []string {
	v := d.stock()
	if v.exposedAt != d.ledger.rev {
		v.exposedAt, v.exposed = d.ledger.rev, v.exposed[:0]
		for _, q := range v.queues {
			if d.ledger.overdrawn(q) {
				v.exposed = append(v.exposed, q)
			}
		}
	}
	if own := d.precedes(g); own != slices.Contains(v.exposed, g.Queue) {
		out := slices.DeleteFunc(slices.Clone(v.exposed), func(q string) bool { return q == g.Queue })
		if own {
			out = append(out, g.Queue)
		}
		return out
	}
	return v.exposed
}

// overdrawn says whether a queue or an ancestor uses more of anything than its quota, or than it may hold
// against its siblings.
func (l *ledger) overdrawn(queue string) bool {
	for a := l.accounts[queue]; a != nil; a = a.parent {
		for d := range dimensions {
			if used := d.of(a.used); used > a.quota(d) || used > a.allocatable(d) {
				return true
			}
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
		e.d.room.looks++
		if e.d.tired() {
			return nil
		}
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
		if s.loud[victim.gang.Queue] {
			return c
		}
	}
	s.nodes[sl] = c
	return c
}
