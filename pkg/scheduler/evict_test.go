package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// everywhere is a Fitter for which only room counts.
type everywhere struct{}

func (everywhere) Fits(*snapshot.Pod, *snapshot.Node, []snapshot.Placed) string { return "" }

// world builds a snapshot in few words.
type world struct {
	t *testing.T
	s *snapshot.Snapshot
}

func newWorld(t *testing.T) *world {
	return &world{t, &snapshot.Snapshot{Rev: 1, Now: noon, Bounds: map[string]snapshot.Bounds{}}}
}

const free = snapshot.Unlimited

// queue adds a queue with a GPU quota and limit in devices (free: unlimited); other resources are
// unlimited.
func (w *world) queue(name, parent string, quota, limit int64) *snapshot.Queue {
	milli := func(v int64) int64 {
		if v == free {
			return free
		}
		return v * 1000
	}
	q := &snapshot.Queue{Name: name, Parent: parent, Priority: 100,
		Quota:  snapshot.Ceiling{MilliGPU: milli(quota), MilliCPU: free, Memory: free},
		Limit:  snapshot.Ceiling{MilliGPU: milli(limit), MilliCPU: free, Memory: free},
		Weight: snapshot.Resources{MilliGPU: 1000, MilliCPU: 1000, Memory: 1000}}
	w.s.Queues = append(w.s.Queues, q)
	slices.SortFunc(w.s.Queues, func(a, b *snapshot.Queue) int { return strings.Compare(a.Name, b.Name) })
	return q
}

func (w *world) nodes(n int, gpus int64) {
	for range n {
		w.s.Nodes = append(w.s.Nodes, &snapshot.Node{Name: fmt.Sprintf("node-%02d", len(w.s.Nodes)), Class: "n", Usable: true,
			Allocatable: snapshot.Resources{MilliCPU: 64000, Memory: 1 << 38, MilliGPU: gpus * 1000}, MaxPods: 110})
	}
}

// gang adds a gang of equal pods with one GPU each; on are the nodes of those that run.
func (w *world) gang(name, queue string, priority int32, least, pods int, on ...int) *snapshot.Gang {
	age := time.Duration(len(w.s.Gangs)) * time.Minute
	g := &snapshot.Gang{ID: snapshot.GangID("default/Gang/" + name + "/" + name), Kind: "Gang", Namespace: "default", Name: name, UID: name,
		Queue: queue, Created: noon.Add(age - time.Hour), Priority: priority, NonPreemptible: priority >= 100, Shape: fmt.Sprint(least, pods)}
	one := snapshot.Resources{MilliCPU: 1000, Memory: 1 << 30, MilliGPU: 1000}
	g.Groups = []snapshot.Group{{Name: "w", Min: least, Want: pods, Request: one}}
	for k := range pods {
		p := &snapshot.Pod{UID: fmt.Sprintf("%s-%d", name, k), Namespace: "default", Name: fmt.Sprintf("%s-%d", name, k), Gang: g.ID, Group: "w", Request: one, Class: "c"}
		if k < len(on) {
			n := w.s.Nodes[on[k]]
			p.Node, p.Started = n.Name, noon.Add(age-30*time.Minute+time.Duration(k)*time.Second)
			n.Pods = append(n.Pods, p)
		}
		g.Members = append(g.Members, p)
	}
	w.s.Gangs = append(w.s.Gangs, g)
	slices.SortFunc(w.s.Gangs, func(a, b *snapshot.Gang) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return g
}

// steps decides and returns the steps as text.
func (w *world) steps() []string {
	var out []string
	for _, s := range scheduler.Decide(w.s, everywhere{}).Steps {
		out = append(out, s.String())
	}
	return out
}

func (w *world) reason(gang string) plan.Reason {
	for _, v := range scheduler.Decide(w.s, everywhere{}).Verdicts {
		if v.Gang.Name == gang {
			return v.Reason
		}
	}
	w.t.Fatalf("no verdict on %s", gang)
	return ""
}

func TestEvictions(t *testing.T) {
	const train, inference = 50, 125
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   []string
	}{
		"InQueuePreemptionAtTheLimit": {
			"KAI's priority example: the limit is used up by work of lower priority of the same queue",
			func(w *world) {
				w.queue("default", "", free, free)
				w.queue("test", "default", 1, 1)
				w.nodes(2, 1)
				w.gang("train", "test", train, 1, 1, 0)
				w.gang("build", "test", 100, 1, 1)
			},
			[]string{"evict all of gang/default/train (queue test) for gang/default/build (queue test): train-0"},
		},
		"InferenceTakesTheOnlyGPUWhole": {
			"NVIDIA's flow: a training gang leaves as a whole",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.nodes(2, 1)
				w.gang("train", "team-a", train, 2, 2, 0, 1)
				w.gang("serve", "team-a", inference, 1, 1)
			},
			[]string{"evict all of gang/default/train (queue team-a) for gang/default/serve (queue team-a): train-0, train-1"},
		},
		"ElasticUnitsBeforeWholeGangs": {
			"one worker beyond the minimum is enough",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.nodes(4, 1)
				w.gang("small", "team-a", train, 1, 1, 0)
				w.gang("wide", "team-a", train, 1, 3, 1, 2, 3)
				w.gang("serve", "team-a", inference, 1, 1)
			},
			[]string{"evict members of gang/default/wide (queue team-a) for gang/default/serve (queue team-a): wide-2"},
		},
		"EqualPriorityNeverPreempts": {
			"only strictly lower priority may go in one queue",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.nodes(1, 1)
				w.gang("first", "team-a", train, 1, 1, 0)
				w.gang("second", "team-a", train, 1, 1)
			},
			nil,
		},
		"ReclaimFromTheBorrower": {
			"a queue within its quota gets back what another borrowed",
			func(w *world) {
				w.queue("a", "", 2, free)
				w.queue("b", "", 2, free)
				w.nodes(4, 1)
				for k := range 4 {
					w.gang(fmt.Sprintf("b%d", k), "b", train, 1, 1, k)
				}
				w.gang("a0", "a", train, 1, 1)
			},
			[]string{"evict all of gang/default/b3 (queue b) for gang/default/a0 (queue a): b3-0"},
		},
		"InQuotaWorkIsSafe": {
			"what is within its quota is not reclaimed by anyone",
			func(w *world) {
				w.queue("a", "", 2, free)
				w.queue("b", "", 2, free)
				w.nodes(4, 1)
				w.gang("a0", "a", train, 1, 1, 0)
				w.gang("a1", "a", train, 1, 1, 1)
				w.gang("b0", "b", train, 1, 1, 2)
				w.gang("b1", "b", train, 1, 1, 3)
				w.gang("a2", "a", train, 1, 1)
			},
			nil,
		},
		"OneOverNeverLosesTheLargeGang": {
			"a queue one GPU over its share loses the single pod, not the gang of six",
			func(w *world) {
				w.queue("a", "", 2, free)
				w.queue("b", "", 6, free)
				w.nodes(8, 1)
				w.gang("big", "b", train, 6, 6, 0, 1, 2, 3, 4, 5)
				w.gang("one", "b", train, 1, 1, 6)
				w.gang("a0", "a", train, 1, 1, 7)
				w.gang("a1", "a", train, 1, 1)
			},
			[]string{"evict all of gang/default/one (queue b) for gang/default/a1 (queue a): one-0"},
		},
		"MinimumRuntime": {
			"reclaimMinRuntime protects what started lately",
			func(w *world) {
				w.queue("a", "", 1, free)
				hour := time.Hour
				w.queue("b", "", 0, free).ReclaimMinRuntime = &hour
				w.nodes(1, 1)
				w.gang("b0", "b", train, 1, 1, 0)
				w.gang("a0", "a", train, 1, 1)
			},
			nil,
		},
		"NeverTwiceInTheWindow": {
			"others were evicted for it a minute ago and it was not placed: not again",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.nodes(1, 1)
				w.gang("train", "team-a", train, 1, 1, 0)
				w.gang("serve", "team-a", inference, 1, 1).EvictedAt = noon.Add(-time.Minute)
			},
			nil,
		},
		"LaterWorkMakesRoomForTheGangThatWaits": {
			"a stream of single pods may fill in, and not keep a large gang waiting for ever",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(4, 1)
				large := w.gang("large", "q", train, 4, 4)
				large.Created = noon.Add(-time.Hour)
				for k := range 4 {
					w.gang(fmt.Sprintf("single%d", k), "q", train, 1, 1, k).Created = noon.Add(-time.Minute)
				}
			},
			[]string{
				"evict all of gang/default/single3 (queue q) for gang/default/large (queue q): single3-0",
				"evict all of gang/default/single2 (queue q) for gang/default/large (queue q): single2-0",
				"evict all of gang/default/single1 (queue q) for gang/default/large (queue q): single1-0",
				"evict all of gang/default/single0 (queue q) for gang/default/large (queue q): single0-0",
			},
		},
		"FillingInIsAllowedForAWhile": {
			"nobody is evicted for a gang that has not waited long",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(1, 1)
				w.gang("large", "q", train, 1, 1).Created = noon.Add(-5 * time.Minute)
				w.gang("single", "q", train, 1, 1, 0).Created = noon.Add(-time.Minute)
			},
			nil,
		},
		"OnePodMovesToMakeAWholeNodeFree": {
			"two GPUs are free in sum: moving one pod puts them on one node",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(2, 2)
				w.gang("x", "q", train, 1, 1, 0)
				w.gang("y", "q", train, 1, 1, 1)
				pair := w.gang("pair", "q", train, 1, 1)
				pair.Members[0].Request.MilliGPU = 2000
			},
			[]string{"evict all of gang/default/y (queue q) for gang/default/pair (queue q), and there is other room for what goes: y-0"},
		},
		"NothingMovesWithoutAPlaceToGo": {
			"with one GPU free in all nobody is moved for a pair",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(1, 2)
				w.gang("x", "q", train, 1, 1, 0)
				pair := w.gang("pair", "q", train, 1, 1)
				pair.Members[0].Request.MilliGPU = 2000
			},
			nil,
		},
		"LoweredLimitConverges": {
			"elastic members go first, then no more gangs than needed",
			func(w *world) {
				w.queue("q", "", free, 2)
				w.nodes(5, 1)
				w.gang("wide", "q", train, 1, 3, 0, 1, 2)
				w.gang("one", "q", train, 1, 1, 3)
				w.gang("serve", "q", inference, 1, 1, 4)
			},
			[]string{
				"evict members of gang/default/wide (queue q) because queue q uses 5 GPUs and its limit is 2 GPUs: wide-2, wide-1",
				"evict all of gang/default/one (queue q) because queue q uses 3 GPUs and its limit is 2 GPUs: one-0",
			},
		},
		"WhoIdlesGoesBeforeWhoWorks": {
			"its head says which of its workers work; the oldest does not",
			func(w *world) {
				w.queue("q", "", free, 2)
				w.nodes(4, 1)
				g := w.gang("wide", "q", train, 1, 4, 0, 1, 2, 3)
				g.Heard = &snapshot.Heard{Fresh: true}
				for k, p := range g.Members {
					p.Ray = &snapshot.RayNode{}
					if k < 2 {
						p.Ray.IdleSince = noon.Add(-time.Minute)
					}
				}
			},
			[]string{"evict members of gang/default/wide (queue q) because queue q uses 4 GPUs and its limit is 2 GPUs: wide-1, wide-0"},
		},
		"ABudgetForAllOrNone": {
			"a budget that lets one of its two pods go would leave half a gang: the other gang goes",
			func(w *world) {
				w.queue("q", "", free, free)
				w.nodes(4, 1)
				for _, p := range w.gang("older", "q", train, 2, 2, 0, 1).Members {
					p.Budget, p.Allowed = "c", 2
				}
				for _, p := range w.gang("younger", "q", train, 2, 2, 2, 3).Members {
					p.Budget, p.Allowed = "b", 1
				}
				w.gang("serve", "q", inference, 2, 2)
			},
			[]string{"evict all of gang/default/older (queue q) for gang/default/serve (queue q): older-0, older-1"},
		},
		"PreemptionPolicyNever": {
			"work that never evicts waits",
			func(w *world) {
				w.queue("team-a", "", free, free)
				w.nodes(1, 1)
				w.gang("train", "team-a", train, 1, 1, 0)
				w.gang("serve", "team-a", inference, 1, 1).NeverEvicts = true
			},
			nil,
		},
		"OverQuotaNonPreemptibleIsRefused": {
			"work that may not be evicted is confined to the quota, so it evicts nobody either",
			func(w *world) {
				w.queue("team-a", "", 0, free)
				w.nodes(1, 1)
				w.gang("train", "team-a", train, 1, 1, 0)
				w.gang("serve", "team-a", inference, 1, 1)
			},
			nil,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.world(w)
			if diff := cmp.Diff(c.want, w.steps()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestEvictionVerdicts(t *testing.T) {
	w := newWorld(t)
	w.queue("team-a", "", 0, free)
	w.nodes(1, 1)
	w.gang("train", "team-a", 50, 1, 1, 0)
	w.gang("serve", "team-a", 125, 1, 1)
	if got := w.reason("serve"); got != plan.NonPreemptibleOverQuota {
		t.Errorf("non-preemptible above the quota: got %s", got)
	}
	w.s.Queue("team-a").Quota.MilliGPU = 1000
	if got := w.reason("serve"); got != plan.WaitingForPreemption {
		t.Errorf("others are evicted for it: got %s", got)
	}
	for _, p := range w.s.Nodes[0].Pods {
		p.Terminating = true
	}
	if got := w.reason("serve"); got != plan.WaitingForPreemption {
		t.Errorf("others are on their way out: got %s", got)
	}
	if got := w.steps(); len(got) != 0 {
		t.Errorf("nothing is bound to room that is not free yet: %v", got)
	}
}

func TestFairShareOrdersTheQueues(t *testing.T) {
	w := newWorld(t)
	w.queue("a", "", 0, free)
	w.queue("b", "", 0, free)
	w.nodes(4, 1)
	for k := range 4 {
		w.gang(fmt.Sprintf("a%d", k), "a", 50, 1, 1)
	}
	for k := range 4 {
		w.gang(fmt.Sprintf("b%d", k), "b", 50, 1, 1)
	}
	want := []string{"a0", "a1", "b0", "b1"}
	var got []string
	for _, s := range scheduler.Decide(w.s, everywhere{}).Steps {
		got = append(got, s.(plan.Bind).Gang.Name) //nolint:forcetypeassert // a failure is a failure
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("equal queues get equal shares, though a came first (-want +got):\n%s", diff)
	}
}

// stepsWith decides with a Fitter and returns the steps as text.
func stepsWith(w *world, fit scheduler.Fitter) (out []string) {
	for _, s := range scheduler.Decide(w.s, fit).Steps {
		out = append(out, s.String())
	}
	return out
}
