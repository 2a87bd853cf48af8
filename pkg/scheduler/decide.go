package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Fitter says why a pod cannot run on a node, or "" when it can. Room is the caller's to account;
// everything else that Kubernetes knows of pods and nodes is the Fitter's. placed are the pods that
// the decision under way has put on nodes and the cluster has not; one without a node has left.
type Fitter interface {
	Fits(pod *snapshot.Pod, node *snapshot.Node, placed []snapshot.Placed) (why string)
}

// Decide makes the plan for a snapshot. The same snapshot gives the same plan.
func Decide(s *snapshot.Snapshot, fit Fitter) *plan.Plan {
	d := &decision{
		s:         s,
		plan:      &plan.Plan{Rev: s.Rev},
		ledger:    newLedger(s),
		room:      newRoom(s, fit),
		offers:    scaling.Offers(s),
		settled:   map[*snapshot.Booking]bool{},
		bound:     map[snapshot.GangID]bool{},
		evicted:   map[string]bool{},
		unfit:     map[string][]snapshot.Unfit{},
		hopeless:  map[string]*failure{},
		powerless: map[rights]bool{},
	}
	d.budget = scaling.NewBudget(s, d.ledger.chain)
	divideAll(d.ledger.roots, d.room.total())
	d.plan.Queues = d.ledger.reports()
	d.settleOrphans()
	d.converge()
	works := d.takeIn()
	d.serve(works)
	d.wind(works)
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

	settled map[*snapshot.Booking]bool // bookings that this decision has said something final of, or Ready

	bound        map[snapshot.GangID]bool // gangs that this decision binds pods of: no victims
	victims      *victims                 // built when first needed
	evicted      map[string]bool          // pod UIDs that this decision evicts
	spentVictims int
	evictions    []plan.Step

	unfit map[string][]snapshot.Unfit // by node group: what this decision learned beyond the snapshot

	// Room only shrinks in the course of a decision. So whatever is like a gang that failed before
	// it fails too, and need not be tried.
	hopeless  map[string]*failure // by shape: no room, there or coming
	powerless map[rights]bool     // no room by eviction either
}

// failure is what stood in the way of a shape of gang.
type failure struct {
	why   misfits
	pod   *snapshot.Pod // the first that found no place
	found int           // pods before it that did
	of    int
	full  bool // nodes on their way were tried too
}

// text says how far the room reaches and what keeps the next pod away.
func (f *failure) text() string {
	if f.of == 1 {
		return fmt.Sprintf("it fits no node (%s)", firstOf(f.why))
	}
	return fmt.Sprintf("there is room for %d of %s; %s fits no node (%s)", f.found, pods(f.of), f.pod.Name, firstOf(f.why))
}

// rights are what two gangs share that may evict the same others for the same room.
type rights struct {
	queue, shape string
	priority     int32
}

// work is one gang on its way through the decision.
type work struct {
	gang     *snapshot.Gang
	muster   muster
	bookings []*snapshot.Booking
	verdict  plan.Verdict
	bind     []snapshot.Placed // to be bound now
	short    *blocked          // why the next elastic unit waits
	waiting  int               // elastic pods left over
}

// takeIn musters every gang and answers those at once for which there is nothing to place.
func (d *decision) takeIn() []*work {
	booked := map[snapshot.GangID][]*snapshot.Booking{}
	for _, b := range d.s.Bookings {
		booked[b.Gang] = append(booked[b.Gang], b)
	}
	works := make([]*work, 0, len(d.s.Gangs))
	for _, g := range d.s.Gangs {
		w := &work{gang: g, muster: musterOf(g), bookings: booked[g.ID], verdict: plan.VerdictFor(g, g.Queue)}
		if b := d.unplaceable(w); b != nil {
			w.say(b)
			d.unbook(w)
		}
		works = append(works, w)
	}
	return works
}

// unplaceable says why a gang need not be placed, or nil.
func (d *decision) unplaceable(w *work) *blocked {
	g := w.gang
	if g.Suspended && len(w.muster.running) == 0 {
		return &blocked{plan.Suspended, "its owner is suspended", ""}
	}
	if g.Invalid != "" {
		return &blocked{plan.Misconfigured, g.Invalid, "Mend the spec"}
	}
	if w.muster.whole() {
		return nil // it runs; what the queue says of it concerns only further members
	}
	if b := d.ledger.admissible(g.Queue); b != nil {
		return b
	}
	if b := d.ledger.possible(g, minimum(g)); b != nil {
		return b
	}
	if b := w.muster.incomplete(g); b != nil {
		if settled := g.Created.Add(assembly); g.LastVerdict == "" && d.s.Now.Before(settled) {
			w.verdict.Early = true
			d.look(settled)
		}
		return b
	}
	if d.s.Now.Before(g.HeldUntil) {
		d.look(g.HeldUntil)
		w.verdict.Doing = "Trying again after a while; other work goes on"
		return &blocked{plan.BindRejected, "the API server refused to bind one of its pods", "Look at the admission policies for pods/binding"}
	}
	return nil
}

// unbook ends the bookings of a gang that will not use them as things stand: nodes must not stand
// idle and reserved for work that is suspended or forbidden. One whose pods are merely late, or whose
// bind was refused a moment ago, keeps them for as long as nodes may take to come.
func (d *decision) unbook(w *work) {
	if r := w.verdict.Reason; r == plan.GangIncomplete || r == plan.BindRejected {
		d.track(w, nil)
		return
	}
	for _, b := range w.bookings {
		d.settle(b, plan.RequestReleased, "NotNeeded", "the gang does not start: "+w.verdict.Message)
	}
}

// assembly is how long a gang's pods may take to appear before anyone is told that some are missing.
const assembly = 20 * time.Second

// serve places what waits. First come those that have a claim on room already: gangs that run and
// lost a member, gangs for which others were evicted, gangs whose nodes were bought. The rest is
// served from the queue tree.
func (d *decision) serve(works []*work) {
	var claimed []*work
	var items []*item
	rank := map[*work]int{}
	for _, w := range works {
		switch {
		case w.verdict.Reason != "":
		case w.muster.whole():
			d.runs(w)
			if it := w.next(); it != nil {
				items = append(items, it)
			}
		case len(w.muster.running) > 0, !w.gang.EvictedAt.IsZero(), len(w.bookings) > 0:
			claimed = append(claimed, w)
			switch {
			case len(w.muster.running) > 0:
			case !w.gang.EvictedAt.IsZero():
				rank[w] = 1
			default:
				rank[w] = 2
			}
		default:
			items = append(items, &item{work: w, pods: w.muster.missing, request: sumOf(w.muster.missing)})
		}
	}
	slices.SortStableFunc(claimed, func(a, b *work) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), cmp.Compare(b.gang.Priority, a.gang.Priority),
			a.gang.Created.Compare(b.gang.Created), cmp.Compare(a.gang.ID, b.gang.ID))
	})
	for _, w := range claimed {
		d.placeBase(w)
		d.evictStale(w)
		if len(w.bind) > 0 {
			if it := w.next(); it != nil {
				items = append(items, it)
			}
		}
	}
	queue := newLine(d.ledger, d.room.total(), d.admissible(items))
	for it := queue.next(); it != nil; it = queue.next() {
		w := it.work
		var placed bool
		if it.elastic {
			placed = d.placeElastic(w, it)
		} else {
			d.placeBase(w)
			placed = len(w.bind) > 0
		}
		if more := w.next(); placed && more != nil {
			queue.push(more)
		}
		queue.served(w.gang.Queue)
	}
}

// admissible drops growth in queues that do not take work, and says so.
func (d *decision) admissible(items []*item) []*item {
	return slices.DeleteFunc(items, func(it *item) bool {
		b := d.ledger.admissible(it.work.gang.Queue)
		if b != nil && it.elastic {
			it.work.short = b
		}
		return b != nil
	})
}

// next is the gang's next elastic unit, or nil.
func (w *work) next() *item {
	if w.waiting = 0; len(w.muster.elastic) == 0 {
		return nil
	}
	for _, u := range w.muster.elastic {
		w.waiting += len(u)
	}
	unit := w.muster.elastic[0]
	return &item{work: w, pods: unit, elastic: true, request: sumOf(unit)}
}

// placeElastic gives a unit room that is free now, or notes why it waits.
func (d *decision) placeElastic(w *work, it *item) bool {
	if d.shrinks(w) {
		return false
	}
	if b := d.ledger.within(w.gang, it.request); b != nil {
		w.short = b
		return false
	}
	mark := d.room.mark()
	if why, _ := d.room.placeAll(it.pods, w.gang.ID, usable); why != nil {
		w.short = &blocked{reason: plan.NoNodeFits, message: firstOf(why)}
		return false
	}
	placed, _ := d.room.since(mark)
	w.bind = append(w.bind, placed...)
	d.pin(w)
	d.ledger.charge(w.gang, it.request)
	w.muster.elastic = w.muster.elastic[1:]
	return true
}

// shrinks says whether this decision evicts members of a gang: it is not given others instead.
func (d *decision) shrinks(w *work) bool {
	return slices.ContainsFunc(w.muster.running, func(p *snapshot.Pod) bool { return d.evicted[p.UID] })
}

// evictionOf says how much of a gang this decision evicts and why, or "".
func (d *decision) evictionOf(g *snapshot.Gang) string {
	for _, step := range d.evictions {
		e, ok := step.(plan.Evict)
		if !ok || e.Gang.UID != g.UID {
			continue
		}
		if e.Whole {
			return "it is being evicted as a whole " + e.Because
		}
		return fmt.Sprintf("%s of it are being evicted %s", pods(len(e.Pods)), e.Because)
	}
	return ""
}

// wind turns what was decided into steps and verdicts, in the order of the plan.
func (d *decision) wind(works []*work) {
	d.plan.Steps = append(d.plan.Steps, d.evictions...)
	for _, w := range works {
		if len(w.bind) > 0 {
			d.plan.Steps = append(d.plan.Steps, w.step())
		}
		if w.verdict.Reason == plan.Running {
			w.verdict.Message = w.progress()
			if news := d.evictionOf(w.gang); news != "" {
				w.verdict.Message = news
			}
		}
		d.plan.Verdicts = append(d.plan.Verdicts, w.verdict)
	}
	d.holdIdle(works)
	warm := d.keepWarm()
	releases, next := scaling.Releases(d.s, func(name string) bool { return warm[name] || d.room.wanted(name) })
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
	slices.SortFunc(d.plan.Verdicts, func(a, b plan.Verdict) int {
		return cmp.Or(cmp.Compare(a.Gang.Namespace, b.Gang.Namespace), cmp.Compare(a.Gang.Kind, b.Gang.Kind),
			cmp.Compare(a.Gang.Name, b.Gang.Name), cmp.Compare(a.Gang.UID, b.Gang.UID))
	})
}

// look asks for another decision at a time; the earliest wins, zero asks for none.
func (d *decision) look(at time.Time) {
	if at.After(d.s.Now) && (d.plan.NextLook.IsZero() || at.Before(d.plan.NextLook)) {
		d.plan.NextLook = at
	}
}

// settleOrphans ends the bookings of gangs that are gone.
func (d *decision) settleOrphans() {
	alive := map[snapshot.GangID]bool{}
	for _, g := range d.s.Gangs {
		alive[g.ID] = true
	}
	for _, b := range d.s.Bookings {
		if b.Warm {
			d.settleWarm(b)
			continue
		}
		if !alive[b.Gang] {
			d.settle(b, plan.RequestReleased, "GangGone", "the gang that it was bought for is gone")
		}
	}
}

func (d *decision) settle(b *snapshot.Booking, state plan.RequestState, reason, message string) {
	d.settled[b] = true
	if state != plan.RequestReady {
		d.room.unbook(b)
		clear(d.hopeless) // there is more room than when they failed
		clear(d.powerless)
	}
	step := plan.Settle{Namespace: b.Namespace, Request: b.Request, State: state, Reason: reason, Message: message}
	if state == plan.RequestReady {
		step.Boots = scaling.Boots(d.s, b)
	}
	d.plan.Steps = append(d.plan.Steps, step)
}
