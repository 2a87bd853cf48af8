package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestWarmCapacity(t *testing.T) {
	const xlarge, dozen, sixteen = 1_006_000, 5_672_000, 4_096_000
	warm := func(n int64) func(*snapshot.Bounds) {
		return func(b *snapshot.Bounds) { b.MinGPUs = n }
	}
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
	}{
		"QueueMinimum": {
			"nobody asks for them, and the queue keeps two",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.group("g5-xlarge-a", "a", 1, xlarge)
				w.bounds("team-a", warm(2), "g5-xlarge-a")
			},
			[]string{"grow g5-xlarge-a by 2 for capmgr-system/warm-team-a"},
		},
		"AlongTheLadder": {
			"the first rung is refused by the cloud; the next has four GPUs a node, so one node is enough",
			func(w *world) {
				w.queue("team-a", "", free, free)
				g := w.group("g5-xlarge-a", "a", 1, xlarge)
				g.BlockedUntil, g.BlockedBecause = noon.Add(time.Minute), "the cloud refused: insufficient capacity"
				w.group("g5-12xlarge-a", "a", 4, dozen)
				w.bounds("team-a", warm(2), "g5-xlarge-a", "g5-12xlarge-a")
			},
			[]string{"grow g5-12xlarge-a by 1 for capmgr-system/warm-team-a"},
		},
		"WithinAllOtherBounds": {
			"one more may be bought this hour",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.group("g5-xlarge-a", "a", 1, xlarge)
				w.bounds("team-a", warm(3), "g5-xlarge-a")
				one := 1
				w.s.Limits.MaxNewNodesPerHour = &one
			},
			[]string{"grow g5-xlarge-a by 1 for capmgr-system/warm-team-a"},
		},
		"OnTheirWay": {
			"bought already; a second order would be one too many",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.group("g5-xlarge-a", "a", 1, xlarge)
				w.bounds("team-a", warm(2), "g5-xlarge-a")
				w.s.Bookings = []*snapshot.Booking{{Gang: "capmgr-system/Queue/team-a/u", Namespace: "capmgr-system", Request: "warm-team-a-1", Created: noon.Add(-time.Minute),
					Queue: "team-a", Warm: true, Nodes: []snapshot.BookedNodes{{Group: "g5-xlarge-a", Count: 2}}}}
			},
			nil,
		},
		"Arrived": {
			"the purchase is over; the nodes are idle ones that stay",
			func(w *world) {
				w.queue("team-a", "", free, free)
				g := w.group("g5-xlarge-a", "a", 1, xlarge)
				w.idle(g, 2, time.Second)
				w.bounds("team-a", warm(2), "g5-xlarge-a")
				w.s.Bookings = []*snapshot.Booking{{Gang: "capmgr-system/Queue/team-a/u", Namespace: "capmgr-system", Request: "warm-team-a-1", Created: noon.Add(-time.Minute),
					Queue: "team-a", Warm: true, Nodes: []snapshot.BookedNodes{{Group: "g5-xlarge-a", Count: 2, Instances: []string{"i-node-00", "i-node-01"}}}}}
			},
			[]string{
				"settle capmgr-system/warm-team-a-1: Ready, NodesUsable: 2 of 2 nodes are usable",
				"settle capmgr-system/warm-team-a-1: Released, NodesUsable: 2 of 2 nodes are usable, and anyone's to use",
			},
		},
		"KeptThoughIdle": {
			"three are idle for an hour; two stay",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.idle(w.group("g5-xlarge-a", "a", 1, xlarge), 3, time.Hour)
				w.bounds("team-a", warm(2), "g5-xlarge-a")
			},
			[]string{"terminate i-node-02 (node-02) of g5-xlarge-a: idle for 5m0s"},
		},
		"CheapestSufficientSetStays": {
			"per GPU the 12xlarge is the cheapest, but for one GPU the 16xlarge costs less",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.idle(w.group("g5-12xlarge-a", "a", 4, dozen), 1, time.Hour)
				w.idle(w.group("g5-16xlarge-a", "a", 1, sixteen), 1, time.Hour)
				w.bounds("team-a", warm(1))
			},
			[]string{"terminate i-node-00 (node-00) of g5-12xlarge-a: idle for 5m0s"},
		},
		"UsedByTheQueue": {
			"its own work holds what it keeps: nothing more is bought",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.idle(w.group("g5-xlarge-a", "a", 1, xlarge), 2, 0)
				w.gang("train", "team-a", 50, 2, 2, 0, 1)
				w.bounds("team-a", warm(2), "g5-xlarge-a")
			},
			nil,
		},
		"UsedByTheQueueFromNowOn": {
			"a gang that takes the warm nodes in this decision leaves the queue with as much as before",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.idle(w.group("g5-xlarge-a", "a", 1, xlarge), 2, time.Hour)
				w.gang("train", "team-a", 50, 2, 2)
				w.bounds("team-a", warm(2), "g5-xlarge-a")
			},
			[]string{"bind gang/default/train: train-0 to node-00, train-1 to node-01"},
		},
		"ParentAndChild": {
			"what the child keeps counts for its parent",
			func(w *world) {
				w.queue("org", "", free, free)
				w.queue("team-a", "org", free, free)
				w.group("g5-xlarge-a", "a", 1, xlarge)
				w.bounds("org", warm(3), "g5-xlarge-a")
				w.bounds("team-a", warm(2), "g5-xlarge-a")
			},
			[]string{"grow g5-xlarge-a by 2 for capmgr-system/warm-team-a", "grow g5-xlarge-a by 1 for capmgr-system/warm-org"},
		},
		"NotByAnotherAutoscaler": {
			"it makes nodes for pods only, and removes idle ones: the rest is bought at the cloud",
			func(w *world) {
				w.queue("team-a", "", free, free)
				g := w.group("asked", "a", 1, xlarge/2)
				g.Delegated = true
				w.idle(g, 1, time.Hour)
				w.group("g5-xlarge-a", "a", 1, xlarge)
				w.bounds("team-a", warm(1), "asked", "g5-xlarge-a")
			},
			[]string{"grow g5-xlarge-a by 1 for capmgr-system/warm-team-a"},
		},
		"GroupMinimum": {
			"the configured minimum is above what the group has",
			func(w *world) {
				g := w.group("g5-xlarge-a", "a", 1, xlarge)
				g.Min = 3
				w.idle(g, 1, time.Hour)
			},
			[]string{"grow g5-xlarge-a by 2 for capmgr-system/warm-g5-xlarge-a"},
		},
		"DemandComesFirst": {
			"the last node that the group may have goes to the gang that waits",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.queue("team-b", "", free, free)
				w.group("g5-xlarge-a", "a", 1, xlarge).Max = 1
				w.bounds("team-a", warm(1), "g5-xlarge-a")
				w.bounds("team-b", nil, "g5-xlarge-a")
				w.gang("train", "team-b", 50, 1, 1)
			},
			[]string{"grow g5-xlarge-a by 1 for default/train"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.s.Home = "capmgr-system"
			tc.world(w)
			if diff := cmp.Diff(tc.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
