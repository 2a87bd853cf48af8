package scaling_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestReleasesNameWhatMayGo(t *testing.T) {
	cases := map[string]struct {
		reason string
		world  func(world)
		wanted string
		want   []string
		next   time.Time
	}{
		"Idle": {"idle for long enough", func(w world) { w.node(w.group("g5", 0, 4)) }, "",
			[]string{"terminate i-g5-0 (g5-0) of g5: idle for 5m0s"}, time.Time{}},
		"NotYet": {"idle, and not for long enough: look again when it is", func(w world) {
			w.node(w.group("g5", 0, 4)).IdleSince = noon.Add(-time.Minute)
		}, "", nil, noon.Add(4 * time.Minute)},
		"Unsynced": {"idle since when is not known (autoscaler#446)", func(w world) {
			w.node(w.group("g5", 0, 4)).IdleSince = time.Time{}
		}, "", nil, time.Time{}},
		"Busy": {"somebody works there", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			w.gang("x", "a", n)
			n.IdleSince = noon.Add(-time.Hour)
		}, "", nil, time.Time{}},
		"Daemons": {"its own pods do not keep a node", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			n.Pods = append(n.Pods, &snapshot.Pod{Resident: true})
		}, "", []string{"terminate i-g5-0 (g5-0) of g5: idle for 5m0s"}, time.Time{}},
		"Protected": {"somebody said to leave it alone", func(w world) { w.node(w.group("g5", 0, 4)).Protected = "annotation" }, "", nil, time.Time{}},
		"ProtectedByADaemon": {"somebody wants a pod of the node's own to be left alone", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			n.Pods = append(n.Pods, &snapshot.Pod{Resident: true, Protected: "annotation"})
		}, "", nil, time.Time{}},
		"Wanted": {"the decision uses it", func(w world) { w.node(w.group("g5", 0, 4)) }, "g5-0", nil, time.Time{}},
		"Booked": {"it was bought for somebody who waits for the rest (autoscaler#6517)", func(w world) {
			g := w.group("g5", 0, 4)
			w.booking("x", g, time.Minute, 2, w.node(g).InstanceID)
		}, "", nil, time.Time{}},
		"Minimum": {"the group's minimum stays", func(w world) {
			g := w.group("g5", 1, 4)
			w.node(g)
			w.node(g)
		}, "", []string{"terminate i-g5-0 (g5-0) of g5: idle for 5m0s"}, time.Time{}},
		"MinimumWithoutThoseThatGo": {"who is on the way out is not of the minimum", func(w world) {
			g := w.group("g5", 1, 4)
			w.instance(g, 0).State = snapshot.InstanceTerminating
			w.node(g)
		}, "", nil, time.Time{}},
		"Booting": {"a node that boots has its time", func(w world) { w.instance(w.group("g5", 0, 4), time.Minute) }, "", nil, noon.Add(14*time.Minute + time.Second)},
		"Overdue": {"and goes when that is over", func(w world) { w.instance(w.group("g5", 0, 4), timeout+time.Second) }, "",
			[]string{"terminate i-g5-0 (no node) of g5: not usable within 15m0s of its launch"}, time.Time{}},
		"NeverAdvertised": {"also when it registered and never became usable", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			n.Usable, n.NotUsable = false, "it advertises no GPUs"
		}, "", []string{"terminate i-g5-0 (g5-0) of g5: idle for 5m0s and not usable: it advertises no GPUs"}, time.Time{}},
		"DownForAMoment": {"a node that worked until a moment ago may come back", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			n.Usable, n.IdleSince = false, noon.Add(-10*time.Second)
		}, "", nil, noon.Add(4*time.Minute + 50*time.Second)},
		"BootsAsANode": {"registered, and not usable yet: a boot has more time than an idle node", func(w world) {
			g := w.group("g5", 0, 4)
			n := w.node(g)
			n.Usable, n.IdleSince = false, noon.Add(-6*time.Minute)
			g.Instances[0].Launched = noon.Add(-7 * time.Minute)
		}, "", nil, noon.Add(8*time.Minute + time.Second)},
		"NotReadyWithWork": {"a node that went down with work on it is not ours to end", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			w.gang("x", "a", n)
			n.Usable = false
		}, "", nil, time.Time{}},
		"Unreadable": {"nothing is known of a group that cannot be read", func(w world) {
			g := w.group("g5", 0, 4)
			w.node(g)
			g.Unknown = "access denied"
		}, "", nil, time.Time{}},
		"Foreign": {"nodes outside the configured groups are never touched", func(w world) {
			w.Nodes = append(w.Nodes, &snapshot.Node{Name: "own", Usable: true, IdleSince: noon.Add(-time.Hour)})
		}, "", nil, time.Time{}},
		"Delegated": {"who made a node removes it, idle or late", func(w world) {
			g := w.group("g5", 0, 4)
			g.Delegated = true
			w.node(g)
			w.instance(g, timeout+time.Second)
		}, "", nil, time.Time{}},
		"LaunchUnknown": {"an instance of unknown age is not overdue", func(w world) {
			w.instance(w.group("g5", 0, 4), 0).Launched = time.Time{}
		}, "", nil, time.Time{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.world(w)
			steps, next := scaling.Releases(w.Snapshot, func(name string) bool { return c.wanted != "" && name == c.wanted })
			var got []string
			for _, s := range steps {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.next, next); diff != "" {
				t.Errorf("%s: when to look again (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// TestReleasesNeverHurt: over random groups, no busy, booked, wanted or protected node goes, and no
// group falls below its minimum.
func TestReleasesNeverHurt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		keep := map[string]bool{}
		for k := range rapid.IntRange(0, 3).Draw(t, "groups") {
			g := w.group(fmt.Sprintf("g%d", k), rapid.IntRange(0, 3).Draw(t, "min"), 8)
			for range rapid.IntRange(0, 5).Draw(t, "instances") {
				switch rapid.SampledFrom([]string{"idle", "busy", "booked", "protected", "boots", "late", "goes", "wanted"}).Draw(t, "kind") {
				case "idle":
					w.node(g)
				case "busy":
					n := w.node(g)
					w.gang(n.Name, "a", n)
					keep[n.InstanceID] = true
				case "booked":
					id := w.instance(g, time.Minute).ID
					w.booking(id, g, time.Minute, 1, id)
					keep[id] = true
				case "protected":
					n := w.node(g)
					n.Protected = "annotation"
					keep[n.InstanceID] = true
				case "boots":
					keep[w.instance(g, time.Minute).ID] = true
				case "late":
					w.instance(g, time.Hour)
				case "goes":
					w.instance(g, time.Minute).State = snapshot.InstanceTerminating
				case "wanted":
					keep[w.node(g).InstanceID] = true
				}
			}
		}
		steps, _ := scaling.Releases(w.Snapshot, func(name string) bool { return keep[name] })
		for _, g := range w.NodeGroups {
			left := 0
			for _, i := range g.Instances {
				gone := slices.ContainsFunc(steps, func(s plan.TerminateNode) bool { return s.Instance == i.ID })
				if gone && (keep[i.ID] || i.State == snapshot.InstanceTerminating) {
					t.Fatalf("%s is to go and must stay, or goes already", i.ID)
				}
				if !gone && i.State != snapshot.InstanceTerminating {
					left++
				}
			}
			before := len(g.Instances) - len(slices.DeleteFunc(slices.Clone(g.Instances), func(i snapshot.Instance) bool { return i.State != snapshot.InstanceTerminating }))
			if left < min(g.Min, before) {
				t.Fatalf("group %s is left with %d of %d, and its minimum is %d", g.Name, left, before, g.Min)
			}
		}
	})
}
