package scaling_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestBudgetSaysWhichBoundStandsInTheWay(t *testing.T) {
	unbounded := map[string]snapshot.Bounds{"a": {}}
	cases := map[string]struct {
		reason string
		world  func(world) *snapshot.NodeGroup
		queue  string
		count  int
		want   *scaling.Denial
	}{
		"Allowed": {"nothing stands in the way", func(w world) *snapshot.NodeGroup {
			w.Bounds = unbounded
			return w.group("g5", 0, 4)
		}, "a", 4, nil},
		"GroupMaximum": {"the group counts what runs, boots and is promised, and not what is on its way out", func(w world) *snapshot.NodeGroup {
			w.Bounds = unbounded
			g := w.group("g5", 0, 4)
			w.node(g)
			w.instance(g, boot)
			w.instance(g, boot).State = snapshot.InstanceTerminating
			w.booking("x", g, 0, 1)
			return g
		}, "a", 2, &scaling.Denial{Reason: plan.BoundReached, Message: "node group g5 has 3 of at most 4 nodes, and 2 more would be needed"}},
		"JustLaunched": {"an instance that the cloud does not list yet counts", func(w world) *snapshot.NodeGroup {
			w.Bounds = unbounded
			g := w.group("g5", 0, 2)
			w.booking("x", g, 0, 2, "i-new-1", "i-new-2")
			return g
		}, "a", 1, &scaling.Denial{Reason: plan.BoundReached, Message: "node group g5 has 2 of at most 2 nodes, and 1 more would be needed"}},
		"ClusterNodes": {"all groups together", func(w world) *snapshot.NodeGroup {
			w.Bounds, w.Limits.MaxNodes = unbounded, 2
			w.node(w.group("other", 0, 4))
			return w.group("g5", 0, 4)
		}, "a", 2, &scaling.Denial{Reason: plan.BoundReached, Message: "the cluster has 1 of at most 2 bought nodes, and 2 more would be needed"}},
		"ClusterCost": {"dollars of all groups", func(w world) *snapshot.NodeGroup {
			w.Bounds, w.Limits.MaxHourlyCost = unbounded, 2_000_000
			g := w.group("g5", 0, 4)
			w.node(g)
			return g
		}, "a", 1, &scaling.Denial{Reason: plan.BudgetExceeded, Message: "the cluster costs $1.006/h, and 1 more of g5 at $1.006/h each would exceed its $2.00/h"}},
		"QueueGPUs": {"what its work uses counts", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(2)}
			g := w.group("g5", 0, 4)
			w.gang("x", "a", w.node(g))
			return g
		}, "a", 2, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has 1 of at most 2 GPUs bought, and 2 more would be needed"}},
		"OnAnothersWarmNodes": {"who runs on a node that is being kept warm for another queue uses it all the same", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"], w.Bounds["b"] = snapshot.Bounds{MaxGPUs: int64p(1)}, snapshot.Bounds{}
			g := w.group("g5", 0, 4)
			n := w.node(g)
			w.gang("x", "a", n)
			b := w.booking("warm", g, 0, 2, n.InstanceID)
			b.Warm, b.Queue = true, "b"
			return g
		}, "a", 1, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has 1 of at most 1 GPU bought, and 1 more would be needed"}},
		"OnItsOwnWarmNodes": {"and for its own, not twice", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(2)}
			g := w.group("g5", 0, 4)
			n := w.node(g)
			w.gang("x", "a", n)
			b := w.booking("warm", g, 0, 1, n.InstanceID)
			b.Warm, b.Queue = true, "a"
			return g
		}, "a", 1, nil},
		"QueueGPUsNone": {"maxGPUs 0 buys nothing", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(0)}
			return w.group("g5", 0, 4)
		}, "a", 1, &scaling.Denial{Reason: plan.BoundReached, Message: "no GPUs may be bought for queue a"}},
		"AncestorsGPUs": {"what its other children use counts in a parent", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(1)}
			g := w.group("g5", 0, 4)
			w.gang("x", "a/other", w.node(g))
			return g
		}, "a/b", 1, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has 1 of at most 1 GPU bought, and 1 more would be needed"}},
		"BookedInFull": {"booked nodes count before anything runs on them", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(2)}
			g := w.group("g5", 0, 4)
			w.gang("x", "a")
			w.booking("x", g, 0, 2)
			return g
		}, "a", 1, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has 2 of at most 2 GPUs bought, and 1 more would be needed"}},
		"BookedOnce": {"booked and used is not counted twice (autoscaler#9805)", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(2)}
			g := w.group("g5", 0, 4)
			n := w.node(g)
			w.gang("x", "a", n)
			w.booking("x", g, 0, 1, n.InstanceID)
			return g
		}, "a", 1, nil},
		"ForeignNodesAreFree": {"what runs on nodes that nobody bought is not charged", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(1)}
			g := w.group("g5", 0, 4)
			n := &snapshot.Node{Name: "own", Usable: true, Allocatable: oneGPU, MaxPods: 10}
			w.Nodes = append(w.Nodes, n)
			w.gang("x", "a", n)
			return g
		}, "a", 1, nil},
		"QueueNodes": {"nodes of one group", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxNodes: map[string]int{"g5": 1}}
			return w.group("g5", 0, 4)
		}, "a", 2, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has 0 of at most 1 node of g5, and 2 more would be needed"}},
		"QueueCost": {"dollars of the queue", func(w world) *snapshot.NodeGroup {
			w.Bounds["a"] = snapshot.Bounds{MaxHourlyCost: dollars(1_500_000)}
			return w.group("g5", 0, 4)
		}, "a", 2, &scaling.Denial{Reason: plan.BudgetExceeded, Message: "queue a costs $0.00/h, and 2 more of g5 at $1.006/h each would exceed its $1.50/h"}},
		"NoBounds": {"nobody said how much may be bought: nothing", func(w world) *snapshot.NodeGroup {
			return w.group("g5", 0, 4)
		}, "a", 1, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has no scaling bounds, so nothing is bought for it"}},
		"Defaults": {"the defaults hold for queues without bounds", func(w world) *snapshot.NodeGroup {
			w.DefaultBounds = &snapshot.Bounds{MaxGPUs: int64p(1)}
			return w.group("g5", 0, 4)
		}, "a", 2, &scaling.Denial{Reason: plan.BoundReached, Message: "queue a has 0 of at most 1 GPU bought, and 2 more would be needed"}},
		"DefaultsDoNotAdd": {"they do not hold beside an ancestor's", func(w world) *snapshot.NodeGroup {
			w.DefaultBounds = &snapshot.Bounds{MaxGPUs: int64p(0)}
			w.Bounds["a"] = snapshot.Bounds{MaxGPUs: int64p(4)}
			return w.group("g5", 0, 4)
		}, "a/b", 1, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			g := c.world(w)
			b := budget(w.Snapshot)
			if diff := cmp.Diff(c.want, b.Buy(chain(c.queue), g, c.count)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestBoundsOfAreTheNearest(t *testing.T) {
	w := newWorld()
	w.Bounds["a"] = snapshot.Bounds{Ladder: []string{"of-a"}}
	w.Bounds["a/b/c"] = snapshot.Bounds{Ladder: []string{"of-c"}}
	if got := scaling.BoundsOf(w.Snapshot, chain("x")); got != nil {
		t.Errorf("there are none: got %v", got)
	}
	w.DefaultBounds = &snapshot.Bounds{Ladder: []string{"default"}}
	for queue, want := range map[string]string{"a": "of-a", "a/b": "of-a", "a/b/c": "of-c", "a/b/c/d": "of-c", "x": "default"} {
		if got := scaling.BoundsOf(w.Snapshot, chain(queue)).Ladder; len(got) != 1 || got[0] != want {
			t.Errorf("queue %s: got the ladder %v, want that of %s", queue, got, want)
		}
	}
}

// TestReturnUndoesBuy: whatever was tried and taken back, the budget answers as if it had not been.
// And what it allows never exceeds a bound.
func TestReturnUndoesBuy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		queues := []string{"a", "a/b", "a/c", "d"}
		groups := []*snapshot.NodeGroup{w.group("g", 0, rapid.IntRange(0, 6).Draw(t, "max g")), w.group("h", 0, rapid.IntRange(0, 6).Draw(t, "max h"))}
		w.Limits.MaxNodes = rapid.IntRange(0, 8).Draw(t, "max nodes")
		for _, q := range queues {
			if rapid.Bool().Draw(t, "bounded "+q) {
				w.Bounds[q] = snapshot.Bounds{MaxGPUs: int64p(rapid.Int64Range(0, 6).Draw(t, "gpus "+q))}
			}
		}
		w.DefaultBounds = &snapshot.Bounds{MaxHourlyCost: dollars(snapshot.Dollars(rapid.Int64Range(0, 6_000_000).Draw(t, "cost")))}
		kept, tried := budget(w.Snapshot), budget(w.Snapshot)
		nodes, total := map[string]int{}, 0
		gpus := map[string]int64{}
		for range rapid.IntRange(0, 20).Draw(t, "purchases") {
			q, g, n := rapid.SampledFrom(queues).Draw(t, "queue"), rapid.SampledFrom(groups).Draw(t, "group"), rapid.IntRange(1, 3).Draw(t, "count")
			denied := tried.Buy(chain(q), g, n)
			if denied == nil && rapid.Bool().Draw(t, "undo") {
				tried.Return(chain(q), g, n)
				continue
			}
			if diff := cmp.Diff(kept.Buy(chain(q), g, n), denied); diff != "" {
				t.Fatalf("a purchase that was taken back is remembered (-never tried +tried):\n%s", diff)
			}
			if denied != nil {
				continue
			}
			nodes[g.Name] += n
			total += n
			for _, name := range chain(q) {
				gpus[name] += int64(n)
			}
			if nodes[g.Name] > g.Max || w.Limits.MaxNodes > 0 && total > w.Limits.MaxNodes {
				t.Fatalf("%d nodes of %s, %d in all: above a bound", nodes[g.Name], g.Name, total)
			}
			for _, name := range chain(q) {
				if m := w.Bounds[name].MaxGPUs; m != nil && gpus[name] > *m {
					t.Fatalf("queue %s has %d GPUs bought, above its bound of %d", name, gpus[name], *m)
				}
			}
		}
	})
}
