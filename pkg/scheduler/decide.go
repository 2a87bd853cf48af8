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
func Decide(s *snapshot.Snapshot, fit Fitter) *plan.Plan { return NewDecider(fit).Decide(s) }

// Decider decides again and again, and does not work out anew what has not changed since the last time:
// values in the snapshot that are the same pointers as before. Its plans are those of Decide. It belongs
// to one goroutine.
type Decider struct {
	fit   Fitter
	world *world
}

// NewDecider returns a Decider that has seen nothing yet.
func NewDecider(fit Fitter) *Decider { return &Decider{fit: fit, world: newWorld(fit, nil)} }

// Decide makes the plan for a snapshot.
func (dr *Decider) Decide(s *snapshot.Snapshot) *plan.Plan {
	if !dr.world.follow(s) {
		dr.world = newWorld(dr.fit, s.Queues)
		dr.world.follow(s)
	}
	defer dr.world.rest()
	d := &decision{
		world:     dr.world,
		s:         s,
		plan:      &plan.Plan{Rev: s.Rev},
		ledger:    dr.world.ledger,
		room:      dr.world.room,
		offers:    scaling.Offers(s),
		settled:   map[*snapshot.Booking]plan.RequestState{},
		bound:     map[snapshot.GangID]bool{},
		evicted:   map[string]bool{},
		struck:    map[snapshot.GangID]int{},
		unfit:     map[string][]snapshot.Unfit{},
		hopeless:  map[string]*failure{},
		powerless: map[rights]string{},
	}
	d.budget = scaling.NewBudget(s, d.ledger.chain, dr.world.spent)
	d.ledger.divideAll(d.room.total())
	d.plan.Queues = d.ledger.reports()
	d.settleOrphans()
	d.converge()
	d.takeIn()
	d.serve()
	d.consolidate()
	d.wind()
	d.plan.Looks = d.room.looks
	return d.plan
}

// decision is the state of one call of Decide.
type decision struct {
	world         *world
	s             *snapshot.Snapshot
	plan          *plan.Plan
	ledger        *ledger
	room          *room
	offers        []scaling.Offer
	cheapestFirst []scaling.Offer // the same in the order of rungs; nil: nobody has asked for it
	budget        *scaling.Budget
	works         []*work

	settled map[*snapshot.Booking]plan.RequestState // what this decision has said of bookings

	bound        map[snapshot.GangID]bool // gangs that this decision binds pods of: no victims
	evicted      map[string]bool          // pod UIDs that this decision evicts
	struck       map[snapshot.GangID]int  // how many of those for no other gang's sake
	spentVictims int
	evictions    []plan.Step
	keptAsked    int // how often it was asked who is kept by disruption budgets

	ends         []*muster // that run and are known to end, in that order; see endings
	knowsEndings bool
	aged         bool // something is kept for a gang that has waited long

	spares  []*work // whose next unit takes only what nobody else has a use for
	sparing bool    // it is their turn

	heard []snapshot.GangID // that had their turn, where the work is bounded

	unfit map[string][]snapshot.Unfit // by node group: what this decision learned beyond the snapshot

	// Room only shrinks in the course of a decision, but where something is given up. So whatever is
	// like a gang that failed before it fails too, and need not be tried.
	hopeless  map[string]*failure // by shape: no room, there or coming
	powerless map[rights]string   // no room by eviction either; see decision.kept
	freed     int                 // how often something was given up
}

// failure is what stood in the way of a shape of gang.
type failure struct {
	why    *misfits
	pod    *snapshot.Pod // the first that found no place
	found  int           // pods before it that did
	of     int
	full   bool // nodes on their way were tried too
	owners int  // as many gangs had nodes to lend of by then
	said   string
}

// text says how far the room reaches and what keeps the next pod away.
func (f *failure) text() string {
	switch {
	case f.said != "":
	case f.of == 1:
		f.said = f.why.text()
	case f.found == 0:
		f.said = fmt.Sprintf("there is room for none of %s; for the first, of group %s, %s", pods(f.of), f.pod.Group, f.why.text())
	default:
		f.said = fmt.Sprintf("there is room for %d of %s; for the next, of group %s, %s", f.found, pods(f.of), f.pod.Group, f.why.text())
	}
	return f.said
}

// rights are what two gangs share that may evict the same others for the same room.
type rights struct {
	queue, shape string
	priority     int32
}

// work is one gang on its way through the decision.
type work struct {
	*muster
	bookings []*snapshot.Booking
	grown    int            // elastic units that have a place, or wait for one that is held for them
	units    int            // their pods that are bound now
	making   int            // pods of theirs that are granted and do not exist yet
	replicas map[string]int // by worker group: of the units that have a place
	stopped  bool           // the next unit is not to be placed now
	verdict  plan.Verdict
	next     *plan.Verdict     // on the first elastic unit that is not bound
	bind     []snapshot.Placed // to be bound now
	basket   *basket           // what is bought; nil: nobody has looked for something to buy
	granted  bool              // some of its elastic units were granted a moment ago
	expects  bool              // pods have a place that do not exist yet
	holds    bool              // it waits for nodes that were bought for it
	held     []entry           // what it holds of them
}

// workOn starts work on a gang.
func (d *decision) workOn(m *muster) *work {
	w := d.world.blank()
	w.muster, w.bookings, w.verdict = m, d.world.bookings[m.gang.ID], plan.VerdictFor(m.gang, m.gang.Queue)
	w.granted = slices.ContainsFunc(m.elastic, func(u unit) bool { return d.granted(m.gang, &u) })
	d.works = append(d.works, w)
	return w
}

// takeIn looks at every gang that is not simply waiting its turn, and answers those at once for which
// there is nothing to place.
func (d *decision) takeIn() {
	for _, m := range d.world.musters {
		if m.rests() || m.queues() {
			continue
		}
		w := d.workOn(m)
		if b := d.unplaceable(w); b != nil {
			w.say(b)
			d.unbook(w)
			if b.reason == plan.ExceedsLimit || b.reason == plan.NonPreemptibleOverQuota { // it was bound in part before
				d.evictStale(w)
			}
		}
	}
}

// unplaceable says why a gang need not be placed, or nil.
func (d *decision) unplaceable(w *work) *blocked {
	g := w.gang
	switch {
	case !g.Suspended || len(w.running) > 0 || held(g):
	case g.Held:
		return &blocked{plan.Suspended, "it was stopped a moment ago, and its pods are still on their way out", ""}
	default:
		return &blocked{plan.Suspended, "its owner is suspended", ""}
	}
	if g.Invalid != "" {
		return &blocked{plan.Misconfigured, g.Invalid, "Mend the spec"}
	}
	if w.whole() {
		return nil // it runs; what the queue says of it concerns only further members
	}
	if b := d.ledger.admits(g); b != nil {
		return b
	}
	if b := d.ledger.possible(g, w.least); b != nil {
		return b
	}
	if b := w.incomplete(); b != nil {
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

// serve places what waits. First come those that have a claim on room already: gangs for which others
// were evicted, gangs that run and lost a member, gangs whose nodes were bought. The rest is
// served from the queue tree. Where the last decisions did not get through with all, those that they
// got to come last.
func (d *decision) serve() {
	for _, w := range d.works {
		if w.verdict.Reason == "" && w.whole() {
			w.verdict.Reason = plan.Running
			if len(w.elastic) == 0 {
				d.placed(w)
			}
		}
	}
	passed := map[snapshot.GangID]bool{}
	for _, id := range d.s.Passed {
		passed[id] = true
	}
	d.serveThose(func(m *muster) bool { return !passed[m.gang.ID] })
	if d.tired() {
		d.plan.Unfinished, d.plan.Passed = true, append(slices.Clone(d.s.Passed), d.heard...)
		return
	}
	if len(passed) > 0 { // all were heard: what is left of this decision is for whom the last ones had no room
		d.serveThose(func(m *muster) bool { return passed[m.gang.ID] })
	}
}

// hear notes that gangs had their turn.
func (d *decision) hear(musters ...*muster) {
	if d.s.Looks == 0 { // nobody asks
		return
	}
	for _, m := range musters {
		d.heard = append(d.heard, m.gang.ID)
	}
}

// tired says whether the decision has reached its bound on work.
func (d *decision) tired() bool { return d.s.Looks > 0 && d.room.looks >= d.s.Looks }

// serveThose serves some of the gangs.
func (d *decision) serveThose(these func(*muster) bool) {
	var claimed []*work
	queue := newLine(d.ledger, d.room.total())
	for _, w := range d.works {
		switch {
		case !these(w.muster) || w.verdict.Reason != "" && w.verdict.Reason != plan.Running:
		case w.claim() != nobody:
			claimed = append(claimed, w)
		case w.whole():
			d.grow(queue, w)
		default:
			queue.push(w.waiting())
		}
	}
	slices.SortStableFunc(claimed, func(a, b *work) int {
		return cmp.Or(cmp.Compare(a.claim(), b.claim()), falseFirst(a.whole(), b.whole()), cmp.Compare(b.gang.Priority, a.gang.Priority),
			a.gang.Created.Compare(b.gang.Created), cmp.Compare(a.gang.ID, b.gang.ID))
	})
	if d.serveClaims(queue, claimed); d.tired() {
		return
	}
	for _, a := range d.ledger.all {
		if len(a.waiting) > 0 {
			d.queueUp(queue, a, these)
		}
	}
	d.serveAll(queue)
	d.serveSpares()
	for _, w := range claimed {
		d.evictStale(w)
	}
}

// serveSpares lets gangs grow beyond their wish on what is left.
func (d *decision) serveSpares() {
	if len(d.spares) == 0 {
		return
	}
	d.sparing = true
	queue := newLine(d.ledger, d.room.total())
	for _, w := range d.spares {
		d.grow(queue, w)
	}
	d.spares = nil
	d.serveLine(queue)
	d.sparing = false
}

// serveAll serves a line, and again those that found no room where something was given up since.
func (d *decision) serveAll(queue *line) {
	for failed := d.serveLine(queue); len(failed) > 0; failed = d.serveLine(queue) {
		freed := false
		for _, f := range failed { // something was given up since they found no room
			if f.freed < d.freed && !d.tired() {
				queue.wait(f.gangs)
				freed = true
			}
		}
		if !freed {
			return
		}
	}
}

// queueUp lets gangs of a queue wait in the line, or says why none of them may.
func (d *decision) queueUp(queue *line, a *account, these func(*muster) bool) {
	waiting := a.waiting
	if len(d.s.Passed) > 0 {
		waiting = slices.DeleteFunc(slices.Clone(waiting), func(m *muster) bool { return !these(m) })
	}
	if len(waiting) == 0 {
		return
	}
	if b := d.ledger.admissible(a.queue.Name); b != nil {
		for _, m := range waiting {
			w := &work{muster: m, verdict: plan.VerdictFor(m.gang, m.gang.Queue)}
			w.say(b)
			m.answer(w.verdict)
		}
		return
	}
	queue.wait(waiting)
}

// spell is gangs that found no room, and what had been given up by then.
type spell struct {
	gangs []*muster
	freed int
}

// serveLine serves until nothing waits in the line, and returns those that found no room.
func (d *decision) serveLine(queue *line) (failed []spell) {
	for it := queue.next(); it != nil && !d.tired(); it = queue.next() {
		w, first, elastic := it.work, it.work == nil, it.elastic
		if first {
			w = d.workAgain(it.muster)
		}
		d.hear(w.muster)
		var served bool
		if elastic {
			served = d.placeUnit(w)
		} else {
			served = d.turn(w)
		}
		if !served && first {
			gangs := queue.pass(it)
			if d.tired() { // who knows what it would have found
				w.verdict = plan.VerdictFor(w.gang, w.gang.Queue)
				break
			}
			d.hear(gangs[1:]...)
			failed = append(failed, spell{gangs, d.freed})
			w.answerAlike(w.verdict, gangs)
			d.reserve(w)
			continue
		}
		queue.take(it)
		if served && (elastic || len(w.bind) > 0) {
			d.grow(queue, w)
		}
	}
	return failed
}

// workAgain starts work on a gang that waits in the line, or takes up what was started before.
func (d *decision) workAgain(m *muster) *work {
	if d.freed == 0 { // nobody is served twice
		return d.workOn(m)
	}
	k := slices.IndexFunc(d.works, func(w *work) bool { return w.muster == m })
	if k < 0 {
		return d.workOn(m)
	}
	d.works[k].verdict = plan.VerdictFor(m.gang, m.gang.Queue)
	return d.works[k]
}

// turn places a gang whose turn it is. It returns false where it has to wait with nothing held for it.
func (d *decision) turn(w *work) bool {
	if w.holds {
		return d.trade(w)
	}
	if w.queues() {
		if b := d.ledger.possible(w.gang, w.least); b != nil {
			w.say(b)
			return false
		}
	}
	return d.place(w.base())
}

// grow puts a gang's next elastic unit in the line, if there is one. What takes only room that nobody else
// has a use for comes when everybody has had his turn.
func (d *decision) grow(queue *line, w *work) {
	if w.grown == len(w.elastic) || d.shrinks(w) {
		return
	}
	unit := &w.elastic[w.grown]
	switch {
	case unit.short:
		return
	case !d.wanted(w.gang, unit):
		w.stopped = true
		return
	case unit.spare && !d.sparing:
		d.spares = append(d.spares, w)
		return
	}
	if b := d.ledger.admits(w.gang); b != nil {
		w.next = &plan.Verdict{}
		say(w.next, b)
		return
	}
	queue.push(&item{muster: w.muster, work: w, pods: unit.pods, elastic: true, request: sumOf(unit.pods)})
}

// placeUnit finds a place for a gang's next elastic unit, which has the rights of the gang. It returns
// false where nothing is held for it: those behind it wait as well.
func (d *decision) placeUnit(w *work) bool {
	q := w.unit()
	ok := d.place(q)
	w.note(q, ok)
	return ok
}

// note keeps what came of an elastic unit.
func (w *work) note(q *demand, ok bool) {
	if ok {
		if u := &w.elastic[w.grown]; u.replicas > 0 && (q.said.Reason == plan.Running || !w.gang.Starting) {
			if w.replicas == nil {
				w.replicas = map[string]int{}
			}
			w.replicas[u.group] += u.replicas
		}
		w.grown++
	}
	switch {
	case q.said.Reason == plan.Running && q.unborn():
		w.making += len(q.pods)
	case q.said.Reason == plan.Running:
		w.units += len(q.pods)
	case w.next == nil:
		w.next = q.said
	}
}

// shrinks says whether this decision evicts members of a gang: it is not given others instead.
func (d *decision) shrinks(w *work) bool {
	return slices.ContainsFunc(w.running, func(p *snapshot.Pod) bool { return d.evicted[p.UID] })
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
		return fmt.Sprintf("%s of it %s being evicted %s", pods(len(e.Pods)), are(len(e.Pods)), e.Because)
	}
	return ""
}

// wind turns what was decided into steps and verdicts, in the order of the plan.
func (d *decision) wind() {
	stops, resizes := d.carryOut()
	d.plan.Steps = append(d.plan.Steps, stops...)
	slices.SortStableFunc(d.works, func(a, b *work) int { return cmp.Compare(a.gang.ID, b.gang.ID) })
	for _, w := range d.works {
		if len(w.bind) > 0 {
			d.plan.Steps = append(d.plan.Steps, w.step())
		}
		if w.basket != nil {
			w.basket.checkout()
		}
		switch w.verdict.Reason {
		case plan.Running:
			if w.expects && len(w.missing) > 0 {
				d.letGo(w)
				break
			}
			w.progress()
		case "":
			w.verdict = w.unheard()
		}
		w.answer(w.verdict)
	}
	d.plan.Steps = append(d.plan.Steps, resizes...)
	d.holdIdle()
	warm := d.keepWarm()
	releases, next := scaling.Releases(d.s, func(name string) bool { return warm[name] || d.room.wanted(name) })
	for _, r := range releases {
		d.plan.Steps = append(d.plan.Steps, r)
	}
	d.look(next)
	idle, next := scaling.Suspensions(d.s)
	d.plan.Steps = append(d.plan.Steps, idle...)
	d.look(next)
	for _, o := range d.offers {
		d.look(o.Until)
		for _, u := range o.Group.Unfit {
			d.look(u.Until)
		}
		for _, r := range o.Group.Rejects {
			d.look(r.Until)
		}
	}
	d.tell()
}

// tell writes down the verdict of every gang.
func (d *decision) tell() {
	d.plan.Verdicts = make([]*plan.Verdict, len(d.world.musters))
	for k, m := range d.world.musters {
		if m.verdict == nil && m.queues() {
			m.answer(m.unheard())
		} else if m.verdict == nil { // it rests
			w := work{muster: m, verdict: plan.VerdictFor(m.gang, m.gang.Queue)}
			w.verdict.Reason = plan.Running
			w.progress()
			m.answer(w.verdict)
		}
		d.plan.Verdicts[k] = m.verdict
	}
	for _, step := range d.evictions {
		e, ok := step.(plan.Evict)
		if !ok {
			continue
		}
		k, there := slices.BinarySearchFunc(d.s.Gangs, e.Gang.Gang(), func(g *snapshot.Gang, id snapshot.GangID) int { return cmp.Compare(g.ID, id) })
		if there && d.plan.Verdicts[k].Reason == plan.Running {
			news := *d.plan.Verdicts[k]
			news.Message = d.evictionOf(d.s.Gangs[k])
			d.plan.Verdicts[k] = &news
		}
	}
}

// look asks for another decision at a time; the earliest wins, zero asks for none.
func (d *decision) look(at time.Time) {
	if at.After(d.s.Now) && (d.plan.NextLook.IsZero() || at.Before(d.plan.NextLook)) {
		d.plan.NextLook = at
	}
}

// settleOrphans ends the bookings of gangs that are gone.
func (d *decision) settleOrphans() {
	for _, b := range d.s.Bookings {
		switch {
		case b.Warm:
			d.settleWarm(b)
		case d.s.Gang(b.Gang) == nil:
			d.settle(b, plan.RequestReleased, "GangGone", "the gang that it was bought for is gone")
		}
	}
}

// giveUp notes that there may be more room than there was.
func (d *decision) giveUp() {
	d.freed++
	clear(d.hopeless)
	clear(d.powerless)
}

func (d *decision) settle(b *snapshot.Booking, state plan.RequestState, reason, message string) {
	d.settled[b] = state
	if state != plan.RequestReady {
		d.room.unbook(b)
		d.giveUp()
	}
	step := plan.Settle{Namespace: b.Namespace, Request: b.Request, State: state, Reason: reason, Message: message}
	if state == plan.RequestReady {
		step.Boots = scaling.Boots(d.s, b)
	}
	d.plan.Steps = append(d.plan.Steps, step)
}
