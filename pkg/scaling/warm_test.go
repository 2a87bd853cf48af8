package scaling_test

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestCheapestSet(t *testing.T) {
	cases := map[string]struct {
		reason string
		nodes  []scaling.Idle
		need   int64
		want   []bool
	}{
		"Nothing":  {"nothing is needed", []scaling.Idle{{"a", 1, 1}}, 0, []bool{false}},
		"TooFew":   {"all stay where all are too few", []scaling.Idle{{"a", 1, 5}, {"b", 1, 9}}, 3, []bool{true, true}},
		"OneBig":   {"four small ones cost more than one big one", []scaling.Idle{{"a", 1, 3}, {"b", 1, 3}, {"c", 4, 5}}, 2, []bool{false, false, true}},
		"Earlier":  {"equal ones stay in their order", []scaling.Idle{{"a", 1, 1}, {"b", 1, 1}, {"c", 1, 1}}, 2, []bool{true, true, false}},
		"FewNodes": {"for the same money, fewer machines", []scaling.Idle{{"a", 1, 2}, {"b", 1, 2}, {"c", 2, 4}}, 2, []bool{false, false, true}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, scaling.CheapestSet(tc.nodes, tc.need)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestCheapestSetAgainstBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		nodes := make([]scaling.Idle, 1+random.IntN(7))
		for k := range nodes {
			nodes[k] = scaling.Idle{GPUs: 1 + random.Int64N(8), Price: snapshot.Dollars(1 + random.IntN(10))}
		}
		need := random.Int64N(20)
		set := uint(0)
		for k, in := range scaling.CheapestSet(nodes, need) {
			if in {
				set |= 1 << k
			}
		}
		all := int64(0)
		for _, n := range nodes {
			all += n.GPUs
		}
		need = min(need, all)
		sum := func(set uint) (gpus int64, price snapshot.Dollars) {
			for k, n := range nodes {
				if set>>k&1 == 1 {
					gpus, price = gpus+n.GPUs, price+n.Price
				}
			}
			return gpus, price
		}
		gpus, price := sum(set)
		if gpus < need {
			t.Fatalf("%v: %b has %d of %d GPUs", nodes, set, gpus, need)
		}
		for other := range uint(1) << len(nodes) {
			g, p := sum(other)
			if g >= need && (p < price || p == price && bits.OnesCount(other) < bits.OnesCount(set)) {
				t.Fatalf("%v: for %d GPUs %b costs %d, and %b only %d", nodes, need, set, price, other, p)
			}
		}
	}
}
