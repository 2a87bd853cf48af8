package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestNodesAreEmptiedToBeGivenBack: what may be moved leaves the dearest node that others have room for.
func TestNodesAreEmptiedToBeGivenBack(t *testing.T) {
	const train, build, dollar = 50, 100, 1_000_000
	moved := []string{"evict members of gang/default/wide (queue q) because there is room for it elsewhere, and node node-00 can be given back, for $4.00/h: wide-1"}
	cases := map[string]struct {
		reason string
		change func(*world)
		want   []string
	}{
		"AnElasticUnit": {"its gang keeps its minimum, and there is a free GPU beside it", func(*world) {}, moved},
		"TheBar":        {"the node costs less than what a move is worth", func(w *world) { w.s.Limits.ConsolidateAbove = 5 * dollar }, nil},
		"NotAsked":      {"nobody has said that money is worth it", func(w *world) { w.s.Limits.ConsolidateAbove = 0 }, nil},
		"AMinimum":      {"a minimum is not broken for money", func(w *world) { w.s.Gangs[0].Groups[0].Min = 2 }, nil},
		"NoRoom":        {"the other node is full", func(w *world) { w.gang("more", "q", train, 1, 1, 1) }, nil},
		"AnotherZone":   {"the gang would be in two", func(w *world) { w.s.Nodes[1].Zone = "b" }, nil},
		"Protected": {"a pod that Cluster Autoscaler would not move", func(w *world) {
			w.s.Gangs[0].Members[1].Protected = "it is not replicated"
		}, nil},
		"OfTheNode": {"its user wants it left alone", func(w *world) { w.s.Nodes[0].Protected = "an annotation" }, nil},
		"Lately": {"it came a moment ago: perhaps it was moved", func(w *world) {
			w.s.Gangs[0].Members[1].Started = noon.Add(-9 * time.Minute)
		}, nil},
		"TheMinimumOfTheGroup": {"the node would stay", func(w *world) { w.s.NodeGroups[1].Min = 1 }, nil},
		"SomebodyWaits":        {"for room that this may be", func(w *world) { w.gang("large", "q", train, 5, 5) }, nil},
		"SomebodyWaitsForGood": {"and has no use for it", func(w *world) {
			w.queue("r", "", 0, 0)
			w.gang("large", "r", train, 1, 1)
		}, moved},
		"NodesAreComing": {"what is bought is about to be used", func(w *world) { w.comingFor(w.gang("late", "q", train, 6, 6)) }, nil},
		"WhoIsNotToBeEvicted": {"a whole gang of one that may not be", func(w *world) {
			w.s.Gangs[0].Groups[0].Min, w.s.Gangs[0].Priority, w.s.Gangs[0].NonPreemptible = 1, build, true
		}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			w.idle(w.group("dear", "a", 4, 4*dollar), 1, time.Hour)
			w.idle(w.group("cheap", "a", 2, dollar), 1, time.Hour)
			w.s.Limits.ConsolidateAbove = 2 * dollar
			g := w.gang("wide", "q", train, 1, 2, 1, 0)
			for k := range g.Members {
				w.s.Nodes[k].IdleSince = time.Time{}
			}
			c.change(w)
			if diff := cmp.Diff(c.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// A single pod moves as well; a RayCluster's head does not.
func TestSinglePodsMove(t *testing.T) {
	const train, dollar = 50, 1_000_000
	for name, head := range map[string]bool{"Pod": false, "Head": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			w.idle(w.group("dear", "a", 4, 4*dollar), 2, time.Hour)
			w.s.Limits.ConsolidateAbove = dollar
			for k, name := range []string{"one", "two"} {
				g := w.gang(name, "q", train, 1, 1, k)
				w.s.Nodes[k].IdleSince = time.Time{}
				if head {
					g.Cluster = snapshot.Ref{UID: name}
				}
			}
			want := []string{"evict all of gang/default/one (queue q) because there is room for it elsewhere, and node node-00 can be given back, for $4.00/h: one-0"}
			if head {
				want = nil
			}
			if diff := cmp.Diff(want, w.does()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
