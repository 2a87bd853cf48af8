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
	places map[*account]*place
	roots  order
}

// place is one queue's place in the line, represented by the item that comes first below it.
type place struct {
	account *account
	parent  *place
	waiting []*muster // of a leaf: gangs in their order, taken from the front
	taken   []*muster // of a leaf: the gangs from the one on that was taken last
	others  []*item   // of a leaf: everything else that waits there, in its order
	below   order

	best *item // nil: nothing waits
	key  key
	at   int // in the order of its siblings; -1: it is not there
}

// order is siblings with something waiting, the first to be served on top.
type order []*place

// Len, Less, Swap, Push and Pop are heap.Interface.
func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].key.compare(&o[j].key) < 0 }
func (o order) Swap(i, j int)      { o[i], o[j] = o[j], o[i]; o[i].at, o[j].at = i, j }

// Push adds a place.
func (o *order) Push(x any) {
	p := x.(*place) //nolint:forcetypeassert // places only
	p.at = len(*o)
	*o = append(*o, p)
}

// Pop removes the last place.
func (o *order) Pop() any {
	p := (*o)[len(*o)-1]
	p.at = -1
	*o = (*o)[:len(*o)-1]
	return p
}

func newLine(l *ledger, total snapshot.Resources) *line {
	return &line{ledger: l, total: total, places: map[*account]*place{}}
}

// of is a queue's place.
func (q *line) of(a *account) *place {
	p := q.places[a]
	if p == nil {
		p = &place{account: a, at: -1}
		q.places[a] = p
		if a.parent != nil {
			p.parent = q.of(a.parent)
		}
	}
	return p
}

// wait adds gangs that wait for their minimum, in their order, before the line is served.
func (q *line) wait(a *account, musters []*muster) {
	q.of(a).waiting = musters
	q.refresh(a)
}

// push puts an item into its place.
func (q *line) push(it *item) {
	p := q.of(it.muster.account)
	k, _ := slices.BinarySearchFunc(p.others, it, compareItems)
	p.others = slices.Insert(p.others, k, it)
	q.refresh(it.muster.account)
}

// next takes the item that is to be served now, or nil.
func (q *line) next() *item {
	for _, a := range q.ledger.takeMoved() {
		q.refresh(a)
	}
	if len(q.roots) == 0 {
		return nil
	}
	it := q.roots[0].best
	p := q.places[it.muster.account]
	if len(p.others) > 0 && p.others[0] == it {
		p.others = p.others[1:]
	} else {
		p.taken, p.waiting = p.waiting, p.waiting[1:]
	}
	q.refresh(p.account)
	return it
}

// pass takes the gangs that come right behind the last in its queue and find no room where it found none.
// It returns them, that one first.
func (q *line) pass(m *muster) []*muster {
	p, n := q.places[m.account], 1
	for n < len(p.taken) && p.taken[n].alike(m) {
		n++
	}
	p.waiting = p.taken[n:]
	q.refresh(m.account)
	return p.taken[:n]
}

// first is what comes first of a place's own.
func (p *place) first() *item {
	var it *item
	if len(p.waiting) > 0 {
		m := p.waiting[0]
		it = &item{muster: m, pods: m.missing, request: m.need}
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
		if p := q.places[a]; p != nil {
			q.refreshPlace(p)
		}
	}
}

func (q *line) refreshPlace(p *place) {
	if p.below == nil {
		p.best = p.first()
	} else if p.best = nil; len(p.below) > 0 {
		p.best = p.below[0].best
	}
	if p.best != nil {
		p.key = q.keyOf(p)
	}
	siblings := &q.roots
	if p.parent != nil {
		siblings = &p.parent.below
	}
	switch {
	case p.best == nil && p.at >= 0:
		heap.Remove(siblings, p.at)
	case p.best != nil && p.at >= 0:
		heap.Fix(siblings, p.at)
	case p.best != nil:
		heap.Push(siblings, p)
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

func (q *line) keyOf(p *place) key {
	a, r := p.account, p.best.request
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
