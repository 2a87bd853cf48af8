package scheduler

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// queueOf is a queue with a GPU limit in devices; -1 is unlimited, and so is everything else.
func queueOf(name, parent string, gpus int64) *snapshot.Queue {
	const free = snapshot.Unlimited
	q := &snapshot.Queue{Name: name, Parent: parent,
		Limit: snapshot.Ceiling{MilliGPU: free, MilliCPU: free, Memory: free},
		Quota: snapshot.Ceiling{MilliGPU: free, MilliCPU: free, Memory: free}}
	if gpus >= 0 {
		q.Limit.MilliGPU = gpus * 1000
	}
	return q
}

func gpus(n int64) snapshot.Resources {
	return snapshot.Resources{MilliGPU: n * 1000, MilliCPU: n * 1000, Memory: n << 30}
}

func TestChainIsAQueueAndItsAncestors(t *testing.T) {
	broken := queueOf("ring-1", "ring-2", -1)
	broken.Invalid = "its parents form a cycle"
	other := queueOf("ring-2", "ring-1", -1)
	other.Invalid = broken.Invalid
	orphan := queueOf("orphan", "nowhere", -1)
	orphan.Invalid = "its ancestor nowhere does not exist"
	l := newLedger([]*snapshot.Queue{
		queueOf("leaf", "middle", -1), queueOf("middle", "top", -1), orphan, broken, other, queueOf("top", "", -1)})
	cases := map[string]struct {
		reason string
		queue  string
		want   []string
	}{
		"Leaf":    {"leaf first", "leaf", []string{"leaf", "middle", "top"}},
		"Top":     {"a top queue is its own chain", "top", []string{"top"}},
		"Cycle":   {"a cycle ends at once", "ring-1", []string{"ring-1"}},
		"Orphan":  {"so does a missing parent", "orphan", []string{"orphan"}},
		"Unknown": {"a queue that does not exist has none", "nowhere", nil},
		"None":    {"no queue has none", "", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, l.chain(c.queue)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestLedgerCountsWhatHoldsQuota(t *testing.T) {
	pod := func(node string, leaves bool) *snapshot.Pod {
		return &snapshot.Pod{Node: node, Terminating: leaves, Request: gpus(1)}
	}
	s := &snapshot.Snapshot{
		Queues: []*snapshot.Queue{queueOf("a", "top", -1), queueOf("b", "top", -1), queueOf("top", "", -1)},
		Gangs: []*snapshot.Gang{
			{Queue: "a", Members: []*snapshot.Pod{pod("n1", false), pod("n1", true), pod("", false)}},
			{Queue: "b", NonPreemptible: true, Members: []*snapshot.Pod{pod("n2", false)}},
			{Queue: "b", Suspended: true, Members: []*snapshot.Pod{pod("", false)}},
			{Queue: "gone", Members: []*snapshot.Pod{pod("n3", false)}},
		},
	}
	type account struct{ Used, Unevicted, Requested int64 }
	want := map[string]account{
		"a": {1, 0, 2}, "b": {1, 1, 1}, "top": {2, 1, 3},
	}
	got := map[string]account{}
	w := newWorld(nil, s.Queues)
	w.gangs(nil, s.Gangs)
	w.ledger.reset()
	for name, a := range w.ledger.accounts {
		got[name] = account{a.used.MilliGPU / 1000, a.unevicted.MilliGPU / 1000, a.requested.MilliGPU / 1000}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a pod that is leaving holds no quota, one that waits asks for it, and ancestors count all (-want +got):\n%s", diff)
	}
}

func TestVacateUndoesCharge(t *testing.T) {
	l := newLedger([]*snapshot.Queue{queueOf("a", "top", -1), queueOf("top", "", -1)})
	g := &snapshot.Gang{Queue: "a", NonPreemptible: true}
	l.charge(g, gpus(3))
	l.vacate(g, gpus(3))
	for name, a := range l.accounts {
		if !a.used.IsZero() || !a.unevicted.IsZero() {
			t.Errorf("queue %s keeps %v, %v", name, a.used, a.unevicted)
		}
	}
}

func TestLedgerSaysWhyWithNumbers(t *testing.T) {
	quota := queueOf("quota", "", -1)
	quota.Quota.MilliGPU = 2000
	memory := queueOf("memory", "", -1)
	memory.Limit.Memory = 1 << 30
	cpu := queueOf("cpu", "", -1)
	cpu.Limit.MilliCPU = 2500
	l := newLedger([]*snapshot.Queue{
		cpu, queueOf("leaf", "top", -1), memory, quota, queueOf("top", "", 4)})
	l.charge(&snapshot.Gang{Queue: "leaf"}, gpus(3))
	l.charge(&snapshot.Gang{Queue: "quota", NonPreemptible: true}, gpus(1))
	l.charge(&snapshot.Gang{Queue: "cpu"}, snapshot.Resources{MilliCPU: 1500})
	possible := func(queue string, n int64, firm bool) *blocked {
		return l.possible(&snapshot.Gang{Queue: queue, NonPreemptible: firm}, gpus(n))
	}
	within := func(queue string, n int64, firm bool) *blocked {
		return l.within(&snapshot.Gang{Queue: queue, NonPreemptible: firm}, gpus(n))
	}
	const class = "Use a priority class below 100, or "
	cases := map[string]struct {
		reason string
		got    *blocked
		want   *blocked
	}{
		"Possible":      {"what fits alone is possible, whoever runs", possible("leaf", 4, false), nil},
		"Exceeds":       {"alone it is above the limit of an ancestor", possible("leaf", 5, false), &blocked{plan.ExceedsLimit, "it needs 5 GPUs, and queue top allows 4 GPUs in all", "Ask for less, or have the queue's limit raised"}},
		"FirmExceeds":   {"work that may not be evicted is confined to the quota", possible("quota", 3, true), &blocked{plan.NonPreemptibleOverQuota, "it needs 3 GPUs, and work that may not be evicted gets at most the quota of queue quota, 2 GPUs", class + "have the quota raised"}},
		"OverQuota":     {"other work may go over the quota", possible("quota", 3, false), nil},
		"Within":        {"one more of four", within("leaf", 1, false), nil},
		"Waits":         {"three of four are used", within("leaf", 2, false), &blocked{plan.WaitingForQuota, "it needs 2 GPUs more, and queue top uses 3 of 4 GPUs", "It starts when other work of queue top ends"}},
		"WaitsForOne":   {"one device is not several", within("quota", 2, true), &blocked{plan.NonPreemptibleOverQuota, "it needs 2 GPUs more, and work that may not be evicted uses 1 of 2 GPUs of the quota of queue quota", class + "wait for such work to end"}},
		"WaitsForCPU":   {"parts of a core", within("cpu", 2, false), &blocked{plan.WaitingForQuota, "it needs 2 CPUs more, and queue cpu uses 1.5 of 2.5 CPUs", "It starts when other work of queue cpu ends"}},
		"WaitsForBytes": {"memory in its own unit", within("memory", 2, false), &blocked{plan.WaitingForQuota, "it needs 2.0 GiB of memory more, and queue memory uses 0 MiB of 1.0 GiB of memory", "It starts when other work of queue memory ends"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.got, cmp.AllowUnexported(blocked{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
