package scheduler

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// dimension is one of the resources that are divided, each for itself.
type dimension int

const (
	gpu dimension = iota
	cpu
	memory
	dimensions
)

// String is the name in verdicts.
func (d dimension) String() string { return [...]string{"gpu", "cpu", "memory"}[d] }

// named is the dimension of a name; dimensions where there is none.
func named(name string) dimension {
	for d := range dimensions {
		if d.String() == name {
			return d
		}
	}
	return dimensions
}

// unit is the smallest amount of surplus that is handed out: a device, a millicore, a byte.
func (d dimension) unit() int64 {
	if d == gpu {
		return 1000
	}
	return 1
}

// of reads one dimension.
func (d dimension) of(r snapshot.Resources) int64 {
	switch d {
	case gpu:
		return r.MilliGPU
	case cpu:
		return r.MilliCPU
	}
	return r.Memory
}

// set writes one dimension.
func (d dimension) set(r *snapshot.Resources, v int64) {
	switch d {
	case gpu:
		r.MilliGPU = v
	case cpu:
		r.MilliCPU = v
	default:
		r.Memory = v
	}
}

// unlimited stands for a ceiling that is not there, in comparisons.
const unlimited = math.MaxInt64

// ceiling reads one dimension of a queue's ceiling.
func (d dimension) ceiling(c snapshot.Ceiling) int64 {
	v := d.of(snapshot.Resources(c))
	if v == snapshot.Unlimited {
		return unlimited
	}
	return v
}

// claim is one queue's part in a division of one resource.
type claim struct {
	account *account
	want    int64 // what it could use: its demand, capped by its limit
	weight  int64
	fair    int64
	crumb   uint64 // what rounding kept from it, as a fraction of 2^64
}

// divideAll divides capacity top-down: the top queues share the total, children what their parent
// got. See the KAI reference, "Fair share"; unlike there everything is integers in a fixed order. Where
// neither the total nor what queues ask for has changed since the last time, the shares have not.
func (l *ledger) divideAll(total snapshot.Resources) {
	again := total != l.divided
	l.divided = total
	divideAmong(l.roots, total, again)
}

func divideAmong(siblings []*account, total snapshot.Resources, again bool) {
	for _, a := range siblings {
		again = again || a.requested != a.dividedFor || !a.divided
	}
	if again {
		for d := range dimensions {
			divide(siblings, d, d.of(total))
		}
	}
	for _, a := range siblings {
		changed := !a.divided || a.fair != a.given
		a.dividedFor, a.given, a.divided = a.requested, a.fair, true
		divideAmong(a.children, a.fair, changed)
	}
}

// divide gives every sibling its quota first, and the surplus by priority and weight.
func divide(siblings []*account, d dimension, total int64) {
	claims, all := make([]*claim, 0, len(siblings)), make([]claim, len(siblings))
	rest := total
	for k, a := range siblings {
		c := &all[k]
		*c = claim{account: a, want: min(d.of(a.requested), d.ceiling(a.queue.Limit)), weight: d.of(a.queue.Weight)}
		quota := d.ceiling(a.queue.Quota)
		if quota == unlimited {
			quota = total
		}
		c.fair = min(quota, c.want)
		rest -= c.fair // may go below zero: oversubscribed quotas are not scaled down
		claims = append(claims, c)
	}
	slices.SortStableFunc(claims, func(x, y *claim) int {
		return cmp.Compare(y.account.queue.Priority, x.account.queue.Priority)
	})
	for first := 0; first < len(claims) && rest > 0; {
		last := first
		for last < len(claims) && claims[last].account.queue.Priority == claims[first].account.queue.Priority {
			last++
		}
		rest = surplus(claims[first:last], d.unit(), rest)
		first = last
	}
	for first := 0; first < len(claims) && rest > 0; {
		last := first
		for last < len(claims) && claims[last].account.queue.Priority == claims[first].account.queue.Priority {
			last++
		}
		rest = crumbs(claims[first:last], d.unit(), rest)
		first = last
	}
	for _, c := range claims {
		d.set(&c.account.fair, c.fair)
	}
}

// surplus divides rest among the claims of one priority by weight, in rounds: what a satisfied queue
// leaves goes to the others. It returns what nobody wants or rounding keeps.
func surplus(tier []*claim, unit, rest int64) int64 {
	for {
		weights := int64(0)
		for _, c := range tier {
			if c.want > c.fair {
				weights += c.weight
			}
		}
		if weights == 0 || rest <= 0 {
			return rest
		}
		pot, more := rest, false
		for _, c := range tier {
			need := c.want - c.fair
			if need <= 0 || c.weight == 0 || rest <= 0 {
				continue
			}
			slice, fraction := part(pot, c.weight, weights, unit)
			if need <= slice {
				c.fair += need
				rest -= need
				c.crumb = 0
				more = more || need < slice
				continue
			}
			c.fair += slice
			rest -= slice
			c.crumb = fraction
		}
		if !more {
			return rest
		}
	}
}

// part is pot*weight/weights rounded down to whole units, and what was cut off as a fraction of a
// unit.
func part(pot, weight, weights, unit int64) (whole int64, fraction uint64) {
	hi, lo := bits.Mul64(uint64(pot), uint64(weight))  //nolint:gosec // neither is negative
	quotient, _ := bits.Div64(hi, lo, uint64(weights)) //nolint:gosec // weight is at most weights
	cut := quotient % uint64(unit)                     //nolint:gosec // positive
	fraction, _ = bits.Div64(cut, 0, uint64(unit))     //nolint:gosec // cut is below unit
	return int64(quotient - cut), fraction             //nolint:gosec // at most pot
}

// crumbs hands out single units to those from whom rounding kept most, the older queue first.
func crumbs(tier []*claim, unit, rest int64) int64 {
	order := slices.Clone(tier)
	slices.SortStableFunc(order, func(x, y *claim) int {
		return cmp.Or(cmp.Compare(y.crumb, x.crumb),
			x.account.queue.Created.Compare(y.account.queue.Created),
			cmp.Compare(x.account.queue.Name, y.account.queue.Name))
	})
	for _, c := range order {
		if c.crumb == 0 || rest <= 0 {
			continue
		}
		give := min(unit, rest, c.want-c.fair)
		c.fair += give
		rest -= give
	}
	return rest
}
