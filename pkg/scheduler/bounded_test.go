package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
)

// TestABoundedDecisionIsSafeAndGoesOn: a decision that ends at its bound on work says nothing wrong, and
// those after it get to everything that it did not get to, as long as one can at least look after what the
// last ones hold.
func TestABoundedDecisionIsSafeAndGoesOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		s.Looks = int64(rapid.IntRange(40, 160).Draw(t, "looks"))
		const rounds = 60
		var told []string
		for range rounds {
			p := scheduler.Decide(s, tolerance{})
			if broken := harm(s, p); len(broken) > 0 {
				t.Fatalf("%s\n%s", strings.Join(broken, "\n"), printed(p))
			}
			told = append(told, printed(p))
			s = apply(s, p)
			s.Passed = p.Passed
			if !p.Unfinished && !acts(p) {
				return
			}
		}
		t.Fatalf("not through after %d rounds of %d looks; the last:\n%s", rounds, s.Looks, strings.Join(told[rounds-4:], "\n"))
	})
}

// TestNobodyWaitsBehindTheBound: a hundred gangs that find no room and cost all the looks there are do not
// keep the one behind them from the room that there is for it.
func TestNobodyWaitsBehindTheBound(t *testing.T) {
	w := newWorld(t)
	w.queue("q", "", free, free)
	w.nodes(20, 1)
	for k := range 100 {
		g := w.gang(fmt.Sprintf("wide%03d", k), "q", 75, 1, 1)
		g.Members[0].Request.MilliGPU = 2000 + int64(k)
		g.Shape = fmt.Sprint("wide", k) // each has to be tried for itself
		g.Members[0].Class = g.Shape
	}
	w.gang("small", "q", 50, 1, 1)
	w.s.Looks = 100
	d := scheduler.NewDecider(everywhere{})
	for round := range 100 {
		p := d.Decide(w.s)
		for _, step := range p.Steps {
			if b, ok := step.(plan.Bind); ok && b.Gang.Name == "small" {
				if round < 2 {
					t.Errorf("the bound did not bind: small was reached in decision %d", round)
				}
				return
			}
		}
		for _, v := range p.Verdicts {
			if v.Gang.Name == "small" && !v.Early {
				t.Errorf("nothing is known of small yet, and its owner is told %s", v.Reason)
			}
		}
		next := *w.s
		next.Rev, next.Passed = next.Rev+1, p.Passed
		w.s = &next
	}
	t.Error("small was never reached")
}

// TestWorkDoesNotGrowWithTheClusterWhereNothingChanges keeps a decision on an unchanged world cheap.
func TestWorkDoesNotGrowWithTheClusterWhereNothingChanges(t *testing.T) {
	looks := func(nodes int) int64 {
		r := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // repeatable, not secret
		w := newWorld(t)
		w.queue("q", "", free, free)
		w.nodes(nodes, 1)
		for k := range nodes {
			w.gang(fmt.Sprintf("run%04d", k), "q", 50, 1, 1, k)
		}
		for k := range 5 {
			g := w.gang(fmt.Sprintf("wait%d", k), "q", 50, 1, 1)
			g.Members[0].Request.MilliGPU = int64(1+r.IntN(3)) * 1000
			g.Shape = fmt.Sprint(g.Members[0].Request)
		}
		d := scheduler.NewDecider(everywhere{})
		d.Decide(w.s)
		next := *w.s
		next.Rev++
		return d.Decide(&next).Looks
	}
	if few, many := looks(50), looks(500); many > few {
		t.Errorf("ten times the nodes, %d looks in the place of %d", many, few)
	}
}
