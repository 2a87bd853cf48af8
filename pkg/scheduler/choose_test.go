package scheduler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// asks changes what the k-th pod of a gang asks for, which makes it another class.
func asks(g *snapshot.Gang, k int, class string, r snapshot.Resources) {
	g.Members[k].Class, g.Members[k].Request = class, r
}

func TestChoice(t *testing.T) {
	fourGPUs := snapshot.Resources{MilliCPU: 1000, Memory: 1 << 30, MilliGPU: 4000}
	head := snapshot.Resources{MilliCPU: 2000, Memory: 1 << 30}
	// twoKinds is a gang of one pod with one GPU and one with four.
	twoKinds := func(w *world) *snapshot.Gang {
		g := w.gang("train", "team-a", 50, 2, 2)
		asks(g, 1, "big", fourGPUs)
		return g
	}
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
	}{
		"StrandedGPUsAreCounted": {
			"a GPU costs less in the big box, but the gang would pay for three that nobody uses",
			func(w *world) {
				w.group("big", "a", 4, 2_000_000)
				w.group("small", "a", 1, 900_000)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 1, 1)
			},
			[]string{"grow small by 1 for default/train"},
		},
		"BigBoxWhenFilled": {
			"filled, the big box is the cheaper one",
			func(w *world) {
				w.group("big", "a", 4, 2_000_000)
				w.group("small", "a", 1, 900_000)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 4, 4)
			},
			[]string{"grow big by 1 for default/train"},
		},
		"FewestNodes": {
			"for the same money one machine beats four",
			func(w *world) {
				w.group("small", "a", 1, 1_000_000)
				w.group("wide", "a", 4, 4_000_000)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 4, 4)
			},
			[]string{"grow wide by 1 for default/train"},
		},
		"Name": {
			"equal in everything: the first by name, so that the same world gives the same plan",
			func(w *world) {
				w.group("one-b", "b", 1, 1_000_000)
				w.group("one-a", "a", 1, 1_000_000)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 2, 2)
			},
			[]string{"grow one-a by 2 for default/train"},
		},
		"WholeGangBeforePrice": {
			"the cheaper group has room for one of two",
			func(w *world) {
				w.group("cheap", "a", 1, 500_000).Max = 1
				w.group("dear", "b", 1, 1_000_000)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 2, 2)
			},
			[]string{"grow dear by 2 for default/train"},
		},
		"HeadBesideTheWorkers": {
			"the head needs no machine of its own where a worker's has the cores",
			func(w *world) {
				w.group("cpu", "a", 0, 100_000)
				w.group("gpu", "a", 1, 1_000_000)
				w.bounds("team-a", nil)
				g := w.gang("train", "team-a", 50, 2, 2)
				asks(g, 0, "head", head)
			},
			[]string{"grow gpu by 1 for default/train"},
		},
		"OneZone": {
			"along the ladder the first rung is in a, but the only big boxes are in b",
			func(w *world) {
				w.group("one-a", "a", 1, 1_000_000)
				w.group("one-b", "b", 1, 1_000_000)
				w.group("four-b", "b", 4, 4_000_000)
				w.bounds("team-a", nil, "one-a", "one-b", "four-b")
				twoKinds(w)
			},
			[]string{"grow four-b by 1 for default/train", "grow one-b by 1 for default/train"},
		},
		"AnyZoneByAnnotation": {
			"its owner does not mind",
			func(w *world) {
				w.group("one-a", "a", 1, 1_000_000)
				w.group("one-b", "b", 1, 1_000_000)
				w.group("four-b", "b", 4, 4_000_000)
				w.bounds("team-a", nil, "one-a", "one-b", "four-b")
				twoKinds(w).AnyZone = true
			},
			[]string{"grow four-b by 1 for default/train", "grow one-a by 1 for default/train"},
		},
		"HeadElsewhere": {
			"one zone concerns the members with GPUs",
			func(w *world) {
				w.group("cpu-a", "a", 0, 100_000)
				w.group("gpu-b", "b", 1, 1_000_000).Template.Allocatable.MilliCPU = 1500
				w.bounds("team-a", nil)
				g := w.gang("train", "team-a", 50, 2, 2)
				asks(g, 0, "head", head)
			},
			[]string{"grow cpu-a by 1 for default/train", "grow gpu-b by 1 for default/train"},
		},
		"IdleRoomElsewhere": {
			"one GPU is idle in a, where nothing can be bought: both go to b, together",
			func(w *world) {
				a := w.group("one-a", "a", 1, 1_000_000)
				w.idle(a, 1, 0)
				a.Max = 1
				w.group("one-b", "b", 1, 1_000_000)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 2, 2)
			},
			[]string{"grow one-b by 2 for default/train"},
		},
		"IdleRoomInTheZone": {
			"one of two is there already, so the zone with the idle node is the cheaper one",
			func(w *world) {
				w.group("one-a", "a", 1, 1_000_000)
				w.idle(w.group("one-b", "b", 1, 1_000_000), 1, 0)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 2, 2)
			},
			[]string{"grow one-b by 1 for default/train"},
		},
		"WhereItsMembersRun": {
			"incident gang-hole: a member was lost; its place is bought beside the others",
			func(w *world) {
				w.group("one-a", "a", 1, 500_000)
				b := w.group("one-b", "b", 1, 1_000_000)
				w.idle(b, 1, 0)
				w.bounds("team-a", nil)
				w.gang("train", "team-a", 50, 2, 2, 0)
			},
			[]string{"grow one-b by 1 for default/train"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("team-a", "", free, free)
			tc.world(w)
			if diff := cmp.Diff(tc.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestNoZoneHasItAll(t *testing.T) {
	w := newWorld(t)
	w.queue("team-a", "", free, free)
	w.group("one-a", "a", 1, 1_000_000)
	w.group("four-b", "b", 4, 4_000_000)
	w.s.NodeGroup("four-b").Template.Allocatable.MilliCPU = 1500 // so that the first pod goes to a
	w.bounds("team-a", nil)
	g := w.gang("train", "team-a", 50, 2, 2)
	asks(g, 0, "cores", snapshot.Resources{MilliCPU: 2000, Memory: 1 << 30, MilliGPU: 1000})
	asks(g, 1, "big", snapshot.Resources{MilliCPU: 1000, Memory: 1 << 30, MilliGPU: 4000})
	v := w.verdict("train")
	want := "its GPU pods stay in one zone, and node group four-b, which has room for pods of group w, is in b"
	if v.Reason != plan.NoMatchingNodeGroup || v.Message != want || !strings.Contains(v.Advice, "capmgr.io/zones: any") {
		t.Errorf("got %s: %s. %s", v.Reason, v.Message, v.Advice)
	}
}

func TestGrowthLimitIsTheVerdict(t *testing.T) {
	w := newWorld(t)
	w.queue("team-a", "", free, free)
	w.group("one-a", "a", 1, 1_000_000)
	w.bounds("team-a", nil)
	w.gang("train", "team-a", 50, 2, 2)
	most := 4
	w.s.Limits.MaxNewNodesPerHour = &most
	w.s.Grown = []snapshot.Growth{{At: noon.Add(-50 * time.Minute), Nodes: 1}, {At: noon.Add(-time.Minute), Nodes: 2}}
	v := w.verdict("train")
	want := "3 of at most 4 nodes were bought within an hour, and 2 more would be needed"
	if v.Reason != plan.BoundReached || v.Message != want || !v.ETA.Equal(noon.Add(10*time.Minute)) {
		t.Errorf("got %s: %s (%s)", v.Reason, v.Message, v.ETA)
	}
	if look := w.decide().NextLook; !look.Equal(noon.Add(10 * time.Minute)) {
		t.Errorf("the next look is at %s, and the bound is lifted by time alone at 12:10", look)
	}
}

// TestABoundThatStandsAnywayIsTheVerdict: the cloud refuses for three minutes, and the queue may not cost
// what two nodes would even then.
func TestABoundThatStandsAnywayIsTheVerdict(t *testing.T) {
	w := newWorld(t)
	w.queue("team-a", "", free, free)
	g := w.group("one-a", "a", 1, 1_000_000)
	g.BlockedUntil, g.BlockedBecause = noon.Add(3*time.Minute), "the cloud refused: insufficient capacity"
	most := snapshot.Dollars(1_500_000)
	w.bounds("team-a", func(b *snapshot.Bounds) { b.MaxHourlyCost = &most })
	w.gang("train", "team-a", 50, 2, 2)
	if v := w.verdict("train"); v.Reason != plan.BudgetExceeded {
		t.Errorf("got %s: %s", v.Reason, v.Message)
	}
	w.gang("single", "team-a", 50, 1, 1)
	if v := w.verdict("single"); v.Reason != plan.CapacityUnavailable {
		t.Errorf("one node is within the bound: got %s: %s", v.Reason, v.Message)
	}
}
