package scheduler_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestElasticUnitsHaveTheRightsOfTheirGang(t *testing.T) {
	const train, inference, xlarge = 50, 125, 1_006_000
	one := int64(1)
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
		told   string // of gang g
	}{
		"Buy": {
			"three workers beyond the minimum are one purchase",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(1, 1)
				w.group("g5", "a", 1, xlarge)
				w.bounds("q", nil)
				w.gang("g", "q", train, 1, 4, 0)
			},
			[]string{"grow g5 by 3 for default/g"},
			"1 of 4 pods are bound; the next waits: WaitingForNodes: no room is free; 1 pod waits",
		},
		"BuyWithinBounds": {
			"the queue may have two, and has one",
			func(w *world) {
				w.queue("q", "", free, free)
				g := w.group("g5", "a", 1, xlarge)
				w.idle(g, 1, time.Minute)
				most := int64(2)
				w.bounds("q", func(b *snapshot.Bounds) { b.MaxGPUs = &most })
				w.gang("g", "q", train, 1, 4, 0)
			},
			[]string{"grow g5 by 1 for default/g"},
			"1 of 4 pods are bound; the next waits: WaitingForNodes: no room is free; 1 pod waits",
		},
		"BuyOnce": {
			"one is on its way for it: nothing more is bought before it came",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(1, 1)
				g := w.group("g5", "a", 1, xlarge)
				w.bounds("q", nil)
				gang := w.gang("g", "q", train, 1, 3, 0)
				g.Instances = []snapshot.Instance{{ID: "i-1", State: snapshot.InstancePending, Launched: noon.Add(-time.Minute)}}
				w.s.Bookings = []*snapshot.Booking{{Gang: gang.ID, Namespace: "default", Request: "g-1", Attempt: 1, Created: noon.Add(-time.Minute),
					Queue: "q", Nodes: []snapshot.BookedNodes{{Group: "g5", Count: 1, Instances: []string{"i-1"}}}}}
				gang.Attempts = 1
			},
			nil,
			"1 of 3 pods are bound; the next waits: WaitingForNodes: its node is not usable yet; 1 pod waits",
		},
		"BindToWhatWasBought": {
			"the node came, and is its own before anyone else's",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(1, 1)
				g := w.group("g5", "a", 1, xlarge)
				w.bounds("q", nil)
				gang := w.gang("g", "q", train, 1, 2, 0)
				w.gang("first", "q", 75, 1, 1)
				w.idle(g, 1, time.Minute)
				w.s.Bookings = []*snapshot.Booking{{Gang: gang.ID, Namespace: "default", Request: "g-1", Attempt: 1, Created: noon.Add(-5 * time.Minute),
					Queue: "q", Nodes: []snapshot.BookedNodes{{Group: "g5", Count: 1, Instances: []string{"i-node-01"}}}}}
			},
			[]string{
				"settle default/g-1: Ready, NodesUsable: its node is usable",
				"grow g5 by 1 for default/first",
				"bind gang/default/g: g-1 to node-01",
			},
			"its 2 pods are bound",
		},
		"Reclaim": {
			"a queue within its quota gets back, for its next worker, what another borrowed",
			func(w *world) {
				w.queue("a", "", 2, free)
				w.queue("b", "", 2, free)
				w.nodes(4, 1)
				w.gang("g", "a", train, 1, 3, 0)
				w.gang("wide", "b", train, 1, 3, 1, 2, 3)
			},
			[]string{"evict members of gang/default/wide (queue b) for gang/default/g (queue a): wide-2"},
			"1 of 3 pods are bound; the next waits: WaitingForPreemption: 1 pod of gang/default/wide is being evicted for it; 1 pod waits",
		},
		"Preempt": {
			"another replica of a service takes the GPU of a training gang",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(2, 1)
				w.gang("g", "q", inference, 1, 2, 0)
				w.gang("train", "q", train, 1, 1, 1)
			},
			[]string{"evict all of gang/default/train (queue q) for gang/default/g (queue q): train-0"},
			"1 of 2 pods are bound; the next waits: WaitingForPreemption: 1 pod of gang/default/train is being evicted for it; 1 pod waits",
		},
		"NotOverOnesShare": {
			"both queues have their share: growth takes nothing from the other",
			func(w *world) {
				w.queue("a", "", 2, free)
				w.queue("b", "", 2, free)
				w.nodes(4, 1)
				w.gang("g", "a", train, 1, 3, 0, 1)
				w.gang("wide", "b", train, 1, 3, 2, 3)
			},
			nil,
			"2 of 3 pods are bound; the next waits: NoNodeFits: no node has a GPU free, and no node group is configured",
		},
		"NobodyLeavesForGrowthThatWaits": {
			"age is a right of gangs, not of workers beyond the minimum",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(2, 1)
				w.gang("g", "q", train, 1, 2, 0).Created = noon.Add(-time.Hour)
				w.gang("late", "q", train, 1, 1, 1).Created = noon.Add(-time.Minute)
			},
			nil,
			"1 of 2 pods are bound; the next waits: NoNodeFits: no node has a GPU free, and no node group is configured",
		},
		"AtTheBound": {
			"its bound is its verdict",
			func(w *world) {
				w.queue("q", "", free, free)
				g := w.group("g5", "a", 1, xlarge)
				w.idle(g, 1, time.Minute)
				w.bounds("q", func(b *snapshot.Bounds) { b.MaxGPUs = &one })
				w.gang("g", "q", train, 1, 2, 0)
			},
			nil,
			"1 of 2 pods are bound; the next waits: BoundReached: queue q has 1 of at most 1 GPU bought, and 1 more would be needed",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.world(w)
			if diff := cmp.Diff(c.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if v := w.verdict("g"); v.Reason != plan.Running || v.Message != c.told {
				t.Errorf("%s: told %s: %s\nwant %s", c.reason, v.Reason, v.Message, c.told)
			}
		})
	}
}

// TestQuotaThatAnEvictionFreesBuysNothing: serve needs one GPU, and the gang of three that leaves for it
// frees two more of the queue's limit. They are not free before it has left: bought on them, nodes would be
// bought for work that only an eviction lets run.
func TestQuotaThatAnEvictionFreesBuysNothing(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", 3, 3)
	w.nodes(3, 1)
	w.group("g5", "a", 1, 1_006_000)
	w.bounds("q", nil)
	w.gang("train", "q", 50, 3, 3, 0, 1, 2)
	w.gang("serve", "q", 125, 1, 1)
	other := w.gang("other", "q", 50, 1, 1)
	other.Members[0].Class = "picky" // no node that is there will do
	want := []string{"evict all of gang/default/train (queue q) for gang/default/serve (queue q): train-0, train-1, train-2"}
	if diff := cmp.Diff(want, stepsWith(w, refuses{"picky", "n"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, n := range w.s.Nodes {
		for _, p := range n.Pods {
			p.Terminating = true
		}
	}
	want = []string{"book 1 x g5 ($1.006/h) for gang/default/other"}
	if diff := cmp.Diff(want, stepsWith(w, refuses{"picky", "n"})[:1]); diff != "" {
		t.Errorf("once it is leaving, its quota is free (-want +got):\n%s", diff)
	}
}

func TestAGangKeepsTogetherInOneZone(t *testing.T) {
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
	}{
		"TheFullestThatHasRoom": {
			"both zones have room for it: the larger stays whole for those that need it",
			func(w *world) {
				w.zone("a", 4, 1)
				w.zone("b", 2, 1)
				w.gang("g", "q", 50, 2, 2)
			},
			[]string{"bind gang/default/g: g-0 to node-04, g-1 to node-05"},
		},
		"WhereItIs": {
			"its next worker goes to where it runs, though the other zone is fuller",
			func(w *world) {
				w.zone("a", 4, 1)
				w.zone("b", 1, 1)
				w.gang("g", "q", 50, 1, 2, 0)
			},
			[]string{"bind gang/default/g: g-1 to node-01"},
		},
		"ApartRatherThanNot": {
			"no zone has room for all of it, and it only prefers one",
			func(w *world) {
				w.zone("a", 1, 1)
				w.zone("b", 1, 1)
				w.gang("g", "q", 50, 2, 2)
			},
			[]string{"bind gang/default/g: g-0 to node-00, g-1 to node-01"},
		},
		"Anywhere": {
			"it does not mind, so the fullest node is best",
			func(w *world) {
				w.zone("a", 1, 1)
				w.zone("b", 2, 2)
				w.gang("g", "q", 50, 3, 3).AnyZone = true
			},
			[]string{"bind gang/default/g: g-0 to node-00, g-1 to node-01, g-2 to node-01"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			c.world(w)
			if diff := cmp.Diff(c.want, w.steps()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// zone adds nodes in a zone.
func (w *world) zone(name string, n int, gpus int64) {
	from := len(w.s.Nodes)
	w.nodes(n, gpus)
	for _, node := range w.s.Nodes[from:] {
		node.Zone, node.Class = name, "in-"+name
	}
}

// refuses is a Fitter for which one class of pods does not go on one class of nodes.
type refuses struct{ pod, node string }

func (r refuses) Fits(p *snapshot.Pod, n *snapshot.Node, _ []snapshot.Placed) string {
	if p.Class == r.pod && n.Class == r.node {
		return fmt.Sprintf("class %s does not go on class %s", r.pod, r.node)
	}
	return ""
}
