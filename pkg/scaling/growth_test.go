package scaling_test

import (
	"testing"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ago is a time before noon.
func ago(d time.Duration) time.Time { return noon.Add(-d) }

func TestGrowthPerHour(t *testing.T) {
	cases := map[string]struct {
		reason  string
		most    int
		bought  []snapshot.Growth
		already int // taken by this decision
		want    string
		until   time.Time
	}{
		"Room": {
			"three more may come", 10, []snapshot.Growth{{At: ago(time.Minute), Nodes: 7}}, 2, "", time.Time{},
		},
		"UsedUp": {
			"the next may be bought when the oldest purchase leaves the hour",
			10, []snapshot.Growth{{At: ago(50 * time.Minute), Nodes: 4}, {At: ago(time.Minute), Nodes: 6}}, 0,
			"10 of at most 10 nodes were bought within an hour, and 1 more would be needed", noon.Add(10 * time.Minute),
		},
		"UsedUpByThisDecision": {
			"what this decision buys counts, and its own hour has not begun to run out",
			2, nil, 2, "2 of at most 2 nodes were bought within an hour, and 1 more would be needed", time.Time{},
		},
		"OlderThanAnHour": {
			"it counts no more", 2, []snapshot.Growth{{At: ago(time.Hour), Nodes: 2}}, 1, "", time.Time{},
		},
		"Nothing": {
			"zero buys nothing: it is a bound, not the absence of one", 0, nil, 0, "0 of at most 0 nodes were bought within an hour, and 1 more would be needed", time.Time{},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := &snapshot.NodeGroup{Name: "g5", Max: 100}
			s := &snapshot.Snapshot{Now: noon, Grown: tc.bought, NodeGroups: []*snapshot.NodeGroup{g},
				Limits: snapshot.Limits{MaxNewNodesPerHour: &tc.most}}
			b := budget(s)
			for range tc.already {
				if d := b.Buy(nil, g, 1); d != nil {
					t.Fatalf("could not buy what the case starts from: %s", d.Message)
				}
			}
			d := b.Buy(nil, g, 1)
			if d == nil {
				d = &scaling.Denial{}
			}
			if d.Message != tc.want || !d.Until.Equal(tc.until) {
				t.Errorf("%s: got %q until %s", tc.reason, d.Message, d.Until)
			}
			if d.Message != "" && d.Reason != plan.BoundReached {
				t.Errorf("reason %s", d.Reason)
			}
		})
	}
}

func TestATrialThatWasUndoneIsNoGrowth(t *testing.T) {
	most := 1
	g := &snapshot.NodeGroup{Name: "g5", Max: 100}
	b := budget(&snapshot.Snapshot{Now: noon, NodeGroups: []*snapshot.NodeGroup{g},
		Limits: snapshot.Limits{MaxNewNodesPerHour: &most}})
	if d := b.Buy(nil, g, 1); d != nil {
		t.Fatal(d.Message)
	}
	b.Return(nil, g, 1)
	if d := b.Buy(nil, g, 1); d != nil {
		t.Errorf("what was returned still counts: %s", d.Message)
	}
}
