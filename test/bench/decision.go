package main

import (
	"context"
	"fmt"
	"time"

	"github.com/capmgr/capmgr/test/bench/decision"
)

// warmEvents is how many events of each kind are averaged: enough for the garbage that they leave to be
// collected in between, and counted.
const warmEvents = 200

// decide measures decisions on a generated cluster beside Cluster Autoscaler's own placement of the
// same pods on the same nodes. No control plane takes part. It is one round whatever is asked for:
// the yardstick alone takes its time.
func decide(shape decision.Shape) func(context.Context, *bench) ([]measure, error) {
	return func(_ context.Context, b *bench) ([]measure, error) {
		b.say("%d nodes, %d pods running, %d waiting", shape.Nodes, shape.Running.Count*shape.Running.Pods, shape.Pending.Count*shape.Pending.Pods)
		t, err := decision.Measure(shape, warmEvents)
		if err != nil {
			return nil, err
		}
		millis := func(d time.Duration) []float64 { return []float64{float64(d) / float64(time.Millisecond)} }
		out := []measure{
			over("first snapshot", "ms of processor", 0, millis(t.Snapshot)),
			over("cold decision", "ms of processor", 0, millis(t.Cold)),
			over("Cluster Autoscaler, same pods and nodes", "ms of processor", 0, millis(t.Yardstick)),
			over("cold decision in Cluster Autoscaler's time", "ratio", 0.02, []float64{float64(t.Cold) / float64(t.Yardstick)}),
			over("own state per pod", "bytes", 2048, []float64{t.BytesPerPod}),
		}
		for _, e := range decision.Events {
			out = append(out, over("decision after "+e.Name+", in cold time", "ratio", 0.01, []float64{float64(t.Warm[e.Name]) / float64(t.Snapshot+t.Cold)}))
		}
		return out, nil
	}
}

// one measures a single decision, in each round on a fresh cluster, beside what it takes Cluster Autoscaler
// to find out where the same pods fit, or that they do not. It never evicts anything.
func one(shape decision.Shape, evicted int) func(context.Context, *bench) ([]measure, error) {
	return func(_ context.Context, b *bench) ([]measure, error) {
		b.say("%d nodes, %d pods running, %d waiting", shape.Nodes, shape.Running.Count*shape.Running.Pods, shape.Pending.Count*shape.Pending.Pods)
		var ours, theirs, ratio []float64
		for range b.rounds {
			took, yardstick, gone, err := decision.MeasureOne(shape)
			if err != nil {
				return nil, err
			}
			if gone != evicted {
				return nil, fmt.Errorf("the decision evicts %d pods, and was to evict %d", gone, evicted)
			}
			ours, theirs = append(ours, milli(took)), append(theirs, milli(yardstick))
			ratio = append(ratio, took.Seconds()/yardstick.Seconds())
		}
		return []measure{
			over("decision", "ms of processor", 0, ours),
			over("Cluster Autoscaler, same pods and nodes", "ms of processor", 0, theirs),
			over("decision in Cluster Autoscaler's time", "ratio", 0, ratio),
		}, nil
	}
}
