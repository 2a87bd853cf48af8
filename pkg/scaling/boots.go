package scaling

import (
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Boots measures how long the nodes of a booking took to become usable, for each group of which
// every node was watched from its launch on: the time of the slowest, which a gang waits for.
func Boots(s *snapshot.Snapshot, b *snapshot.Booking) []plan.Boot {
	var boots []plan.Boot
	for _, part := range b.Nodes {
		g := s.NodeGroup(part.Group)
		if g == nil || len(part.Instances) == 0 {
			continue
		}
		slowest, watched := time.Duration(0), true
		for _, id := range part.Instances {
			took, ok := bootOf(s, g, id)
			slowest, watched = max(slowest, took), watched && ok
		}
		if watched {
			boots = append(boots, plan.Boot{Group: g.Name, Took: slowest})
		}
	}
	return boots
}

func bootOf(s *snapshot.Snapshot, g *snapshot.NodeGroup, id string) (time.Duration, bool) {
	k := slices.IndexFunc(g.Instances, func(i snapshot.Instance) bool { return i.ID == id })
	if k < 0 || g.Instances[k].Launched.IsZero() {
		return 0, false
	}
	n := s.Node(g.Instances[k].Node)
	if n == nil || !n.UsableSince.After(g.Instances[k].Launched) {
		return 0, false
	}
	return n.UsableSince.Sub(g.Instances[k].Launched), true
}
