package scheduler

import (
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
)

// converge brings queues whose limit was lowered below their use back under it, a bounded number of
// pods per decision: elastic members first, then whole gangs in the ordinary order of victims. Work
// that may not be evicted stays; the queue's report says so. What ends is nobody's before it is on its
// way out: a disruption budget may keep it, and who took its quota would be over the limit in its place.
func (d *decision) converge() {
	var ended []*chunk
	defer func() {
		for _, c := range ended {
			d.ledger.occupy(c.gang, c.request)
		}
	}()
	for k := range d.plan.Queues {
		r := &d.plan.Queues[k]
		a := d.ledger.accounts[r.Name]
		for dim := range dimensions {
			for dim.of(a.used) > dim.ceiling(a.queue.Limit) {
				c := d.surplusOf(a, dim)
				if c == nil {
					r.OverLimit = fmt.Sprintf("it uses %s of at most %s, and what is left may not be evicted",
						amount(a.used, dim.String()), allowed(a.queue.Limit, dim.String()))
					break
				}
				if d.tooMany(len(c.pods)) {
					return // the next decision goes on
				}
				ended = append(ended, d.end(c, fmt.Sprintf("because queue %s uses %s and its limit is %s", r.Name,
					amount(a.used, dim.String()), allowed(a.queue.Limit, dim.String()))))
			}
		}
	}
}

// surplusOf is the chunk below an account whose end costs least and gives back some of a resource.
func (d *decision) surplusOf(a *account, dim dimension) *chunk {
	var best *chunk
	var least cost
	for c := range d.stock().below(a, d.ledger) {
		pods, request := c.left(d.evicted)
		if len(pods) == 0 || dim.of(request) == 0 {
			continue
		}
		if cost := d.costOf(c, false); best == nil || cost.compare(least) < 0 {
			best, least = c, cost
		}
	}
	return best
}

// end evicts a chunk for no other gang's sake, and returns what was left of it. Chunks of one gang are one
// step.
func (d *decision) end(c *chunk, because string) *chunk {
	pods, request := c.left(d.evicted)
	step := plan.Evict{Gang: plan.OwnerOf(c.gang), Queue: c.gang.Queue, Because: because}
	at := slices.IndexFunc(d.evictions, func(s plan.Step) bool {
		e, ok := s.(plan.Evict)
		return ok && e.Gang == step.Gang && e.For.UID == ""
	})
	if at >= 0 {
		step = d.evictions[at].(plan.Evict) //nolint:forcetypeassert // found by its type
	}
	step.Whole = step.Whole || c.whole
	d.strike(c.gang, pods)
	for _, p := range pods {
		d.room.evict(p)
		step.Pods = append(step.Pods, plan.PodRef{Namespace: p.Namespace, Name: p.Name, UID: p.UID})
	}
	d.ledger.vacate(c.gang, request)
	d.spentVictims += len(pods)
	if at >= 0 {
		d.evictions[at] = step
	} else {
		d.evictions = append(d.evictions, step)
	}
	return &chunk{gang: c.gang, pods: pods, request: request}
}
