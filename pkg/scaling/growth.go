package scaling

import (
	"fmt"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// grown counts the nodes bought within the growth window.
func grown(s *snapshot.Snapshot) int {
	n := 0
	for _, g := range s.Grown {
		if s.Now.Sub(g.At) < snapshot.GrowthWindow {
			n += g.Nodes
		}
	}
	return n
}

// tooFast says that count more nodes would be more than an hour allows, and when the first of them
// may be bought. It bounds the damage of a loop that buys and gives back, whose cause nobody has
// thought of yet: 235 nodes in twelve hours for one pod, at karpenter-aws#1905.
func (b *Budget) tooFast(count int) *Denial {
	most := b.s.Limits.MaxNewNodesPerHour
	if most == nil || b.grown+count <= *most {
		return nil
	}
	d := &Denial{Reason: plan.BoundReached, Message: fmt.Sprintf("%d of at most %d nodes were bought within an hour, and %d more would be needed", b.grown, *most, count)}
	left := b.grown
	for _, g := range b.s.Grown {
		if b.s.Now.Sub(g.At) >= snapshot.GrowthWindow {
			continue
		}
		if left -= g.Nodes; left+count <= *most {
			d.Until = g.At.Add(snapshot.GrowthWindow)
			break
		}
	}
	return d
}
