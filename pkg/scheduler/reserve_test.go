package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestBackfill: pair needs two GPUs, one is free, and what runs on the other ends in an hour. late came
// after it.
func TestBackfill(t *testing.T) {
	const train, build = 50, 100
	hour := noon.Add(time.Hour)
	type scene struct {
		*world
		run, pair, late *snapshot.Gang
	}
	cases := map[string]struct {
		reason string
		change func(*scene)
		want   []string
		kept   []string
	}{
		"WouldDelay": {
			"nobody knows when late ends, and it does not leave when asked to",
			func(*scene) {}, nil, []string{"reserve node-00, node-01 for gang/default/pair, for 13:00:00 UTC"},
		},
		"EndsInTime": {
			"it is gone before the hour is over",
			func(s *scene) { s.late.Runtime = 59 * time.Minute },
			[]string{"bind gang/default/late: late-0 to node-01"}, []string{"reserve node-00, node-01 for gang/default/pair, for 13:00:00 UTC"},
		},
		"EndsTooLate": {
			"it is not",
			func(s *scene) { s.late.Runtime = 61 * time.Minute }, nil, []string{"reserve node-00, node-01 for gang/default/pair, for 13:00:00 UTC"},
		},
		"LeavesWhenAsked": {
			"work that can be evicted when the hour is over may fill in until then",
			func(s *scene) { s.late.Priority, s.late.NonPreemptible = train, false },
			[]string{"bind gang/default/late: late-0 to node-01"}, []string{"reserve node-00, node-01 for gang/default/pair, for 13:00:00 UTC"},
		},
		"WouldNotLeave": {
			"its queue protects what has just started, so it would be in the way",
			func(s *scene) {
				s.late.Priority, s.late.NonPreemptible = train, false
				day := 24 * time.Hour
				s.s.Queue("q").PreemptMinRuntime = &day
			}, nil, []string{"reserve node-00, node-01 for gang/default/pair, for 13:00:00 UTC"},
		},
		"OfAnotherQueue": {
			"one that may not be evicted for it does not fill in either, whatever its queue",
			func(s *scene) {
				s.queue("z", "", free, free).Priority = 50 // served after the other
				s.late.Queue, s.late.Priority, s.late.NonPreemptible = "z", train, false
			}, nil, []string{"reserve node-00, node-01 for gang/default/pair, for 13:00:00 UTC"},
		},
		"BesideIt": {
			"there is a third GPU, which pair does not need",
			func(s *scene) { s.nodes(1, 1) },
			[]string{"bind gang/default/pair: pair-0 to node-01, pair-1 to node-02"}, []string{"reserve node-00 for gang/default/late, for 13:00:00 UTC"},
		},
		"WhatIsLeftOver": {
			"pair will need two devices of the node on which three are free in an hour; two are free now, and it leaves one",
			func(s *scene) {
				s.s.Nodes[0].Allocatable.MilliGPU = 3000
				s.s.Nodes[1].Usable = false
				for _, p := range s.pair.Members {
					p.Request.MilliCPU = 31000
				}
				s.run.Members[0].Request.MilliCPU = 34000
			},
			[]string{"bind gang/default/late: late-0 to node-00"}, []string{"reserve node-00 for gang/default/pair, for 13:00:00 UTC"},
		},
		"NobodyKnows": {
			"no end is known, and pair has not waited long: late fills in",
			func(s *scene) {
				s.run.Ends = time.Time{}
				s.pair.Created = noon.Add(-5 * time.Minute)
				s.late.Created = noon.Add(-time.Minute)
			},
			[]string{"bind gang/default/late: late-0 to node-01"}, nil,
		},
		"NobodyKnowsAndItIsOld": {
			"no end is known, and pair has waited for an hour: what is free is held for it until there is enough",
			func(s *scene) { s.run.Ends = time.Time{} },
			nil, []string{"reserve node-01 for gang/default/pair, until it is complete"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			w.nodes(2, 1)
			s := &scene{world: w}
			s.run = w.gang("run", "q", build, 1, 1, 0)
			s.run.Ends = hour
			s.pair = w.gang("pair", "q", build, 2, 2)
			s.late = w.gang("late", "q", build, 1, 1)
			s.late.Shape = "late"
			c.change(s)
			p := w.decide()
			var steps, kept []string
			for _, step := range p.Steps {
				steps = append(steps, step.String())
			}
			for _, r := range p.Reservations {
				kept = append(kept, r.String())
			}
			if diff := cmp.Diff(c.want, steps); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if diff := cmp.Diff(c.kept, kept); diff != "" {
				t.Errorf("%s: reservations (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestAReservationIsInTheVerdict(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", free, free)
	w.nodes(2, 1)
	w.gang("run", "q", 100, 1, 1, 0).Ends = noon.Add(time.Hour)
	w.gang("pair", "q", 100, 2, 2)
	w.gang("next", "q", 100, 2, 2)
	v := w.verdict("pair")
	if v.Reason != plan.NoNodeFits || v.Doing != "Keeping room on 2 nodes for when those that run there end" || !v.ETA.Equal(noon.Add(time.Hour)) || !v.Reserved.Equal(v.ETA) {
		t.Errorf("the head of the queue is told until when it waits: %+v", v)
	}
	if v := w.verdict("next"); !v.Reserved.IsZero() || v.Doing != "" {
		t.Errorf("those behind it are not: %+v", v)
	}
}

// TestWhatFilledInLeavesWhenTheReservationFallsDue: run has ended at its hour, late filled in on the other
// GPU and is what is left in the way.
func TestWhatFilledInLeavesWhenTheReservationFallsDue(t *testing.T) {
	for name, c := range map[string]struct {
		reserved time.Time
		want     []string
	}{
		"Due":        {noon, []string{"evict all of gang/default/late (queue q) for gang/default/pair (queue q): late-0"}},
		"NotYet":     {noon.Add(time.Minute), nil},
		"NoneIsMade": {time.Time{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("q", "", free, free)
			w.nodes(2, 1)
			pair := w.gang("pair", "q", 50, 2, 2)
			pair.Created = noon.Add(-2 * time.Minute)
			pair.LastVerdict = plan.Verdict{Queue: "q", Reason: plan.NoNodeFits, Message: "x", Reserved: c.reserved}.Text()
			w.gang("late", "q", 50, 1, 1, 1).Created = noon.Add(-time.Minute)
			if diff := cmp.Diff(c.want, w.steps()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
