package scheduler

import (
	"cmp"
	"container/heap"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// item is one piece of waiting work: what a gang lacks of its minimum, or its next elastic unit.
type item struct {
	muster  *muster
	work    *work // nil until it is served
	pods    []*snapshot.Pod
	elastic bool // beyond the minimum
	request snapshot.Resources
}

// waiting is what a gang lacks of its minimum.
func (w *work) waiting() *item {
	return &item{muster: w.muster, work: w, pods: w.missing, request: w.need}
}

// compareMusters orders gangs that wait for their minimum within one leaf queue: priority, then first
// come.
func compareMusters(a, b *muster) int {
	x, y := a.gang, b.gang
	return cmp.Or(cmp.Compare(y.Priority, x.Priority), x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
}

// compareItems is the same for all work: what is short of its minimum goes before what grows.
func compareItems(a, b *item) int {
	rank := func(it *item) int {
		if it.elastic {
			return 1
		}
		return 0
	}
	x, y := a.muster.gang, b.muster.gang
	return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(rank(a), rank(b)),
		x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
}

// line is the waiting work of the queue tree, served one item at a time: from the top down, at each
// level the queue that comes first by the rules of the KAI reference, "Orders".
type line struct {
	ledger *ledger
	total  snapshot.Resources // of the capacity that is divided
	roots  order
}

// place is one queue's place in the line, represented by the item that comes first below it.
type place struct {
	waiting []*muster // of a leaf: gangs in their order, taken from the front
	others  []*item   // of a leaf: everything else that waits there, in its order
	below   order

	head item  // the first of those waiting
	best *item // nil: nothing waits
	key  key
	at   int // in the order of its siblings; -1: it is not there
}

// order is sibling queues with something waiting, the first to be served on top.
type order []*account

// Len, Less, Swap, Push and Pop are heap.Interface.
func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].place.key.compare(&o[j].place.key) < 0 }
func (o order) Swap(i, j int)      { o[i], o[j] = o[j], o[i]; o[i].place.at, o[j].place.at = i, j }

// Push adds a queue.
func (o *order) Push(x any) {
	a := x.(*account) //nolint:forcetypeassert // queues only
	a.place.at = len(*o)
	*o = append(*o, a)
}

// Pop removes the last queue.
func (o *order) Pop() any {
	a := (*o)[len(*o)-1]
	a.place.at = -1
	*o = (*o)[:len(*o)-1]
	return a
}

// newLine is an empty line. A ledger has one at a time.
func newLine(l *ledger, total snapshot.Resources) *line {
	for _, a := range l.all {
		p := &a.place
		p.waiting, p.others, p.below, p.best, p.at = nil, nil, p.below[:0], nil, -1
	}
	return &line{ledger: l, total: total}
}

// wait adds gangs that wait for their minimum, in their order.
func (q *line) wait(musters []*muster) {
	a := musters[0].account
	a.place.waiting = musters
	q.refresh(a)
}

// push puts an item into its place.
func (q *line) push(it *item) {
	p := &it.muster.account.place
	k, _ := slices.BinarySearchFunc(p.others, it, compareItems)
	p.others = slices.Insert(p.others, k, it)
	q.refresh(it.muster.account)
}

// next is the item that is to be served now, or nil. It stays where it is, and what it is, until it is
// taken.
func (q *line) next() *item {
	for _, a := range q.ledger.takeMoved() {
		q.refresh(a)
	}
	if len(q.roots) == 0 {
		return nil
	}
	return q.roots[0].place.best
}

// take removes the item that next returned.
func (q *line) take(it *item) {
	p := &it.muster.account.place
	if len(p.others) > 0 && p.others[0] == it {
		p.others = p.others[1:]
	} else {
		p.waiting = p.waiting[1:]
	}
	q.refresh(it.muster.account)
}

// pass removes it with the gangs that come right behind it in its queue and find no room where it found
// none, and returns all of them.
func (q *line) pass(it *item) []*muster {
	p, n := &it.muster.account.place, 1
	for n < len(p.waiting) && p.waiting[n].alike(it.muster) {
		n++
	}
	gangs := p.waiting[:n]
	p.waiting = p.waiting[n:]
	q.refresh(it.muster.account)
	return gangs
}

// first is what comes first of a place's own.
func (p *place) first() *item {
	var it *item
	if len(p.waiting) > 0 {
		m := p.waiting[0]
		p.head = item{muster: m, pods: m.missing, request: m.need}
		it = &p.head
	}
	if len(p.others) > 0 && (it == nil || compareItems(p.others[0], it) < 0) {
		it = p.others[0]
	}
	return it
}

// refresh brings the order up to date after something was added to a queue or taken from it, or its use
// has changed: all that depends on it is on its own path.
func (q *line) refresh(a *account) {
	for ; a != nil; a = a.parent {
		q.refreshPlace(a)
	}
}

func (q *line) refreshPlace(a *account) {
	p := &a.place
	if len(a.children) == 0 {
		p.best = p.first()
	} else if p.best = nil; len(p.below) > 0 {
		p.best = p.below[0].place.best
	}
	if p.best != nil {
		p.key = q.keyOf(a)
	}
	siblings := &q.roots
	if a.parent != nil {
		siblings = &a.parent.place.below
	}
	switch {
	case p.best == nil && p.at >= 0:
		heap.Remove(siblings, p.at)
	case p.best != nil && p.at >= 0:
		heap.Fix(siblings, p.at)
	case p.best != nil:
		heap.Push(siblings, a)
	}
}

// key is what a place is ordered by, the first difference deciding.
type key struct {
	over      bool // its fair share
	entitled  bool // it stays within its quota
	priority  int
	forbidden bool  // it holds what is not meant for it
	with      int64 // dominant share, the item included
	without   int64
	created   time.Time
	name      string
}

func (q *line) keyOf(a *account) key {
	r := a.place.best.request
	return key{over: a.overFair(), entitled: a.starved(r), priority: a.queue.Priority, forbidden: a.usesForbidden(r),
		with: q.dominant(a, a.used.Add(r)), without: q.dominant(a, a.used), created: a.queue.Created, name: a.queue.Name}
}

func (k *key) compare(o *key) int {
	return cmp.Or(
		falseFirst(k.over, o.over),
		falseFirst(!k.entitled, !o.entitled),
		cmp.Compare(o.priority, k.priority),
		falseFirst(k.forbidden, o.forbidden),
		cmp.Compare(k.with, o.with),
		cmp.Compare(k.without, o.without),
		k.created.Compare(o.created),
		cmp.Compare(k.name, o.name),
	)
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// overFair: above the fair share in every resource.
func (a *account) overFair() bool {
	for d := range dimensions {
		if d.of(a.used) <= d.of(a.fair) {
			return false
		}
	}
	return true
}

// starved: within its quota in every resource even with the request.
func (a *account) starved(request snapshot.Resources) bool {
	with := a.used.Add(request)
	for d := range dimensions {
		if d.of(with) > d.ceiling(a.queue.Quota) {
			return false
		}
	}
	return true
}

// usesForbidden: holds, or would, a resource of which nothing is meant for it.
func (a *account) usesForbidden(request snapshot.Resources) bool {
	with := a.used.Add(request)
	for d := range dimensions {
		if d.of(with) > 0 && a.allocatable(d) == 0 {
			return true
		}
	}
	return false
}

// dominant is the largest part, in millionths, that use is of what is meant for a queue.
func (q *line) dominant(a *account, use snapshot.Resources) int64 {
	most := int64(0)
	for d := range dimensions {
		of := a.allocatable(d)
		if of == unlimited {
			of = d.of(q.total)
		}
		most = max(most, millionths(d.of(use), of))
	}
	return most
}

func millionths(part, of int64) int64 {
	if part <= 0 {
		return 0
	}
	if of <= 0 {
		return math.MaxInt64
	}
	hi, lo := bits.Mul64(uint64(part), 1_000_000)
	if hi >= uint64(of) {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(hi, lo, uint64(of))
	return int64(min(quotient, math.MaxInt64)) //nolint:gosec // capped
}
