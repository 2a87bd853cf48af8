package scheduler

import (
	"fmt"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ledger is what every queue uses, its descendants included.
type ledger struct {
	queues   map[string]*snapshot.Queue
	children map[string]int
	used     map[string]snapshot.Resources
}

// newLedger charges every bound pod of a gang to its queue and all ancestors. A pod that is being
// deleted holds its node's room but no longer its queue's quota.
func newLedger(s *snapshot.Snapshot) *ledger {
	l := &ledger{
		queues:   map[string]*snapshot.Queue{},
		children: map[string]int{},
		used:     map[string]snapshot.Resources{},
	}
	for _, q := range s.Queues {
		l.queues[q.Name] = q
		if q.Parent != "" {
			l.children[q.Parent]++
		}
	}
	for _, g := range s.Gangs {
		for _, p := range g.Members {
			if p.Node != "" && !p.Terminating {
				l.charge(g.Queue, p.Request)
			}
		}
	}
	return l
}

// chain returns a queue and its ancestors, leaf first. It ends at a missing parent or at the first
// repetition, so that a cycle cannot hold it up.
func (l *ledger) chain(queue string) []string {
	var names []string
	seen := map[string]bool{}
	for q := l.queues[queue]; q != nil && !seen[q.Name]; q = l.queues[q.Parent] {
		seen[q.Name] = true
		names = append(names, q.Name)
	}
	return names
}

func (l *ledger) charge(queue string, r snapshot.Resources) {
	for _, q := range l.chain(queue) {
		l.used[q] = l.used[q].Add(r)
	}
}

// admissible says why no work may run in a queue whatever the room, or nil.
func (l *ledger) admissible(queue string) *blocked {
	switch q := l.queues[queue]; {
	case queue == "":
		return &blocked{plan.QueueNotFound, "it names no queue", "Set the label kai.scheduler/queue to a leaf queue"}
	case q == nil:
		return &blocked{plan.QueueNotFound, fmt.Sprintf("queue %s does not exist", queue),
			"Create the queue, or name an existing one in the label kai.scheduler/queue"}
	case l.children[queue] > 0:
		return &blocked{plan.NotLeafQueue, fmt.Sprintf("queue %s has %d queues below it; work runs in leaf queues only", queue, l.children[queue]),
			"Name a leaf queue in the label kai.scheduler/queue"}
	}
	for _, name := range l.chain(queue) {
		if q := l.queues[name]; q.Invalid != "" {
			return &blocked{plan.Misconfigured, fmt.Sprintf("queue %s: %s", name, q.Invalid), "Ask the queue's administrator to mend it"}
		}
	}
	return nil
}

// within says which limit of the queue or an ancestor more would break, or nil. least is what the
// gang needs at the very least in all: above a limit alone, it can never run.
func (l *ledger) within(queue string, more, least snapshot.Resources) *blocked {
	for _, name := range l.chain(queue) {
		limit := l.queues[name].Limit
		if dim := limit.Exceeded(least, least); dim != "" {
			return &blocked{plan.ExceedsLimit,
				fmt.Sprintf("it needs %s, and queue %s allows %s in all", amount(least, dim), name, amount(snapshot.Resources(limit), dim)),
				"Ask for less, or have the queue's limit raised"}
		}
	}
	for _, name := range l.chain(queue) {
		limit, used := l.queues[name].Limit, l.used[name]
		if dim := limit.Exceeded(used.Add(more), more); dim != "" {
			return &blocked{plan.WaitingForQuota,
				fmt.Sprintf("it needs %s more, and queue %s uses %s of %s", amount(more, dim), name, amount(used, dim), amount(snapshot.Resources(limit), dim)),
				"It starts when other work of the queue ends"}
		}
	}
	return nil
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

// blocked is a reason to wait with its numbers and a way out.
type blocked struct {
	reason  plan.Reason
	message string
	advice  string
}
