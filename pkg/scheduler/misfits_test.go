package scheduler

import (
	"testing"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestDominantReasonIsTheOneThatHelps(t *testing.T) {
	node := func(name string, gpus, free int64) *slot {
		return &slot{node: &snapshot.Node{Name: name, Allocatable: snapshot.Resources{MilliGPU: gpus * 1000}}, free: snapshot.Resources{MilliGPU: free * 1000}}
	}
	short := func(why string, slots ...*slot) func(*misfits) {
		return func(m *misfits) {
			for _, sl := range slots {
				m.short(why, sl, gpu)
			}
		}
	}
	times := func(why string, n int) func(*misfits) {
		return func(m *misfits) {
			for range n {
				m.count(why)
			}
		}
	}
	cases := map[string]struct {
		reason string
		in     []func(*misfits)
		want   string
	}{
		"Most": {"what holds on most nodes, and how near the nearest comes", []func(*misfits){
			short(tooFull[gpu], node("a", 4, 1), node("b", 4, 2), node("c", 4, 2)), times("taint x is not tolerated", 1)},
			"node b, which comes nearest, has 2 free of the 3 GPUs that it needs"},
		"Full":    {"nothing is near when all is taken", []func(*misfits){short(tooFull[gpu], node("a", 4, 0), node("b", 4, 0))}, "no node has a GPU free"},
		"Small":   {"an empty node would not do", []func(*misfits){short(tooSmall[gpu], node("a", 1, 0), node("b", 2, 0))}, "the largest node, b, has 2 of the 3 GPUs that it needs"},
		"Counted": {"of what is no shortage, on how many", []func(*misfits){times("taint x is not tolerated", 3), short(tooFull[gpu], node("a", 4, 1))}, "3 of 4 nodes: taint x is not tolerated"},
		"Tie":     {"among equals the first by name, so that the text does not change", []func(*misfits){times("b", 1), times("a", 1)}, "1 of 2 nodes: a"},
		"NoGPUs": {"that CPU nodes have no GPUs is no news where there are GPU nodes", []func(*misfits){
			times(noGPUs, 40), short(tooFull[gpu], node("a", 4, 1))}, "node a, which comes nearest, has 1 free of the 3 GPUs that it needs"},
		"Only":    {"where there are none it is", []func(*misfits){times(noGPUs, 40)}, "no node has GPUs"},
		"Nothing": {"there is nothing to count", nil, "there are no nodes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := &misfits{request: snapshot.Resources{MilliGPU: 3000}, nodes: map[string]int{}, nearest: map[string]near{}}
			for _, add := range c.in {
				add(m)
			}
			if got := m.text(); got != c.want {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}
