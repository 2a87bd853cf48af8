package purchase

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/capmgr/capmgr/test/bench/decision"
)

// Times are what planning the purchases for all gangs takes, in processor time.
type Times struct {
	Capmgr, Estimator time.Duration
	Ours, Theirs      Cart
}

// Measure plans once for so many gangs over machines in so many zones, and asks the estimator the same.
func Measure(gangs, zones int, seed uint64) (Times, error) {
	var out Times
	w, err := newWorld(draw(rand.New(rand.NewPCG(seed, 0)), gangs), machines, zones) //nolint:gosec // repeatable, not secret
	if err != nil {
		return out, err
	}
	s := w.mirror.Snapshot(epoch)
	ask, err := estimate(w, s)
	if err != nil {
		return out, err
	}
	out.Capmgr = decision.Processor(func() { out.Ours = cartOf(w.decide(s)) })
	out.Estimator = decision.Processor(func() { out.Theirs, err = ask() })
	if err == nil && out.Ours.Gangs != out.Theirs.Gangs {
		err = fmt.Errorf("the estimator has nodes for %d gangs, and the decision for %d", out.Theirs.Gangs, out.Ours.Gangs)
	}
	return out, err
}

// Gap is what is bought for one gang after the other, in all, as a ratio of the least.
type Gap struct {
	Cases          int
	Dollars, Nodes float64
}

// Compare buys for many small gangs, each in a world of its own, and compares with brute force.
func Compare(cases int, seed uint64) (Gap, error) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable, not secret
	var ours, best Cart
	for range cases {
		g := draw(r, 1)[0]
		g.workers = 1 + r.IntN(4)
		var offered []machine
		for _, k := range r.Perm(len(machines) - 1)[:1+r.IntN(3)] {
			offered = append(offered, machines[k])
		}
		offered = append(offered, machines[len(machines)-1]) // for the head
		w, err := newWorld([]gang{g}, offered, 1)
		if err != nil {
			return Gap{}, err
		}
		s := w.mirror.Snapshot(epoch)
		got, want := cartOf(w.decide(s)), least(w, s, s.Gangs[0])
		if (got.Gangs == 0) != (want.Gangs == 0) {
			return Gap{}, fmt.Errorf("gang %+v over %d groups: bought %+v, the least is %+v", g, len(offered), got, want)
		}
		if want.Gangs == 0 { // no machine is large enough
			continue
		}
		ours.add(got)
		best.add(want)
	}
	return Gap{Cases: best.Gangs, Dollars: ours.Dollars / best.Dollars, Nodes: float64(ours.Nodes) / float64(best.Nodes)}, nil
}

func (c *Cart) add(o Cart) {
	c.Gangs += o.Gangs
	c.Nodes += o.Nodes
	c.Dollars += o.Dollars
}
