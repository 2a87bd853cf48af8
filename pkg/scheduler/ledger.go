package scheduler

import (
	"fmt"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ledger is the account of every queue.
type ledger struct {
	accounts map[string]*account
	all      []*account // by name
	roots    []*account // by name
	rev      uint64     // grows with every charge
	divided  snapshot.Resources
	moved    []*account // leaves that were charged since somebody asked
}

// account is what one queue has, its descendants included.
type account struct {
	queue    *snapshot.Queue
	parent   *account // nil at the top, and where the parent is missing or part of a cycle
	children []*account
	names    []string // of the children
	chain    []string // its name and its ancestors', leaf first

	moved bool    // it is in the list of those
	rest  amounts // before anything is decided
	amounts
	vacated snapshot.Resources // by evictions of this decision, beyond what their beneficiaries took
	fair    snapshot.Resources // of the capacity that is there and coming

	divided    bool               // before: fair is that of the last division
	dividedFor snapshot.Resources // what it asked for then
	given      snapshot.Resources // what its children shared then

	place    place            // in the line of the decision under way
	bounds   *snapshot.Bounds // on buying; see boundsOf
	reserved bool             // the decision under way has looked for room to reserve for its first gang
	asked    bool             // whether the decision under way has looked for them
	waiting  []*muster        // gangs that wait for their minimum and have no claim yet, in the order of the queue
}

// amounts are what is counted of a queue.
type amounts struct {
	used      snapshot.Resources // by pods that are bound and not on their way out
	unevicted snapshot.Resources // of that, by work that can never be a victim
	requested snapshot.Resources // used, plus what waits
	lingering snapshot.Resources // by pods that were asked to leave and have not begun to: not used, and not free
}

// newLedger opens an account for every queue.
func newLedger(queues []*snapshot.Queue) *ledger {
	l := &ledger{accounts: map[string]*account{}}
	for _, q := range queues {
		a := &account{queue: q}
		l.accounts[q.Name] = a
		l.all = append(l.all, a)
	}
	for _, a := range l.all { // by name, and so are the children
		if p := l.accounts[a.queue.Parent]; p != nil && a.queue.Invalid == "" {
			a.parent = p
			p.children, p.names = append(p.children, a), append(p.names, a.queue.Name)
		} else {
			l.roots = append(l.roots, a)
		}
	}
	for _, a := range l.all {
		for p := a; p != nil; p = p.parent {
			a.chain = append(a.chain, p.queue.Name)
		}
	}
	return l
}

// enter counts a gang as it is before anything is decided; leave takes it out again. A pod that is
// being deleted holds its node's room but no longer its queue's quota.
func (l *ledger) enter(m *muster) { l.enterTimes(m, 1) }
func (l *ledger) leave(m *muster) { l.enterTimes(m, -1) }

func (l *ledger) enterTimes(m *muster, n int64) {
	used, asked := m.used.Times(n), m.used.Add(m.asked).Times(n)
	for a := m.account; a != nil; a = a.parent {
		a.rest.used = a.rest.used.Add(used)
		a.rest.requested = a.rest.requested.Add(asked)
		a.rest.lingering = a.rest.lingering.Add(m.lingering.Times(n))
		if m.gang.NonPreemptible {
			a.rest.unevicted = a.rest.unevicted.Add(used)
		}
	}
}

// reset forgets what was decided.
func (l *ledger) reset() {
	for _, a := range l.all {
		a.amounts, a.vacated, a.asked, a.reserved = a.rest, snapshot.Resources{}, false, false
	}
	l.takeMoved()
	l.rev++
}

// chain returns the names of a queue and its ancestors, leaf first.
func (l *ledger) chain(queue string) []string {
	if a := l.accounts[queue]; a != nil {
		return a.chain
	}
	return nil
}

// charge adds to what a gang's queues use; a negative amount takes it back.
func (l *ledger) charge(g *snapshot.Gang, r snapshot.Resources) {
	l.rev++
	if a := l.accounts[g.Queue]; a != nil && !a.moved {
		a.moved, l.moved = true, append(l.moved, a)
	}
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		a.used = a.used.Add(r)
		if g.NonPreemptible {
			a.unevicted = a.unevicted.Add(r)
		}
	}
}

// takeMoved lists the leaf queues whose use has changed since it was last asked.
func (l *ledger) takeMoved() []*account {
	moved := l.moved
	for _, a := range moved {
		a.moved = false
	}
	l.moved = l.moved[:0]
	return moved
}

// vacate gives back what an eviction of this decision frees; occupy takes that back. Until its pods are on
// their way out, it is the beneficiary's alone: see claim and vacant.
func (l *ledger) vacate(g *snapshot.Gang, r snapshot.Resources) { l.move(g, r.Times(-1)) }
func (l *ledger) occupy(g *snapshot.Gang, r snapshot.Resources) { l.move(g, r) }

func (l *ledger) move(g *snapshot.Gang, r snapshot.Resources) {
	l.charge(g, r)
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		a.vacated = a.vacated.Sub(r)
	}
}

// claim notes that the beneficiary of evictions has taken its part of what they free.
func (l *ledger) claim(g *snapshot.Gang, r snapshot.Resources) {
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		for d := range dimensions {
			d.set(&a.vacated, max(0, d.of(a.vacated)-d.of(r)))
		}
	}
}

// vacant says which limit more for a gang would break while those that are evicted are still there, or nil:
// nothing is bought on the quota that they leave, and nothing bound.
func (l *ledger) vacant(g *snapshot.Gang, more snapshot.Resources) *blocked {
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		if dim := a.queue.Limit.Exceeded(a.used.Add(a.vacated).Add(a.lingering).Add(more), more); dim != "" {
			return &blocked{plan.WaitingForPreemption,
				fmt.Sprintf("it needs %s more, and what others leave of queue %s is not free yet", amount(more, dim), a.queue.Name), ""}
		}
	}
	return nil
}

// admits says why a gang may not run in its queue whatever the room, or nil.
func (l *ledger) admits(g *snapshot.Gang) *blocked {
	if b := l.admissible(g.Queue); b != nil {
		return b
	}
	if q := l.accounts[g.Queue].closedTo(g.Namespace); q != "" {
		return &blocked{plan.NotPermitted, fmt.Sprintf("queue %s is not for work of namespace %s", q, g.Namespace),
			"Name a queue that is, or ask the queue's administrator to allow the namespace"}
	}
	return nil
}

// closedTo names the first queue, from a leaf up, that is not for work of a namespace, or "".
func (a *account) closedTo(namespace string) string {
	for ; a != nil; a = a.parent {
		if allowed := a.queue.Namespaces; allowed != nil && !slices.Contains(allowed, namespace) {
			return a.queue.Name
		}
	}
	return ""
}

// admissible says why no work may run in a queue whatever the room, or nil.
func (l *ledger) admissible(queue string) *blocked {
	a := l.accounts[queue]
	switch {
	case queue == "":
		return &blocked{plan.QueueNotFound, "it names no queue", "Set the label kai.scheduler/queue to a leaf queue"}
	case a == nil:
		return &blocked{plan.QueueNotFound, fmt.Sprintf("queue %s does not exist", queue),
			"Create the queue, or name an existing one in the label kai.scheduler/queue"}
	case a.queue.Invalid != "":
		return &blocked{plan.Misconfigured, fmt.Sprintf("queue %s: %s", queue, a.queue.Invalid), "Ask the queue's administrator to mend it"}
	case len(a.children) > 0:
		return &blocked{plan.NotLeafQueue, fmt.Sprintf("queue %s has %s below it; work runs in leaf queues only", queue, queues(len(a.children))),
			"Name a leaf queue in the label kai.scheduler/queue"}
	}
	for p := a.parent; p != nil; p = p.parent {
		if p.queue.Invalid != "" {
			return &blocked{plan.Misconfigured, fmt.Sprintf("queue %s: %s", p.queue.Name, p.queue.Invalid), "Ask the queue's administrator to mend it"}
		}
	}
	return nil
}

func queues(n int) string {
	if n == 1 {
		return "1 queue"
	}
	return fmt.Sprintf("%d queues", n)
}

// possible says which limit a gang is above all by itself, or, for work that may not be evicted,
// which quota: it can never run. least is what it needs at the very least in all.
func (l *ledger) possible(g *snapshot.Gang, least snapshot.Resources) *blocked {
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		if dim := a.queue.Limit.Exceeded(least, least); dim != "" {
			return &blocked{plan.ExceedsLimit,
				fmt.Sprintf("it needs %s, and queue %s allows %s in all", amount(least, dim), a.queue.Name, allowed(a.queue.Limit, dim)),
				"Ask for less, or have the queue's limit raised"}
		}
		if dim := a.queue.Quota.Exceeded(least, least); dim != "" && g.NonPreemptible {
			return &blocked{plan.NonPreemptibleOverQuota,
				fmt.Sprintf("it needs %s, and work that may not be evicted gets at most the quota of queue %s, %s", amount(least, dim), a.queue.Name, allowed(a.queue.Quota, dim)),
				"Use a priority class below 100, or have the quota raised"}
		}
	}
	return nil
}

// within says which limit or quota more for a gang would break now, or nil.
func (l *ledger) within(g *snapshot.Gang, more snapshot.Resources) *blocked {
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		if dim := a.queue.Limit.Exceeded(a.used.Add(more), more); dim != "" {
			return &blocked{plan.WaitingForQuota,
				fmt.Sprintf("it needs %s more, and queue %s uses %s", amount(more, dim), a.queue.Name, usedOf(a.used, a.queue.Limit, dim)),
				"It starts when other work of queue " + a.queue.Name + " ends"}
		}
		if dim := a.queue.Quota.Exceeded(a.unevicted.Add(more), more); dim != "" && g.NonPreemptible {
			return &blocked{plan.NonPreemptibleOverQuota,
				fmt.Sprintf("it needs %s more, and work that may not be evicted uses %s of the quota of queue %s",
					amount(more, dim), usedOf(a.unevicted, a.queue.Quota, dim), a.queue.Name),
				"Use a priority class below 100, or wait for such work to end"}
		}
	}
	return nil
}

// allocatable is what a queue may hold against its siblings: its quota or its fair share, whichever
// is more, and never more than its limit.
func (a *account) allocatable(d dimension) int64 {
	limit, quota := d.ceiling(a.queue.Limit), d.ceiling(a.queue.Quota)
	if quota == unlimited {
		return limit
	}
	return min(limit, max(quota, d.of(a.fair)))
}

// over says whether a queue uses more than a threshold of any resource that is asked for.
func over(used, asked snapshot.Resources, threshold func(dimension) int64) bool {
	for d := range dimensions {
		if d.of(asked) > 0 && d.of(used) > threshold(d) {
			return true
		}
	}
	return false
}

// isBelow says whether a queue is an account's own or below it.
func (l *ledger) isBelow(queue string, a *account) bool {
	q := l.accounts[queue]
	for q != nil && q != a {
		q = q.parent
	}
	return q != nil
}

// siblings returns the accounts below the lowest common ancestor of two queues on each side.
func (l *ledger) siblings(a, b string) (x, y *account) {
	x, y = l.accounts[a], l.accounts[b]
	if x == nil || y == nil {
		return nil, nil
	}
	for len(x.chain) > len(y.chain) {
		x = x.parent
	}
	for len(y.chain) > len(x.chain) {
		y = y.parent
	}
	if x == y { // one is above the other
		return nil, nil
	}
	for x.parent != y.parent {
		x, y = x.parent, y.parent
	}
	return x, y
}

// amount prints one dimension of r.
func amount(r snapshot.Resources, dimension string) string {
	d := named(dimension)
	return d.amount(d.of(r))
}

// allowed prints one dimension of a ceiling.
func allowed(c snapshot.Ceiling, dimension string) string {
	return amount(snapshot.Resources(c), dimension)
}

// usedOf prints what is used of a ceiling: "3 of 4 GPUs".
func usedOf(used snapshot.Resources, of snapshot.Ceiling, dimension string) string {
	switch dimension {
	case "gpu":
		return snapshot.Thousandths(used.MilliGPU) + " of " + snapshot.GPUs(of.MilliGPU)
	case "cpu":
		return snapshot.Thousandths(used.MilliCPU) + " of " + snapshot.Thousandths(of.MilliCPU) + " CPUs"
	}
	return snapshot.Memory(used.Memory) + " of " + snapshot.Memory(of.Memory) + " of memory"
}

// blocked is a reason to wait with its numbers and a way out.
type blocked struct {
	reason  plan.Reason
	message string
	advice  string
}
