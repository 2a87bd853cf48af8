package scheduler

import (
	"fmt"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ledger is the account of every queue.
type ledger struct {
	accounts map[string]*account
	roots    []*account // by name
}

// account is what one queue has, its descendants included.
type account struct {
	queue    *snapshot.Queue
	parent   *account // nil at the top, and where the parent is missing or part of a cycle
	children []*account

	used      snapshot.Resources // by pods that are bound and not on their way out
	unevicted snapshot.Resources // of that, by work that can never be a victim
	requested snapshot.Resources // used, plus what waits
	fair      snapshot.Resources // of the capacity that is there and coming
}

// newLedger charges every pod of a gang to its queue and all ancestors. A pod that is being deleted
// holds its node's room but no longer its queue's quota.
func newLedger(s *snapshot.Snapshot) *ledger {
	l := &ledger{accounts: map[string]*account{}}
	for _, q := range s.Queues {
		l.accounts[q.Name] = &account{queue: q}
	}
	for _, q := range s.Queues { // by name, and so are the children
		a := l.accounts[q.Name]
		if p := l.accounts[q.Parent]; p != nil && q.Invalid == "" {
			a.parent = p
			p.children = append(p.children, a)
		} else {
			l.roots = append(l.roots, a)
		}
	}
	for _, g := range s.Gangs {
		for _, p := range g.Members {
			switch {
			case p.Terminating:
			case p.Node != "":
				l.charge(g, p.Request)
				l.request(g, p.Request)
			case !g.Suspended:
				l.request(g, p.Request)
			}
		}
	}
	return l
}

// path returns a queue's account and its ancestors', leaf first.
func (l *ledger) path(queue string) []*account {
	var out []*account
	for a := l.accounts[queue]; a != nil; a = a.parent {
		out = append(out, a)
	}
	return out
}

// chain returns the names of a queue and its ancestors, leaf first.
func (l *ledger) chain(queue string) []string {
	var names []string
	for a := l.accounts[queue]; a != nil; a = a.parent {
		names = append(names, a.queue.Name)
	}
	return names
}

func (l *ledger) request(g *snapshot.Gang, r snapshot.Resources) {
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		a.requested = a.requested.Add(r)
	}
}

// charge adds to what a gang's queues use; a negative amount takes it back.
func (l *ledger) charge(g *snapshot.Gang, r snapshot.Resources) {
	for a := l.accounts[g.Queue]; a != nil; a = a.parent {
		a.used = a.used.Add(r)
		if g.NonPreemptible {
			a.unevicted = a.unevicted.Add(r)
		}
	}
}

// refund is the opposite of charge.
func (l *ledger) refund(g *snapshot.Gang, r snapshot.Resources) {
	l.charge(g, snapshot.Resources{}.Sub(r))
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

// siblings returns the accounts below the lowest common ancestor of two queues on each side.
func (l *ledger) siblings(a, b string) (x, y *account) {
	px, py := l.path(a), l.path(b)
	for len(px) > 0 && len(py) > 0 && px[len(px)-1] == py[len(py)-1] {
		px, py = px[:len(px)-1], py[:len(py)-1]
	}
	if len(px) == 0 || len(py) == 0 {
		return nil, nil
	}
	return px[len(px)-1], py[len(py)-1]
}

// amount prints one dimension of r.
func amount(r snapshot.Resources, dimension string) string {
	switch dimension {
	case "gpu":
		return snapshot.GPUs(r.MilliGPU)
	case "cpu":
		return snapshot.CPU(r.MilliCPU)
	}
	return snapshot.Memory(r.Memory)
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
	return snapshot.Memory(used.Memory) + " of " + snapshot.Memory(of.Memory)
}

// blocked is a reason to wait with its numbers and a way out.
type blocked struct {
	reason  plan.Reason
	message string
	advice  string
}
