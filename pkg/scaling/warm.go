package scaling

import (
	"fmt"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// WarmNodes names the nodes that purchases under way will keep warm, as Coming names them, and the
// instances of those that exist. They count for the queue that they are bought for, and not again as
// room that is idle anyway.
func WarmNodes(s *snapshot.Snapshot) map[string]bool {
	names := map[string]bool{}
	for _, b := range s.Bookings {
		if !b.Warm {
			continue
		}
		for _, part := range b.Nodes {
			for _, id := range part.Instances {
				names[id] = true
			}
			for k := range part.Count {
				names[fmt.Sprintf("%s/%s/%d", b.Request, part.Group, k)] = true
			}
		}
	}
	return names
}

// Idle is a node that could be given back.
type Idle struct {
	Node  string
	GPUs  int64            // whole free devices
	Price snapshot.Dollars // per hour
}

// CheapestSet picks the idle nodes that together have at least need devices for the least money,
// then the fewest nodes; all of them where all together have too few. It says for each whether it is
// picked, and prefers earlier ones among equals.
func CheapestSet(nodes []Idle, need int64) []bool {
	type total struct {
		price snapshot.Dollars
		nodes int
		short bool // cannot be reached
	}
	less := func(a, b total) bool {
		if a.short != b.short {
			return b.short
		}
		return a.price < b.price || a.price == b.price && a.nodes < b.nodes
	}
	sum := int64(0)
	for _, n := range nodes {
		sum += n.GPUs
	}
	need = min(need, sum)
	picked := make([]bool, len(nodes))
	if need <= 0 {
		return picked
	}
	// best[k][g] is the least for g devices out of nodes[k:].
	best := make([][]total, len(nodes)+1)
	best[len(nodes)] = make([]total, need+1)
	for g := range best[len(nodes)] {
		best[len(nodes)][g].short = g > 0
	}
	with := func(k int, g int64) total {
		t := best[k+1][max(0, g-nodes[k].GPUs)]
		t.price += nodes[k].Price
		t.nodes++
		return t
	}
	for k := len(nodes) - 1; k >= 0; k-- {
		best[k] = make([]total, need+1)
		for g := int64(1); g <= need; g++ {
			best[k][g] = best[k+1][g]
			if t := with(k, g); !less(best[k+1][g], t) {
				best[k][g] = t
			}
		}
	}
	for k, g := 0, need; k < len(nodes) && g > 0; k++ {
		if !less(best[k+1][g], with(k, g)) {
			picked[k], g = true, max(0, g-nodes[k].GPUs)
		}
	}
	return picked
}
