package scheduler_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestFollowingIsStartingOver: a Decider that follows the world from snapshot to snapshot makes the plans
// of one that sees each for the first time.
func TestFollowingIsStartingOver(t *testing.T) {
	const rounds = 12
	follow := func(t *testing.T, r *rand.Rand, s *snapshot.Snapshot, fit scheduler.Fitter) {
		d := scheduler.NewDecider(fit)
		for round := range rounds {
			p := d.Decide(s)
			if diff := cmp.Diff(everything(t, scheduler.Decide(clone(s), fit)), everything(t, p)); diff != "" {
				t.Fatalf("round %d: starting over (-) and following (+):\n%s", round, diff)
			}
			s = unchanged(s, happens(r, apply(s, p)))
		}
	}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // repeatable, not secret
		follow(t, r, randomWorld(r), picky{})
	}
	drawn := rapid.Custom(drawSnapshot)
	for seed := range 300 {
		follow(t, rand.New(rand.NewPCG(uint64(seed), 3)), drawn.Example(seed), tolerance{}) //nolint:gosec // as above
	}
}

// everything is all that a plan says.
func everything(t *testing.T, p *plan.Plan) string {
	t.Helper()
	out, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return p.NextLook.String() + string(out)
}

// happens lets something happen to a world, or nothing.
func happens(r *rand.Rand, s *snapshot.Snapshot) *snapshot.Snapshot {
	s.Rev++
	s.Now = s.Now.Add(time.Duration(r.IntN(3)) * time.Minute)
	for range r.IntN(3) {
		switch r.IntN(7) {
		case 0: // pods that were to go are gone
			for _, g := range s.Gangs {
				g.Members = slices.DeleteFunc(g.Members, func(p *snapshot.Pod) bool { return p.Terminating })
			}
			for _, n := range s.Nodes {
				n.Pods = slices.DeleteFunc(n.Pods, func(p *snapshot.Pod) bool { return p.Terminating })
			}
		case 1: // a workload ends
			if len(s.Gangs) > 0 {
				gone := s.Gangs[r.IntN(len(s.Gangs))].ID
				s.Gangs = slices.DeleteFunc(s.Gangs, func(g *snapshot.Gang) bool { return g.ID == gone })
				for _, n := range s.Nodes {
					n.Pods = slices.DeleteFunc(n.Pods, func(p *snapshot.Pod) bool { return p.Gang == gone })
				}
			}
		case 2: // a node goes, or may not be used any more
			if len(s.Nodes) > 0 {
				k := r.IntN(len(s.Nodes))
				if n := s.Nodes[k]; r.IntN(2) == 0 {
					n.Usable = !n.Usable
				} else if n.Group == "" {
					s.Nodes = slices.Delete(s.Nodes, k, k+1)
				}
			}
		case 3: // a workload moves to another queue, or is suspended
			if len(s.Gangs) > 0 {
				g := s.Gangs[r.IntN(len(s.Gangs))]
				if r.IntN(2) == 0 {
					g.Queue = s.Queues[r.IntN(len(s.Queues))].Name
				} else {
					g.Suspended = !g.Suspended
				}
			}
		case 4: // a queue is changed
			if r.IntN(4) == 0 {
				k := r.IntN(len(s.Queues))
				q := *s.Queues[k]
				q.Quota.MilliGPU = int64(r.IntN(8)) * 1000
				s.Queues = slices.Clone(s.Queues)
				s.Queues[k] = &q
			}
		case 5: // a new workload
			if len(s.Nodes) > 0 {
				g := randomGang(r, &snapshot.Snapshot{Nodes: s.Nodes}, 100+int(s.Rev), s.Queues[r.IntN(len(s.Queues))].Name) //nolint:gosec // small
				if !slices.ContainsFunc(s.Gangs, func(o *snapshot.Gang) bool { return o.ID == g.ID }) {
					s.Gangs = append(s.Gangs, g)
					slices.SortFunc(s.Gangs, func(a, b *snapshot.Gang) int { return compareIDs(a.ID, b.ID) })
				}
			}
		case 6: // machines become nodes
			for _, g := range s.NodeGroups {
				for k, i := range g.Instances {
					if i.Node == "" && g.Template != nil && i.State != snapshot.InstanceTerminating {
						n := *g.Template
						n.Name, n.InstanceID, n.Group, n.Usable, n.IdleSince = "node-"+i.ID, i.ID, g.Name, true, s.Now
						g.Instances[k].Node, g.Instances[k].State = n.Name, snapshot.InstanceRunning
						s.Nodes = append(s.Nodes, &n)
					}
				}
			}
			slices.SortFunc(s.Nodes, func(a, b *snapshot.Node) int { return compareIDs(a.Name, b.Name) })
		}
	}
	return s
}

func compareIDs[T ~string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// unchanged is the later snapshot with the earlier one's values where they are the same.
func unchanged(was, is *snapshot.Snapshot) *snapshot.Snapshot {
	for k, g := range is.Gangs {
		if old := was.Gang(g.ID); old != nil && reflect.DeepEqual(old, g) {
			is.Gangs[k] = old
		}
	}
	for k, n := range is.Nodes {
		if old := was.Node(n.Name); old != nil && reflect.DeepEqual(old, n) {
			is.Nodes[k] = old
		}
	}
	return is
}
