package purchase

import (
	"math/rand/v2"
	"testing"
)

// TestPurchasesAreNoWorseThanTheEstimators keeps the comparison alive: both plan for the same gangs, and
// capmgr never with more nodes or money.
func TestPurchasesAreNoWorseThanTheEstimators(t *testing.T) {
	out, err := Measure(20, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	if out.Ours.Dollars > out.Theirs.Dollars+1e-6 || out.Ours.Nodes > out.Theirs.Nodes {
		t.Errorf("bought %+v, and the estimator %+v", out.Ours, out.Theirs)
	}
}

func TestPurchasesAreNearTheLeast(t *testing.T) {
	gap, err := Compare(60, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d small cases: %.4f of the least money, %.4f of the nodes that it buys", gap.Cases, gap.Dollars, gap.Nodes)
	if gap.Dollars < 1-1e-9 || gap.Dollars > 1.05 || gap.Nodes > 1.05 {
		t.Errorf("%+v, and it is to be within five hundredths of the least", gap)
	}
}

func BenchmarkPlanning(b *testing.B) {
	w, err := newWorld(draw(rand.New(rand.NewPCG(1, 0)), 200), machines, 4) //nolint:gosec // repeatable, not secret
	if err != nil {
		b.Fatal(err)
	}
	s := w.mirror.Snapshot(epoch)
	for b.Loop() {
		w.decide(s)
	}
}
