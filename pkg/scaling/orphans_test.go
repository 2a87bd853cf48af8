package scaling_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/scaling"
)

func TestOrphans(t *testing.T) {
	cases := map[string]struct {
		reason string
		world  func(world)
		want   []string
		next   time.Duration // after noon; 0: never by time alone
	}{
		"InTime": {
			"it may still become a node that others use",
			func(w world) { w.instance(w.group("g5", 0, 9), 4*time.Minute).Orphan = "ml/gone" }, nil, time.Minute,
		},
		"Late": {
			"its purchase went with its RayCluster while it booted: nobody waits out the provision timeout",
			func(w world) { w.instance(w.group("g5", 0, 9), 5*time.Minute).Orphan = "ml/gone" },
			[]string{"terminate i-g5-0 (no node) of g5: launched for ml/gone, which is no more, and not a node after 5m0s"}, 0,
		},
		"Working": {
			"its RayCluster is gone, and it is a node like any other: work stays",
			func(w world) {
				n := w.node(w.group("g5", 0, 9))
				w.NodeGroups[0].Instances[0].Orphan = "ml/gone"
				w.gang("serve", "q", n)
			}, nil, 0,
		},
		"Idle": {
			"an ordinary idle node",
			func(w world) {
				w.node(w.group("g5", 0, 9))
				w.NodeGroups[0].Instances[0].Orphan = "ml/gone"
			}, []string{"terminate i-g5-0 (g5-0) of g5: idle for 5m0s"}, 0,
		},
		"Known": {
			"one that somebody waits for has until the provision timeout",
			func(w world) { w.instance(w.group("g5", 0, 9), 5*time.Minute) }, nil, 10*time.Minute + time.Second,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			tc.world(w)
			steps, next := scaling.Releases(w.Snapshot, func(string) bool { return false })
			var got []string
			for _, s := range steps {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if want := noon.Add(tc.next); tc.next == 0 != next.IsZero() || !next.IsZero() && !next.Equal(want) {
				t.Errorf("%s: next look at %s", tc.reason, next)
			}
		})
	}
}

func TestSomebodyElseGrowsTheGroup(t *testing.T) {
	w := newWorld()
	g := w.group("g5", 0, 4)
	w.instance(g, time.Minute)
	g.Desired = 3
	if o := scaling.Offers(w.Snapshot)[0]; o.More != 1 {
		t.Errorf("%d more of a group of at most 4 that was set to 3: the two that are missing will come", o.More)
	}
	b := budget(w.Snapshot)
	if d := b.Buy(nil, g, 2); d == nil {
		t.Error("bought beyond the group's maximum")
	}
}
