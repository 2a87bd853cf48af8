package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// packable says whether pods of these sizes (milli-GPU) can be put on nodes with this room, all of
// them, by trying everything.
func packable(pods, room []int64) bool {
	if len(pods) == 0 {
		return true
	}
	tried := map[int64]bool{}
	for k, free := range room {
		if free < pods[0] || tried[free] {
			continue
		}
		tried[free] = true
		room[k] -= pods[0]
		ok := packable(pods[1:], room)
		room[k] += pods[0]
		if ok {
			return true
		}
	}
	return false
}

// bestInOrder is the most that can be placed when gangs are served in order and each gets its place
// if there is any way to give it one beside those before it. It returns the milli-GPUs placed.
func bestInOrder(gangs []*snapshot.Gang, room []int64) (placed int64) {
	var taken []int64
	for _, g := range gangs {
		with := slices.Clone(taken)
		size := int64(0)
		for _, p := range g.Members {
			with = append(with, p.Request.MilliGPU)
			size += p.Request.MilliGPU
		}
		slices.SortFunc(with, func(a, b int64) int { return int(b - a) })
		if packable(with, slices.Clone(room)) {
			taken = with
			placed += size
		}
	}
	return placed
}

func TestPlacementAgainstBruteForce(t *testing.T) {
	const cases = 2000
	var gaps []float64
	for seed := range uint64(cases) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable, not secret
		w := newWorld(t)
		w.queue("q", "", free, free)
		var room []int64
		for range 1 + r.IntN(6) {
			gpus := []int64{1, 2, 4, 8}[r.IntN(4)]
			w.nodes(1, gpus)
			room = append(room, gpus*1000)
		}
		for k := range 1 + r.IntN(5) {
			n := 1 + r.IntN(4)
			g := w.gang(fmt.Sprintf("g%d", k), "q", 50, n, n)
			size := []int64{1000, 1000, 2000, 4000}[r.IntN(4)]
			for _, p := range g.Members {
				p.Request.MilliGPU = size
			}
			g.Groups[0].Request.MilliGPU = size
			g.Shape = fmt.Sprint(n, size)
		}
		best := bestInOrder(w.s.Gangs, room)
		ours := int64(0)
		for _, s := range scheduler.Decide(w.s, everywhere{}).Steps {
			b, ok := s.(plan.Bind)
			if !ok {
				t.Fatalf("seed %d: %s on empty nodes", seed, s)
			}
			for _, g := range w.s.Gangs {
				if g.Name == b.Gang.Name {
					ours += int64(len(b.Assignments)) * g.Members[0].Request.MilliGPU
				}
			}
		}
		if ours < best {
			gaps = append(gaps, float64(best-ours)/float64(best))
		} else {
			gaps = append(gaps, 0) // more than in order: a gang that did not fit left room for a later one
		}
	}
	slices.Sort(gaps)
	p50, p99 := gaps[cases/2], gaps[cases*99/100]
	t.Logf("GPUs placed below the best possible in queue order, %d cases: p50 %.1f %%, p99 %.1f %%", cases, 100*p50, 100*p99)
	if p50 > 0 || p99 > 0.05 {
		t.Errorf("the gap to the best possible has grown: p50 %.3f (want 0), p99 %.3f (want at most 0.05)", p50, p99)
	}
}
