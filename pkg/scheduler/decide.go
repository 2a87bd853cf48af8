package scheduler

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Fitter says why a pod cannot run on a node, or "" when it can. Room is the caller's to account;
// everything else that Kubernetes knows of pods and nodes is the Fitter's. placed are the pods that
// the decision under way has put on nodes and the cluster has not.
type Fitter interface {
	Fits(pod *snapshot.Pod, node *snapshot.Node, placed []snapshot.Placed) (why string)
}

// Decide makes the plan for a snapshot. The same snapshot gives the same plan.
func Decide(s *snapshot.Snapshot, fit Fitter) *plan.Plan {
	d := &decision{
		s:      s,
		plan:   &plan.Plan{Rev: s.Rev},
		ledger: newLedger(s),
		room:   newRoom(s, fit),
		offers: scaling.Offers(s),
	}
	d.budget = scaling.NewBudget(s, d.ledger.chain)
	var binds []plan.Step
	for _, g := range d.order() {
		v, bind := d.decide(g)
		d.plan.Verdicts = append(d.plan.Verdicts, v)
		if bind != nil {
			binds = append(binds, *bind)
		}
	}
	d.plan.Steps = append(d.plan.Steps, binds...)
	d.settleOrphans()
	releases, next := scaling.Releases(s, d.room.wanted)
	for _, r := range releases {
		d.plan.Steps = append(d.plan.Steps, r)
	}
	d.look(next)
	for _, o := range d.offers {
		d.look(o.Until)
		for _, u := range o.Group.Unfit {
			d.look(u.Until)
		}
	}
	sortVerdicts(d.plan.Verdicts)
	return d.plan
}

// decision is the state of one call of Decide.
type decision struct {
	s      *snapshot.Snapshot
	plan   *plan.Plan
	ledger *ledger
	room   *room
	offers []scaling.Offer
	budget *scaling.Budget
}

// look asks for another decision at a time; the earliest wins, zero asks for none.
func (d *decision) look(at time.Time) {
	if !at.IsZero() && (d.plan.NextLook.IsZero() || at.Before(d.plan.NextLook)) {
		d.plan.NextLook = at
	}
}

// order is who is served first: gangs that run and lost a member, then gangs whose nodes were
// bought, then first come, first served.
func (d *decision) order() []*snapshot.Gang {
	booked := map[snapshot.GangID]bool{}
	for _, b := range d.s.Bookings {
		booked[b.Gang] = true
	}
	rank := func(g *snapshot.Gang) int {
		for _, p := range g.Members {
			if p.Node != "" && !p.Terminating {
				return 0
			}
		}
		if booked[g.ID] {
			return 1
		}
		return 2
	}
	gangs := slices.Clone(d.s.Gangs)
	slices.SortStableFunc(gangs, func(a, b *snapshot.Gang) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return gangs
}

func sortVerdicts(vs []plan.Verdict) {
	slices.SortFunc(vs, func(a, b plan.Verdict) int {
		return cmp.Or(cmp.Compare(a.Gang.Namespace, b.Gang.Namespace), cmp.Compare(a.Gang.Kind, b.Gang.Kind),
			cmp.Compare(a.Gang.Name, b.Gang.Name), cmp.Compare(a.Gang.UID, b.Gang.UID))
	})
}

// bookings returns a gang's open bookings, oldest attempt first.
func (d *decision) bookings(g snapshot.GangID) []*snapshot.Booking {
	var bs []*snapshot.Booking
	for _, b := range d.s.Bookings {
		if b.Gang == g {
			bs = append(bs, b)
		}
	}
	return bs
}

// settleOrphans ends the bookings of gangs that are gone.
func (d *decision) settleOrphans() {
	alive := map[snapshot.GangID]bool{}
	for _, g := range d.s.Gangs {
		alive[g.ID] = true
	}
	for _, b := range d.s.Bookings {
		if !alive[b.Gang] {
			d.settle(b, plan.RequestReleased, "GangGone", "the gang that it was bought for is gone")
		}
	}
}

func (d *decision) settle(b *snapshot.Booking, state plan.RequestState, reason, message string) {
	d.plan.Steps = append(d.plan.Steps, plan.Settle{
		Namespace: b.Namespace, Request: b.Request, State: state, Reason: reason, Message: message})
}
