package scaling_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestTrackTellsWaitingFromLostAndLate(t *testing.T) {
	const long = timeout + time.Minute
	cases := map[string]struct {
		reason string
		world  func(world) *snapshot.Booking
		want   scaling.Progress
	}{
		"Promised": {"nothing launched yet", func(w world) *snapshot.Booking {
			return w.booking("x", w.group("g5", 0, 4), time.Minute, 2)
		}, scaling.Progress{Promised: 2, ETA: noon.Add(3 * time.Minute), Deadline: noon.Add(14 * time.Minute)}},
		"Booting": {"the launch counts from when it was made", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			return w.booking("x", g, 2*time.Minute, 1, w.instance(g, time.Minute).ID)
		}, scaling.Progress{Promised: 1, ETA: noon.Add(3 * time.Minute), Deadline: noon.Add(13 * time.Minute)}},
		"Half": {"one of two is usable", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			return w.booking("x", g, time.Minute, 2, w.node(g).InstanceID, w.instance(g, time.Minute).ID)
		}, scaling.Progress{Promised: 2, Usable: 1, ETA: noon.Add(3 * time.Minute), Deadline: noon.Add(14 * time.Minute)}},
		"Complete": {"all are usable", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			return w.booking("x", g, time.Minute, 1, w.node(g).InstanceID)
		}, scaling.Progress{Promised: 1, Usable: 1, ETA: noon.Add(3 * time.Minute), Deadline: noon.Add(14 * time.Minute)}},
		"CompleteLate": {"what is complete is not late", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			return w.booking("x", g, long, 1, w.node(g).InstanceID)
		}, scaling.Progress{Promised: 1, Usable: 1, ETA: noon.Add(boot - long), Deadline: noon.Add(-time.Minute)}},
		"Late": {"the provision timeout has passed", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			return w.booking("x", g, long, 1, w.instance(g, long).ID)
		}, scaling.Progress{Promised: 1, Late: "g5", ETA: noon.Add(boot - long), Deadline: noon.Add(-time.Minute)}},
		"LateIsTheGroupThatIs": {"each group has its own time, and one that delivered is not late", func(w world) *snapshot.Booking {
			g, slow := w.group("g5", 0, 4), w.group("slow", 0, 4)
			slow.ProvisionTimeout = time.Hour
			b := w.booking("x", g, long, 1, w.node(g).InstanceID)
			b.Nodes = append(b.Nodes, snapshot.BookedNodes{Group: "slow", Count: 1, Instances: []string{w.instance(slow, long).ID}})
			return b
		}, scaling.Progress{Promised: 2, Usable: 1, ETA: noon.Add(boot - long), Deadline: noon.Add(time.Hour - long)}},
		"Lost": {"an instance on its way out, and one that is gone", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			w.instance(g, time.Minute).State = snapshot.InstanceTerminating
			return w.booking("x", g, 3*time.Minute, 2, "i-gone", "i-g5-0")
		}, scaling.Progress{Promised: 2, Lost: []string{"i-g5-0", "i-gone"}, ETA: noon.Add(time.Minute), Deadline: noon.Add(12 * time.Minute)}},
		"NotListedYet": {"the listing may lag behind the launch", func(w world) *snapshot.Booking {
			return w.booking("x", w.group("g5", 0, 4), time.Minute, 1, "i-new")
		}, scaling.Progress{Promised: 1, ETA: noon.Add(3 * time.Minute), Deadline: noon.Add(14 * time.Minute)}},
		"DelegatedAndGone": {"a node that another autoscaler made was seen; no listing lags behind", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			g.Delegated = true
			return w.booking("x", g, time.Minute, 2, "node-1")
		}, scaling.Progress{Promised: 2, Lost: []string{"node-1"}, ETA: noon.Add(3 * time.Minute), Deadline: noon.Add(14 * time.Minute)}},
		"LaunchedLate": {"the cloud was asked for long, and the listing lags behind its answer all the same", func(w world) *snapshot.Booking {
			b := w.booking("x", w.group("g5", 0, 4), long, 1, "i-new")
			b.Launched = noon.Add(-time.Second)
			return b
		}, scaling.Progress{Promised: 1, ETA: noon.Add(boot - time.Second), Deadline: noon.Add(timeout - time.Second)}},
		"Unreadable": {"a cloud that does not answer has lost nothing", func(w world) *snapshot.Booking {
			g := w.group("g5", 0, 4)
			g.Unknown = "access denied"
			return w.booking("x", g, long, 1, "i-some")
		}, scaling.Progress{Promised: 1, ETA: noon.Add(boot - long), Deadline: noon.Add(-time.Minute)}},
		"Unconfigured": {"a group that was taken out of the configuration delivers nothing any more", func(w world) *snapshot.Booking {
			b := w.booking("x", w.group("g5", 0, 4), time.Minute, 1, "i-1")
			w.NodeGroups = nil
			return b
		}, scaling.Progress{Promised: 1, Lost: []string{"i-1"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			b := c.world(w)
			if diff := cmp.Diff(c.want, scaling.Track(w.Snapshot, b)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestProgressReadsAsASentence(t *testing.T) {
	for want, p := range map[string]scaling.Progress{
		"its node is not usable yet": {Promised: 1},
		"its node is usable":         {Promised: 1, Usable: 1},
		"2 of 4 nodes are usable":    {Promised: 4, Usable: 2},
	} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
