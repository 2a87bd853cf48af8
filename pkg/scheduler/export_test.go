package scheduler

import (
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// DecidePlainly is Decide without the index of room and without memory: it looks at every node for
// every pod.
func DecidePlainly(s *snapshot.Snapshot, fit Fitter) *plan.Plan {
	plainly = func(r *room, p *snapshot.Pod, g snapshot.GangID, upTo stage) (best *slot) {
		bestAt := bought
		r.each(func(sl *slot) {
			lent := upTo >= coming && r.lent(sl.booked, g, sl.node)
			if sl.stage > upTo && !lent || !r.forGang(sl, p, g) && !lent || r.outside(p, sl.node.Zone) {
				return
			}
			at, short, _ := r.stageFor(sl, p, upTo)
			if lent {
				at = max(sl.stage, coming)
			}
			if short == "" && (best == nil || r.better(p, g, sl, at, best, bestAt)) && r.open(sl, p) && r.fit.Fits(p, sl.node, r.placed) == "" {
				best, bestAt = sl, at
			}
		})
		return best
	}
	defer func() { plainly = nil }()
	return Decide(s, fit)
}
