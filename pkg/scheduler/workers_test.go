package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// cluster adds a RayCluster whose one worker group has the pods of gang, and a wish.
func (w *world) cluster(name, queue string, priority int32, least, pods, wish int, on ...int) *snapshot.Gang {
	g := w.gang(name, queue, priority, least, pods, on...)
	g.Scaler = snapshot.ScaledByCapmgr
	g.Cluster = snapshot.Ref{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "default", Name: name, UID: name}
	grp := &g.Groups[0]
	grp.Workers = &snapshot.Workers{Hosts: 1, Replicas: pods, Least: least, Most: 16, Wish: wish, Ceiling: 16}
	grp.Template = &snapshot.Pod{Namespace: "default", Gang: g.ID, Group: "w", Request: grp.Request, Class: "c"}
	return g
}

// hosts makes replicas of two hosts of a cluster's workers.
func (w *world) hosts(g *snapshot.Gang) {
	ws := g.Groups[0].Workers
	ws.Hosts, ws.Replicas, ws.Least, ws.Wish = 2, (len(g.Members)+1)/2, 1, 2
	for k, p := range g.Members {
		p.Unit = fmt.Sprintf("replica-%d", k/2)
	}
}

// said is the plan without what merely counts, and the cut-off hashes of names.
func (w *world) said() []string {
	var out []string
	for _, text := range w.does() {
		out = append(out, strings.ReplaceAll(text, "gang/default/", ""))
	}
	return out
}

func TestWorkerGroupsFollowTheirGrants(t *testing.T) {
	const train, inference, xlarge = 50, 125, 1_006_000
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
	}{
		"StartsWithWhatItHas": {
			"two find room and are enough; the two that wait would hold up the start",
			func(w *world) {
				w.nodes(2, 1)
				w.cluster("g", "q", train, 2, 4, 4)
			},
			[]string{"bind g: g-0 to node-00, g-1 to node-01",
				"resize w of raycluster/default/g from 4 to 2 without g-2, g-3: NoNodeFits: no node has a GPU free, and no node group is configured"},
		},
		"GrowsToTheWish": {
			"room for two came; the wish is four",
			func(w *world) {
				w.nodes(5, 1)
				w.cluster("g", "q", train, 2, 2, 4, 0, 1)
			},
			[]string{"resize w of raycluster/default/g from 2 to 4: there is room for it"},
		},
		"AsFarAsTheQuotaAllows": {
			"the queue may have three",
			func(w *world) {
				w.s.Queue("q").Limit.MilliGPU = 3000
				w.nodes(5, 1)
				w.cluster("g", "q", train, 2, 2, 4, 0, 1)
			},
			[]string{"resize w of raycluster/default/g from 2 to 3: there is room for it"},
		},
		"AReplicaOfTwoHostsWaitsForBoth": {
			"the second replica has one host so far: it is nothing to run on",
			func(w *world) {
				w.nodes(4, 1)
				w.hosts(w.cluster("g", "q", train, 2, 3, 2, 0, 1))
			},
			nil,
		},
		"AndTakesBothTogether": {
			"its other host has come",
			func(w *world) {
				w.nodes(4, 1)
				w.hosts(w.cluster("g", "q", train, 2, 4, 2, 0, 1))
			},
			[]string{"bind g: g-2 to node-02, g-3 to node-03"},
		},
		"WhatBeganIsCompleted": {
			"somebody bound one of its hosts: the other one is none too many, whatever the wish",
			func(w *world) {
				w.nodes(4, 1)
				w.hosts(w.cluster("g", "q", train, 2, 4, 2, 0, 1, 2))
			},
			[]string{"bind g: g-3 to node-03"},
		},
		"HeldUntilItsPodsAppear": {
			"it was granted four a moment ago: its room is not another's, and nothing is written twice",
			func(w *world) {
				w.nodes(4, 1)
				g := w.cluster("g", "q", train, 2, 2, 4, 0, 1)
				g.Groups[0].Workers.Replicas, g.Groups[0].Workers.Grown = 4, noon.Add(-time.Second)
				w.gang("late", "q", train, 1, 1)
			},
			nil,
		},
		"NotForEver": {
			"its pods should be there by now: others need not wait for them",
			func(w *world) {
				w.nodes(4, 1)
				g := w.cluster("g", "q", train, 2, 2, 4, 0, 1)
				g.Groups[0].Workers.Replicas, g.Groups[0].Workers.Grown = 4, noon.Add(-2*time.Minute)
				w.gang("late", "q", train, 1, 1)
			},
			[]string{"bind late: late-0 to node-02"},
		},
		"BuysForTheWish": {
			"what is missing of the wish is bought, and its pods are made",
			func(w *world) {
				w.nodes(2, 1)
				w.group("g5", "a", 1, xlarge)
				w.bounds("q", nil)
				w.cluster("g", "q", train, 2, 2, 4, 0, 1)
			},
			[]string{"grow g5 by 2 for default/g",
				"resize w of raycluster/default/g from 2 to 4: there is room for it"},
		},
		"OnlySpareRoomBeyondTheWish": {
			"it takes the node that is left over, and buys none",
			func(w *world) {
				w.nodes(4, 1)
				w.group("g5", "a", 1, xlarge)
				w.bounds("q", nil)
				w.cluster("g", "q", train, 2, 2, 2, 0, 1).Opportunistic = true
				w.gang("late", "q", train, 1, 1)
			},
			[]string{"bind late: late-0 to node-02",
				"resize w of raycluster/default/g from 2 to 3: there is room for it"},
		},
		"WholePlacementGroups": {
			"three more would help together; there is room for two",
			func(w *world) {
				w.nodes(4, 1)
				g := w.cluster("g", "q", train, 2, 2, 2, 0, 1)
				asked := 5
				g.Opportunistic, g.Groups[0].Workers.Asked, g.Groups[0].Workers.Batches = true, &asked, []int{3}
			},
			nil,
		},
		"ThreeTogether": {
			"and now for three",
			func(w *world) {
				w.nodes(5, 1)
				g := w.cluster("g", "q", train, 2, 2, 2, 0, 1)
				asked := 5
				g.Opportunistic, g.Groups[0].Workers.Asked, g.Groups[0].Workers.Batches = true, &asked, []int{3}
			},
			[]string{"resize w of raycluster/default/g from 2 to 5: there is room for it"},
		},
		"ShrinksByName": {
			"the queue that lent the room wants it back: named, not evicted, or KubeRay makes another",
			func(w *world) {
				w.s.Queue("q").Quota.MilliGPU = 1000
				w.queue("z", "", 3, free)
				w.nodes(4, 1)
				w.cluster("g", "q", train, 1, 4, 4, 0, 1, 2, 3)
				w.gang("back", "z", train, 2, 2)
			},
			[]string{"resize w of raycluster/default/g from 4 to 2 without g-3, g-2: for back (queue z)"},
		},
		"EvictedWhileAnotherWrites": {
			"somebody else writes its replicas: they are left alone, and the pods go",
			func(w *world) {
				w.s.Queue("q").Quota.MilliGPU = 1000
				w.queue("z", "", 3, free)
				w.nodes(4, 1)
				w.cluster("g", "q", train, 1, 4, 4, 0, 1, 2, 3).ContendedUntil = noon.Add(time.Minute)
				w.gang("back", "z", train, 2, 2)
			},
			[]string{"evict members of g (queue q) for back (queue z): g-3, g-2"},
		},
		"SuspendedAsAWhole": {
			"inference needs its room: first the switch, so that KubeRay makes no others, then the pods",
			func(w *world) {
				w.nodes(2, 1)
				g := w.cluster("g", "q", train, 2, 2, 2, 0, 1)
				g.Suspendable = g.Cluster
				w.gang("serve", "q", inference, 1, 1)
			},
			[]string{"suspend raycluster/default/g: for serve (queue q)",
				"evict all of g (queue q) for serve (queue q): g-0, g-1"},
		},
		"ComesBack": {
			"it was suspended for others, and it is its turn again",
			func(w *world) {
				w.nodes(2, 1)
				w.held(w.cluster("g", "q", train, 2, 0, 2))
			},
			[]string{"resume raycluster/default/g: it is its turn, and there is room for it"},
		},
		"WaitsWithoutPods": {
			"one node is free, and it needs two",
			func(w *world) {
				w.nodes(1, 1)
				w.held(w.cluster("g", "q", train, 2, 0, 2))
			},
			nil,
		},
		"BuysWithoutPods": {
			"what it needs is bought before it has pods",
			func(w *world) {
				w.group("g5", "a", 1, xlarge)
				w.bounds("q", nil)
				w.held(w.cluster("g", "q", train, 2, 0, 2))
			},
			[]string{"grow g5 by 2 for default/g"},
		},
		"LeftAloneByItsUser": {
			"its user suspended it",
			func(w *world) {
				w.nodes(2, 1)
				w.held(w.cluster("g", "q", train, 2, 0, 2)).Held = false
			},
			nil,
		},
		"RoomUntilItsPodsAppear": {
			"it was let go on a moment ago; the first that appears waits for the other, and nobody comes between",
			func(w *world) {
				w.nodes(2, 1)
				g := w.cluster("g", "q", train, 2, 1, 2)
				g.Groups[0].Workers.Replicas, g.ResumedAt = 2, noon.Add(-time.Second)
				w.gang("late", "q", train, 1, 1)
			},
			nil,
		},
		"CeilingAsFarAsTheRoom": {
			"Ray may ask for four: three run or would find room, and none could be bought",
			func(w *world) {
				w.nodes(3, 1)
				w.cluster("g", "q", train, 1, 2, 2, 0, 1).Scaler = snapshot.ScaledByRay
			},
			[]string{"move the ceiling of w of raycluster/default/g from 16 to 3: NoNodeFits: no node has a GPU free"},
		},
		"CeilingAsFarAsTheMoney": {
			"two more could be bought: none is before Ray asks",
			func(w *world) {
				w.nodes(2, 1)
				w.group("g5", "a", 1, xlarge).Max = 2
				w.bounds("q", nil)
				w.cluster("g", "q", train, 1, 2, 2, 0, 1).Scaler = snapshot.ScaledByRay
			},
			[]string{"move the ceiling of w of raycluster/default/g from 16 to 4: BoundReached: node group g5 has 2 of at most 2 nodes, and 1 more would be needed"},
		},
		"CeilingAsFarAsTheQuota": {
			"the room is there, and the queue may have three",
			func(w *world) {
				w.s.Queue("q").Limit.MilliGPU = 3000
				w.nodes(9, 1)
				w.cluster("g", "q", train, 1, 2, 2, 0, 1).Scaler = snapshot.ScaledByRay
			},
			[]string{"move the ceiling of w of raycluster/default/g from 16 to 3: WaitingForQuota: it needs 2 GPUs more, and queue q uses 2 of 3 GPUs"},
		},
		"NotForItsOwnUpgrade": {
			"the cluster that serves is not stopped for the one that is to replace it",
			func(w *world) {
				w.nodes(1, 1)
				service := snapshot.Ref{Kind: "RayService", UID: "s"}
				w.gang("old", "q", train, 1, 1, 0).Top = service
				w.s.Gangs[0].Serves = true
				surge := w.gang("new", "q", train+1, 1, 1)
				surge.Top, surge.Surge = service, true
			},
			nil,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			c.world(w)
			if diff := cmp.Diff(c.want, w.said()); diff != "" {
				t.Errorf("%s (-want +got):\n%s\n%s", c.reason, diff, printed(w.decide()))
			}
		})
	}
}

// held makes a gang wait suspended for its turn.
func (w *world) held(g *snapshot.Gang) *snapshot.Gang {
	g.Suspended, g.Held, g.Suspendable = true, true, g.Cluster
	return g
}

func TestVerdictsOnWorkersToCome(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", free, free)
	w.nodes(5, 1)
	w.cluster("g", "q", 50, 2, 2, 4, 0, 1)
	w.held(w.cluster("h", "q", 50, 1, 0, 1))
	var got []string
	for _, v := range w.decide().Verdicts {
		got = append(got, fmt.Sprintf("%s %s", v.Gang.Name, v.Sentence()))
	}
	want := []string{
		"g Running: 2 of 4 pods are bound; there is room for the others, and they are being made.",
		"h GangIncomplete: there is room for it, and its pods are being made. Holding the room for them.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTenThousandHeldJobs are ten thousand objects without pods: those that have room are let go on, and the
// others are told why not.
func TestTenThousandHeldJobs(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", free, free)
	w.nodes(3, 1)
	for k := range 10_000 {
		w.held(w.quick(fmt.Sprintf("j%05d", k)))
	}
	p := w.decide()
	resumed := 0
	for _, step := range p.Steps {
		if _, ok := step.(plan.Resume); ok {
			resumed++
		}
	}
	waits := 0
	for _, v := range p.Verdicts {
		if v.Reason == plan.NoNodeFits {
			waits++
		}
	}
	if resumed != 3 || waits != 9997 {
		t.Errorf("%d go on and %d wait", resumed, waits)
	}
}

// quick is a cluster of one worker without pods.
func (w *world) quick(name string) *snapshot.Gang {
	one := snapshot.Resources{MilliCPU: 1000, Memory: 1 << 30, MilliGPU: 1000}
	id := snapshot.GangID("default/Gang/" + name + "/" + name)
	g := &snapshot.Gang{ID: id, Kind: "Gang", Namespace: "default", Name: name, UID: name, Queue: "q", Created: noon, Priority: 50,
		Scaler: snapshot.ScaledByCapmgr, Cluster: snapshot.Ref{Kind: "RayCluster", UID: name}, Shape: "one",
		Groups: []snapshot.Group{{Name: "w", Min: 1, Want: 1, Request: one,
			Workers:  &snapshot.Workers{Hosts: 1, Replicas: 1, Least: 1, Most: 1, Wish: 1, Ceiling: 1},
			Template: &snapshot.Pod{Namespace: "default", Gang: id, Group: "w", Request: one, Class: "c"}}}}
	w.s.Gangs = append(w.s.Gangs, g)
	return g
}
