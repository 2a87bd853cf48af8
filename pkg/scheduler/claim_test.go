package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestClaims: what a gang was promised is its own, and what is free is for whoever's turn it is.
func TestClaims(t *testing.T) {
	const train, first = 50, 75
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
	}{
		"FreeRoomGoesByTurn": {
			"late waits for a node that was bought for it; the one that has just become free is for the first in line",
			func(w *world) {
				w.nodes(1, 1)
				w.comingFor(w.gang("late", "q", train, 1, 1))
				w.gang("ahead", "q", first, 1, 1)
			},
			[]string{"bind gang/default/ahead: ahead-0 to node-00"},
		},
		"SoItIsForWorkersBeyondTheMinimum": {
			"late runs with one and waits for another node; what is free is for the first in line all the same",
			func(w *world) {
				w.nodes(2, 1)
				w.comingFor(w.gang("late", "q", train, 1, 2, 0))
				w.gang("ahead", "q", first, 1, 1)
			},
			[]string{"bind gang/default/ahead: ahead-0 to node-01"},
		},
		"RatherThanWait": {
			"nobody is before it: it starts on the free node, and need not wait for its own",
			func(w *world) {
				w.nodes(1, 1)
				w.comingFor(w.gang("late", "q", first, 1, 1))
				w.gang("other", "q", train, 1, 1)
			},
			[]string{"bind gang/default/late: late-0 to node-00"},
		},
		"TheRestOfWhatItNeeds": {
			"one node is coming for two pods: the free node for the other is kept, whoever comes by",
			func(w *world) {
				w.nodes(1, 1)
				w.comingFor(w.gang("late", "q", train, 2, 2))
				w.gang("ahead", "q", first, 1, 1)
			},
			nil,
		},
		"WhatOthersLeftFor": {
			"pods were evicted for grow; what lost a member is mended after it",
			func(w *world) {
				w.nodes(3, 1)
				w.gang("grow", "q", first, 1, 2, 0).EvictedAt = noon.Add(-time.Second)
				w.gang("hurt", "q", train, 2, 2, 1)
			},
			[]string{"bind gang/default/grow: grow-1 to node-02"},
		},
		"NotOnQuotaThatIsStillUsed": {
			"the node has room, and who leaves the queue's only GPU for it finishes something first",
			func(w *world) {
				w.s.Queue("q").Limit.MilliGPU = 1000
				w.nodes(1, 2)
				leaves := w.gang("leaves", "q", train, 1, 1, 0).Members[0]
				leaves.Terminating, leaves.Lingers = true, true
				w.gang("next", "q", first, 1, 1)
			},
			nil,
		},
		"OnQuotaOfWhoIsBeingDeleted": {
			"it holds the room of its node, and no quota",
			func(w *world) {
				w.s.Queue("q").Limit.MilliGPU = 1000
				w.nodes(1, 2)
				w.gang("leaves", "q", train, 1, 1, 0).Members[0].Terminating = true
				w.gang("next", "q", first, 1, 1)
			},
			[]string{"bind gang/default/next: next-0 to node-00"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			c.world(w)
			if diff := cmp.Diff(c.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// comingFor has one node on its way that was bought for a gang, and no more to buy.
func (w *world) comingFor(gang *snapshot.Gang) {
	g := w.group("g5", "a", 1, 1_006_000)
	g.Max = 1
	w.bounds("q", nil)
	g.Instances = []snapshot.Instance{{ID: "i-1", State: snapshot.InstancePending, Launched: noon.Add(-time.Minute)}}
	w.s.Bookings = []*snapshot.Booking{{Gang: gang.ID, Namespace: "default", Request: "g-1", Attempt: 1, Created: noon.Add(-time.Minute),
		Queue: "q", Nodes: []snapshot.BookedNodes{{Group: "g5", Count: 1, Instances: []string{"i-1"}}}}}
	gang.Attempts = 1
}

// TestNothingIsKeptForWhatMayNeverRun: big asks for more than its queue allows. The gang behind it is the
// first that room is kept for.
func TestNothingIsKeptForWhatMayNeverRun(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", 2, 2)
	w.nodes(2, 1)
	w.gang("run", "q", 75, 1, 1, 0)
	w.gang("big", "q", 75, 3, 3)
	w.gang("pair", "q", 50, 2, 2)
	var kept []string
	for _, r := range w.decide().Reservations {
		kept = append(kept, r.Gang.Name)
	}
	if diff := cmp.Diff([]string{"pair"}, kept); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
