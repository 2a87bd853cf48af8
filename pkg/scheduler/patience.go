package scheduler

import (
	"time"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// patience is how long a gang waits for nodes rather than evict others: not at all when it is of
// those that are served at once, else what its queue says.
func (d *decision) patience(g *snapshot.Gang) time.Duration {
	b := d.boundsOf(g.Queue)
	if g.NonPreemptible || b == nil || b.PreferScaleUp <= 0 {
		return -1
	}
	return b.PreferScaleUp
}

// boundsOf are the bounds on buying for a queue; nil: nothing may be bought.
func (d *decision) boundsOf(queue string) *snapshot.Bounds {
	a := d.ledger.accounts[queue]
	if a == nil {
		return d.s.DefaultBounds
	}
	if !a.asked {
		a.bounds, a.asked = scaling.BoundsOf(d.s, a.chain), true
	}
	return a.bounds
}

// expected is how long nodes for a gang would take: those under way, else the soonest that could be
// bought.
func (d *decision) expected(q *demand, open *scaling.Progress, f *failure) time.Duration {
	if open != nil {
		return max(0, open.ETA.Sub(d.s.Now))
	}
	if mark := d.room.mark(); !f.full {
		if d.room.tryAll(q.pods, q.gang.ID, coming) {
			at := d.arrival(mark)
			d.room.undo(mark)
			return max(0, at.Sub(d.s.Now))
		}
	}
	soonest := time.Duration(unlimited)
	if len(d.offers) == 0 {
		return soonest
	}
	for _, o := range d.rungs(d.boundsOf(q.gang.Queue)) {
		if o.Refused == "" && o.More > 0 {
			soonest = min(soonest, o.ETA)
		}
	}
	return soonest
}
