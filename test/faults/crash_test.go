package faults

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
)

// TestCrashAtEveryEffect plays a few plays without any fault, and then again for each call that changes
// something, with the manager dying right before it or with its answer on the way. Each time the play
// must come to the same end.
func TestCrashAtEveryEffect(t *testing.T) {
	makeCheckers(t)
	for name, p := range plays {
		t.Run(name, func(t *testing.T) {
			w := p.play(t, 0, none)
			end, effects := w.outcome(), w.dice.effects
			if len(w.broken) > 0 || end != p.end {
				t.Fatalf("without a crash: %s\ncomes to %q, want %q\n%s", strings.Join(w.broken, "\n"), end, p.end, w.text())
			}
			t.Logf("%d effects", effects)
			for at := 1; at <= effects; at++ {
				for _, kind := range []fault{crashBefore, crashAfter} {
					w := p.play(t, at, kind)
					if len(w.broken) > 0 || w.outcome() != end {
						t.Errorf("crash %d at effect %d: %s\ncomes to %q, want %q\n%s", kind, at, strings.Join(w.broken, "\n"), w.outcome(), end, w.text())
					}
				}
			}
		})
	}
}

// play is a fixed world and what happens in it.
type play struct {
	world func(w *world)
	acts  map[time.Duration]func(w *world)
	last  time.Duration // when nothing more happens
	end   string        // see outcome
}

// play lives through a play; the manager dies at one effect, or not at all.
func (p play) play(t *testing.T, at int, kind fault) *world {
	t.Helper()
	w := emptyWorld(&dice{count: map[string]uint64{}, calm: true, crashAt: at, crash: kind})
	inBubble(t, int64(at), func(t *testing.T) {
		p.world(w)
		v1alpha1.SetDefaults(w.config)
		s := &story{w: w, last: p.last, end: func() {}, each: func(at time.Duration) {
			if act := p.acts[at.Truncate(time.Second)]; act != nil {
				act(w)
			}
		}}
		s.live(t)
	})
	return w
}

// outcome is which gangs run and how many machines of each group there are.
func (w *world) outcome() string {
	var parts []string
	for _, g := range w.gangs() {
		if g.whole() {
			parts = append(parts, fmt.Sprintf("%s runs with %d", g.name, g.bound))
		} else {
			parts = append(parts, g.name+" waits")
		}
	}
	for _, name := range sorted(w.groups) {
		parts = append(parts, fmt.Sprintf("%d of %s", w.groups[name].alive(), name))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// Machines of the plays.
var (
	oneGPU  = cloud.Shape{MilliCPU: 4000, Memory: 14 << 30, GPUs: 1, Pods: 20}
	fourGPU = cloud.Shape{MilliCPU: 46000, Memory: 180 << 30, GPUs: 4, Pods: 50}
	cpus    = cloud.Shape{MilliCPU: 8000, Memory: 32 << 30, Pods: 50}
)

// scaling lets a queue buy along a ladder.
func (w *world) scaling(queue string, s *v1alpha1.Scaling, ladder ...string) {
	s.Ladder = ladder
	w.config.Queues[queue] = v1alpha1.QueueConfiguration{Scaling: s}
}

// cluster makes a RayCluster.
func cluster(name string, workers, least int32, gpus int64, class string) func(*world) {
	return func(w *world) {
		rc := newCluster(name, "q", workers, least, gpus)
		if class != "" {
			rc.Labels[v1alpha1.PriorityClassLabel] = class
		}
		w.clusters.put(rc)
	}
}

func gone(name string) func(*world) {
	return func(w *world) { w.clusters.drop(w.clusters.get("ml/" + name)) }
}

var plays = map[string]play{
	"head and workers are bought together, and all goes back": {
		world: func(w *world) {
			w.addGroup(&group{name: "cpu", max: 4, zone: "z-0", price: 0.2, shape: cpus})
			w.addGroup(&group{name: "gpu", max: 4, zone: "z-0", price: 1, shape: oneGPU})
			w.addQueue("q", "", 4, queuev2.Unlimited)
			w.scaling("q", &v1alpha1.Scaling{}, "cpu", "gpu")
		},
		acts: map[time.Duration]func(*world){5 * time.Second: cluster("train", 2, 2, 1, ""), 6 * time.Minute: gone("train")},
		last: 7 * time.Minute, end: "0 of cpu, 0 of gpu",
	},
	"the first rung is short, and the second serves": {
		world: func(w *world) {
			w.addNode("own", 0)
			w.addGroup(&group{name: "a", max: 4, zone: "z-0", price: 1, shape: oneGPU, short: epoch.Add(time.Hour), spare: 1})
			w.addGroup(&group{name: "b", max: 4, zone: "z-1", price: 5.6, shape: fourGPU})
			w.addQueue("q", "", 8, queuev2.Unlimited)
			w.scaling("q", &v1alpha1.Scaling{}, "a", "b")
		},
		acts: map[time.Duration]func(*world){5 * time.Second: cluster("train", 3, 3, 1, "")},
		last: time.Minute, end: "0 of a, 1 of b, train runs with 4",
	},
	"inference takes the only GPU, and training comes back": {
		world: func(w *world) {
			w.addNode("own", 1)
			w.addQueue("q", "", 1, 1)
		},
		acts: map[time.Duration]func(*world){
			5 * time.Second: cluster("train", 1, 1, 1, ""),
			time.Minute:     cluster("serve", 1, 1, 1, v1alpha1.PriorityClassInference),
			3 * time.Minute: gone("serve"),
		},
		last: 4 * time.Minute, end: "train runs with 2",
	},
	"a machine is lost under a gang, and another takes its place": {
		world: func(w *world) {
			w.addNode("own", 0)
			w.addGroup(&group{name: "a", max: 4, zone: "z-0", price: 1, shape: oneGPU})
			w.addQueue("q", "", 8, queuev2.Unlimited)
			w.scaling("q", &v1alpha1.Scaling{}, "a")
		},
		acts: map[time.Duration]func(*world){
			5 * time.Second: cluster("train", 2, 2, 1, ""),
			4 * time.Minute: func(w *world) { w.groups["a"].instances[0].ends = time.Now() },
		},
		last: 5 * time.Minute, end: "2 of a, train runs with 3",
	},
	"warm capacity is kept, used and bought anew": {
		world: func(w *world) {
			w.addNode("own", 0)
			w.addGroup(&group{name: "a", max: 6, zone: "z-0", price: 1, shape: oneGPU})
			w.addQueue("q", "", 8, queuev2.Unlimited)
			w.scaling("q", &v1alpha1.Scaling{MinGPUs: 2}, "a")
		},
		acts: map[time.Duration]func(*world){4 * time.Minute: cluster("train", 3, 2, 1, "")},
		last: 5 * time.Minute, end: "3 of a, train runs with 4",
	},
	"restart-mid-drain: work comes while idle machines are on their way back": {
		world: func(w *world) {
			w.addNode("own", 0)
			w.addGroup(&group{name: "a", max: 4, zone: "z-0", price: 1, shape: oneGPU})
			w.addQueue("q", "", 8, queuev2.Unlimited)
			w.scaling("q", &v1alpha1.Scaling{}, "a")
		},
		acts: map[time.Duration]func(*world){
			5 * time.Second: cluster("first", 2, 2, 1, ""),
			4 * time.Minute: gone("first"),
			// Two minutes of idleness later they go; a manager that dies there leaves them closed.
			6*time.Minute + 11*time.Second: cluster("second", 2, 2, 1, ""),
		},
		last: 7 * time.Minute, end: "2 of a, second runs with 3",
	},
	"slow-bind: the watch shows nothing for minutes after pods were bound": {
		world: func(w *world) {
			w.addNode("own", 3)
			w.addGroup(&group{name: "a", max: 4, zone: "z-0", price: 1, shape: oneGPU})
			w.addQueue("q", "", 4, queuev2.Unlimited)
			w.scaling("q", &v1alpha1.Scaling{}, "a")
		},
		// The second has room for one of its two workers, and a machine is bought for it, while nobody sees
		// that the first runs, or that the machine has come.
		acts: map[time.Duration]func(*world){
			5 * time.Second:  cluster("first", 2, 2, 1, ""),
			6 * time.Second:  func(w *world) { w.frozen = true; cluster("second", 2, 2, 1, "")(w) },
			8 * time.Second:  func(w *world) { w.frozen = false },
			9 * time.Second:  func(w *world) { w.frozen = true },
			5 * time.Minute:  func(w *world) { w.frozen = false },
			10 * time.Minute: gone("first"),
		},
		last: 11 * time.Minute, end: "1 of a, second runs with 3",
	},
	"a policy refuses to bind for a while": {
		world: func(w *world) {
			w.addNode("own", 2)
			w.addQueue("q", "", 8, queuev2.Unlimited)
			w.barred["train"] = true
		},
		acts: map[time.Duration]func(*world){
			5 * time.Second: cluster("train", 2, 2, 1, ""),
			2 * time.Minute: func(w *world) { delete(w.barred, "train") },
		},
		last: 3 * time.Minute, end: "train runs with 3",
	},
}
