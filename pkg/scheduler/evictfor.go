package scheduler

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
)

// evictionWindow is how long a gang for which others were evicted may not have more evicted: if
// that did not help, evicting again is not what helps. What is bound now was helped.
const evictionWindow = 5 * time.Minute

// evictFor makes room by evicting others, where the gang has the right to. See makeRoom. f is what stands in
// the way of it; nil: a limit does.
func (d *decision) evictFor(q *demand, f *failure) bool {
	g := q.gang
	if g.NeverEvicts || q.elastic && g.Starting { // it starts with what it has, and grows when it runs
		return false
	}
	if !g.EvictedAt.IsZero() && len(q.bind) == 0 && d.s.Now.Before(g.EvictedAt.Add(evictionWindow)) {
		d.look(g.EvictedAt.Add(evictionWindow))
		return false
	}
	// What is moved needs room itself: it helps only where there is enough, in the wrong places.
	move := !g.NonPreemptible && q.need.MilliGPU > 0 && q.need.MilliGPU <= d.room.free(g.ID).MilliGPU
	like := rights{g.Queue, q.kind, g.Priority}
	if kept, powerless := d.powerless[like]; powerless && q.kind != "" {
		q.kept = kept
		return false
	}
	var e *eviction
	if move {
		e = d.makeRoom(q, true)
	}
	if e == nil && (move || plainly != nil || len(d.exposed(g)) > 0) {
		e = d.makeRoom(q, false)
	}
	if e == nil {
		q.kept = d.kept(q, f)
		if q.kind != "" { // whatever is like it comes later, and has no more rights than the older one
			d.powerless[like] = q.kept
		}
		return false
	}
	d.ledger.charge(g, q.need)
	d.ledger.claim(g, q.need)
	d.freed++
	clear(d.hopeless) // what leaves may be more than the gang needs
	steps := e.steps()
	d.evictions = append(d.evictions, steps...)
	q.said.Reason = plan.WaitingForPreemption
	q.said.Message = fmt.Sprintf("%s of %s %s being evicted for it; %s", pods(e.count()), others(steps), are(e.count()), wait(len(q.pods)))
	q.said.Doing = "Binding as soon as their room is free"
	return true
}

// others names the gangs that are evicted, or counts them.
func others(steps []plan.Step) string {
	if len(steps) == 1 {
		return steps[0].(plan.Evict).Gang.String() //nolint:forcetypeassert // evictions only
	}
	return fmt.Sprintf("%d other workloads", len(steps))
}
