package scheduler

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// item is one piece of waiting work: what a gang lacks of its minimum, or its next elastic unit.
type item struct {
	work    *work
	pods    []*snapshot.Pod
	elastic bool // beyond the minimum
	request snapshot.Resources
}

// line is the waiting work of the queue tree, served one item at a time: from the top down, at each
// level the queue that comes first by the rules of the KAI reference, "Orders".
type line struct {
	ledger *ledger
	total  snapshot.Resources // of the capacity that is divided
	leaves map[*account][]*item
	best   map[*account]*item // first item below an account; nil: nothing waits
}

func newLine(l *ledger, total snapshot.Resources, items []*item) *line {
	q := &line{ledger: l, total: total, leaves: map[*account][]*item{}, best: map[*account]*item{}}
	for _, it := range items {
		a := l.accounts[it.work.gang.Queue]
		q.leaves[a] = append(q.leaves[a], it)
	}
	for a, its := range q.leaves {
		slices.SortStableFunc(its, compareItems)
		q.best[a] = its[0]
	}
	for _, a := range l.roots {
		q.refreshBelow(a)
	}
	return q
}

// compareItems orders work within one leaf: priority, then what is short of its minimum before what
// grows, then first come.
func compareItems(a, b *item) int {
	rank := func(it *item) int {
		if it.elastic {
			return 1
		}
		return 0
	}
	x, y := a.work.gang, b.work.gang
	return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(rank(a), rank(b)),
		x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
}

// next takes the item that is to be served now, or nil.
func (q *line) next() *item {
	a := q.first(q.ledger.roots)
	if a == nil {
		return nil
	}
	it := q.best[a]
	leaf := q.ledger.accounts[it.work.gang.Queue]
	q.leaves[leaf] = q.leaves[leaf][1:]
	return it
}

// push puts an item back in its place.
func (q *line) push(it *item) {
	leaf := q.ledger.accounts[it.work.gang.Queue]
	k, _ := slices.BinarySearchFunc(q.leaves[leaf], it, compareItems)
	q.leaves[leaf] = slices.Insert(q.leaves[leaf], k, it)
}

// served brings the order up to date after an item of a queue was dealt with: only its own path can
// have changed.
func (q *line) served(queue string) {
	for a := q.ledger.accounts[queue]; a != nil; a = a.parent {
		q.refresh(a)
	}
}

func (q *line) refresh(a *account) {
	if len(a.children) == 0 {
		q.best[a] = nil
		if its := q.leaves[a]; len(its) > 0 {
			q.best[a] = its[0]
		}
		return
	}
	q.best[a] = nil
	if first := q.first(a.children); first != nil {
		q.best[a] = q.best[first]
	}
}

func (q *line) refreshBelow(a *account) {
	for _, c := range a.children {
		q.refreshBelow(c)
	}
	q.refresh(a)
}

// first is the sibling that is served before the others, or nil when nothing waits below any.
func (q *line) first(siblings []*account) *account {
	var first *account
	for _, a := range siblings {
		if q.best[a] != nil && (first == nil || q.before(a, first)) {
			first = a
		}
	}
	return first
}

// before says whether queue a is served before its sibling b, each represented by its first item.
func (q *line) before(a, b *account) bool {
	ra, rb := q.best[a].request, q.best[b].request
	return cmp.Or(
		falseFirst(a.overFair(), b.overFair()),
		falseFirst(!a.starved(ra), !b.starved(rb)),
		cmp.Compare(b.queue.Priority, a.queue.Priority),
		falseFirst(a.usesForbidden(ra), b.usesForbidden(rb)),
		cmp.Compare(q.dominant(a, a.used.Add(ra)), q.dominant(b, b.used.Add(rb))),
		cmp.Compare(q.dominant(a, a.used), q.dominant(b, b.used)),
		a.queue.Created.Compare(b.queue.Created),
		cmp.Compare(a.queue.Name, b.queue.Name),
	) < 0
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
