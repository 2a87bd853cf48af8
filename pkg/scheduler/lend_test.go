package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestWhatIsLeftOverOfOthersNodes: what is coming for one gang and left over is room for the next, which buys
// nothing then, and is not bound there before the purchase is over.
func TestWhatIsLeftOverOfOthersNodes(t *testing.T) {
	const train = 50
	buys := func(w *world) {
		w.group("g5", "a", 4, 4_000_000)
		w.bounds("q", nil, "g5")
	}
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
		waits  plan.Reason // of late
	}{
		"OfWhatIsBoughtNow": {
			"three pods of their own and one more are one machine of four",
			func(w *world) {
				buys(w)
				w.gang("first", "q", train, 3, 3)
				w.gang("late", "q", train, 1, 1)
			},
			[]string{"grow g5 by 1 for default/first"}, plan.WaitingForNodes,
		},
		"NoMoreThanIsLeft": {
			"two are one too many",
			func(w *world) {
				buys(w)
				w.gang("first", "q", train, 3, 3)
				w.gang("late", "q", train, 2, 2)
			},
			[]string{"grow g5 by 1 for default/first", "grow g5 by 1 for default/late"}, plan.WaitingForNodes,
		},
		"OfWhatIsOnItsWay": {
			"it was bought a while ago",
			func(w *world) {
				buys(w)
				w.order(w.gang("first", "q", train, 3, 3), 1)
				w.gang("late", "q", train, 1, 1)
			},
			nil, plan.WaitingForNodes,
		},
		"NotBeforeItsOwnersRun": {
			"the first of two machines has come; the other gang does not start on it before the one that bought it",
			func(w *world) {
				buys(w)
				w.order(w.gang("first", "q", train, 7, 7), 2)
				w.arrive(1)
				w.gang("late", "q", train, 1, 1)
			},
			nil, plan.WaitingForNodes,
		},
		"NoCPUsBesideGPUs": {
			"work without GPUs is lent none with them, and here nothing else can be bought",
			func(w *world) {
				buys(w)
				w.gang("first", "q", train, 3, 3)
				g := w.gang("late", "q", train, 1, 1)
				g.Members[0].Request.MilliGPU, g.Groups[0].Request.MilliGPU = 0, 0
			},
			[]string{"grow g5 by 1 for default/first", "grow g5 by 1 for default/late"}, plan.WaitingForNodes,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			c.world(w)
			if diff := cmp.Diff(c.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if got := w.verdict("late").Reason; got != c.waits {
				t.Errorf("%s: late is told %s, want %s", c.reason, got, c.waits)
			}
		})
	}
}

// order books n nodes of the group g5 for a gang, which are being launched.
func (w *world) order(gang *snapshot.Gang, n int) {
	g := w.s.NodeGroups[0]
	part := snapshot.BookedNodes{Group: g.Name, Count: n}
	for k := range n {
		id := fmt.Sprintf("i-%s-%d", gang.Name, k)
		part.Instances = append(part.Instances, id)
		g.Instances = append(g.Instances, snapshot.Instance{ID: id, Zone: g.Zone, State: snapshot.InstancePending, Launched: noon.Add(-time.Minute)})
	}
	w.s.Bookings = append(w.s.Bookings, &snapshot.Booking{Gang: gang.ID, Namespace: "default", Request: "r-" + gang.Name, Attempt: 1,
		Created: noon.Add(-time.Minute), Nodes: []snapshot.BookedNodes{part}})
	gang.Attempts = 1
}

// arrive makes the first n instances of the group g5 usable nodes.
func (w *world) arrive(n int) {
	g := w.s.NodeGroups[0]
	for k := range n {
		i := &g.Instances[k]
		node := *g.Template
		node.Name, node.InstanceID, node.Usable = "node-"+i.ID, i.ID, true
		i.Node, i.State = node.Name, snapshot.InstanceRunning
		w.s.Nodes = append(w.s.Nodes, &node)
	}
}
