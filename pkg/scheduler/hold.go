package scheduler

import (
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
)

// holdFor is how far off the next try to buy may be for idle nodes to be held until then. Refusals in
// a row soon last longer: nodes that serve nobody are not paid for without end.
const holdFor = 10 * time.Minute

// holdIdle keeps idle nodes that gangs will use together with what cannot be bought right now: given
// back, they would have to be bought as well.
func (d *decision) holdIdle() {
	if due, _ := scaling.Releases(d.s, d.room.wanted); len(due) == 0 {
		return
	}
	for _, m := range d.world.musters {
		if m.verdict == nil {
			continue
		}
		switch v := m.verdict; {
		case v.Reason != plan.CapacityUnavailable && v.Reason != plan.BoundReached:
		case !v.ETA.After(d.s.Now) || v.ETA.Sub(d.s.Now) > holdFor:
		default:
			for _, p := range m.missing {
				d.room.placeOne(p, m.gang.ID, usable)
			}
		}
	}
}
