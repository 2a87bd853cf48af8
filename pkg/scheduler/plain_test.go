package scheduler_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestTheIndexChangesNothing compares plans with those of the simplest way to look for places and
// victims.
func TestTheIndexChangesNothing(t *testing.T) {
	for seed := range uint64(500) {
		same(t, randomWorld(rand.New(rand.NewPCG(seed, 1))), picky{})
	}
	drawn := rapid.Custom(drawSnapshot)
	for seed := range 300 {
		same(t, drawn.Example(seed), tolerance{})
	}
}

func same(t *testing.T, s *snapshot.Snapshot, fit scheduler.Fitter) {
	t.Helper()
	text := func(p *plan.Plan) string {
		out, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return p.NextLook.String() + string(out)
	}
	if diff := cmp.Diff(text(scheduler.DecidePlainly(s, fit)), text(scheduler.Decide(s, fit))); diff != "" {
		t.Fatalf("plainly (-) and with the index (+):\n%s", diff)
	}
}
