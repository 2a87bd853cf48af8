package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Another autoscaler is told of the pods that its nodes are for, and of no others.
func TestTenants(t *testing.T) {
	head := snapshot.Resources{MilliCPU: 2000, Memory: 1 << 30}
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   map[string][]string // by node group
	}{
		"OnePodANode": {
			"three nodes of one device, in the order of the pods",
			func(w *world) {
				w.group("asked", "a", 1, 1_000_000).Delegated = true
				w.gang("train", "team-a", 50, 3, 3)
			},
			map[string][]string{"asked": {"train-0 on 0", "train-1 on 1", "train-2 on 2"}},
		},
		"SharedNode": {
			"two pods go on each box",
			func(w *world) {
				w.group("asked", "a", 2, 1_000_000).Delegated = true
				w.gang("train", "team-a", 50, 3, 3)
			},
			map[string][]string{"asked": {"train-0 on 0", "train-1 on 0", "train-2 on 1"}},
		},
		"NotThoseWithRoom": {
			"one pod runs on what is there; nobody else need make room for it",
			func(w *world) {
				w.nodes(1, 1)
				w.group("asked", "a", 1, 1_000_000).Delegated = true
				w.gang("train", "team-a", 50, 3, 3)
			},
			map[string][]string{"asked": {"train-1 on 0", "train-2 on 1"}},
		},
		"EachItsOwn": {
			"the head goes to one group and the workers to another",
			func(w *world) {
				w.group("heads", "a", 0, 100_000).Delegated = true
				w.group("workers", "a", 1, 1_000_000).Delegated = true
				g := w.gang("train", "team-a", 50, 3, 3)
				asks(g, 0, "head", head)
				w.s.NodeGroup("workers").Template.Allocatable.MilliCPU = 1000
			},
			map[string][]string{"heads": {"train-0 on 0"}, "workers": {"train-1 on 0", "train-2 on 1"}},
		},
		"NotThoseOfAnotherGang": {
			"two gangs buy of one group in one decision",
			func(w *world) {
				w.group("asked", "a", 1, 1_000_000).Delegated = true
				w.gang("a", "team-a", 50, 1, 1)
				w.gang("b", "team-a", 50, 2, 2)
			},
			map[string][]string{"asked": {"a-0 on 0", "b-0 on 0", "b-1 on 1"}},
		},
		"NobodyToTell": {
			"the manager grows the group by itself",
			func(w *world) {
				w.group("own", "a", 1, 1_000_000)
				w.gang("train", "team-a", 50, 2, 2)
			},
			map[string][]string{"own": nil},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("team-a", "", free, free)
			w.bounds("team-a", nil)
			tc.world(w)
			got := map[string][]string{}
			for _, step := range w.decide().Steps {
				b, ok := step.(plan.Book)
				if !ok {
					continue
				}
				for _, p := range b.Purchases {
					got[p.Group] = append([]string(nil), got[p.Group]...) // there, also without pods
					for _, pod := range p.Pods {
						got[p.Group] = append(got[p.Group], fmt.Sprintf("%s on %d", pod.Name, pod.Node))
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
