package main

import (
	"context"
	"fmt"
	"math"

	"github.com/capmgr/capmgr/test/bench/purchase"
)

const (
	// estimatorShare is the part of the estimator's time that planning may take.
	estimatorShare = 0.05
	// nearLeast is how far above the least possible purchases may be on average.
	nearLeast = 1.05
)

// buy measures planning for 200 gangs over 20 node groups, beside Cluster Autoscaler's estimator on the
// same pods and templates in the same run.
func buy(_ context.Context, b *bench) ([]measure, error) {
	var ours, theirs, ratio, nodes, dollars []float64
	for round := range b.rounds {
		t, err := purchase.Measure(200, 4, uint64(round)) //nolint:gosec // a few
		if err != nil {
			return nil, err
		}
		b.say("round %d of %d: %d nodes for $%.2f/h; the estimator: %d for $%.2f/h", round+1, b.rounds, t.Ours.Nodes, t.Ours.Dollars, t.Theirs.Nodes, t.Theirs.Dollars)
		ours, theirs = append(ours, milli(t.Capmgr)), append(theirs, milli(t.Estimator))
		ratio = append(ratio, t.Capmgr.Seconds()/t.Estimator.Seconds())
		nodes = append(nodes, float64(t.Ours.Nodes)/float64(t.Theirs.Nodes))
		dollars = append(dollars, math.Round(1e9*t.Ours.Dollars/t.Theirs.Dollars)/1e9)
	}
	return []measure{
		over("planning", "ms of processor", 0, ours),
		over("Cluster Autoscaler's estimator", "ms of processor", 0, theirs),
		over("planning in the estimator's time", "ratio", estimatorShare, ratio),
		over("nodes, to the estimator's", "ratio", 1, nodes),
		over("dollars, to the estimator's", "ratio", 1, dollars),
	}, nil
}

// buyLeast compares purchases for small gangs with the least that brute force finds.
func buyLeast(_ context.Context, b *bench) ([]measure, error) {
	var nodes, dollars []float64
	for round := range b.rounds {
		gap, err := purchase.Compare(200, uint64(round)) //nolint:gosec // a few
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", round+1, err)
		}
		nodes, dollars = append(nodes, gap.Nodes), append(dollars, gap.Dollars)
	}
	return []measure{
		over("nodes, to the least possible", "ratio", nearLeast, nodes),
		over("dollars, to the least possible", "ratio", nearLeast, dollars),
	}, nil
}
