package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestStaleGangs(t *testing.T) {
	evicted := []string{"evict all of gang/default/g (queue q) because it ran below its minimum for 1m0s and no room for the rest is in sight: g-0"}
	cases := map[string]struct {
		reason string
		change func(*world, *snapshot.Gang)
		want   []string
	}{
		"NoProspect":    {"a member was lost, nothing is free, the grace period is over", func(*world, *snapshot.Gang) {}, evicted},
		"WithinGrace":   {"it has the grace period to find room", func(_ *world, g *snapshot.Gang) { g.ShortSince = noon.Add(-30 * time.Second) }, nil},
		"NeverShort":    {"a gang that is only growing was never whole with this minimum", func(_ *world, g *snapshot.Gang) { g.ShortSince = time.Time{} }, nil},
		"NegativeGrace": {"its owner wants it kept", func(_ *world, g *snapshot.Gang) { g.Grace = -1 }, nil},
		"Finishing":     {"members leave because it is done", func(_ *world, g *snapshot.Gang) { g.Ending = true }, nil},
		"RoomAgain": {"it gets its hole back first", func(w *world, _ *snapshot.Gang) { w.nodes(1, 1) },
			[]string{"bind gang/default/g: g-1 to node-01"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			w.nodes(1, 1)
			g := w.gang("g", "q", 50, 2, 2, 0)
			g.ShortSince, g.Grace = noon.Add(-2*time.Minute), time.Minute
			c.change(w, g)
			if diff := cmp.Diff(c.want, w.steps()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestHoleIsServedBeforeNewcomers(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", free, free)
	w.nodes(2, 1)
	w.gang("early", "q", 50, 1, 1)
	w.gang("torn", "q", 50, 2, 2, 0)
	want := []string{"bind gang/default/torn: torn-1 to node-01"}
	got := w.steps()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a gang that lost a member has the first claim on its own hole (-want +got):\n%s", diff)
	}
}

func TestNobodyIsEvictedAndBoundAtOnce(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", free, free)
	w.nodes(2, 1)
	w.gang("high", "q", 75, 1, 1)
	w.gang("torn", "q", 50, 2, 2, 0)
	want := []string{"bind gang/default/torn: torn-1 to node-01"}
	if diff := cmp.Diff(want, w.steps()); diff != "" {
		t.Errorf("what the decision completes it does not break (-want +got):\n%s", diff)
	}
}
