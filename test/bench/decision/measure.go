package decision

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/pkg/plan"
)

// The clusters that are measured.
var (
	// Thousand is a cold start: everything waits, and there is room for two fifths of it.
	Thousand = Shape{Nodes: 1000, GPUsPerNode: 4, Departments: 10, Teams: 10, Quota: 40, Pending: Gangs{Count: 2000, Pods: 5, GPUs: 1}}
	// FiveThousand is a large cluster in the middle of its life.
	FiveThousand = Shape{Nodes: 5000, GPUsPerNode: 4, Departments: 10, Teams: 10, Quota: 200, Daemons: 7,
		Running: Gangs{Count: 3000, Pods: 5, GPUs: 1}, Pending: Gangs{Count: 1000, Pods: 5, GPUs: 1}}
	// ReclaimGang is one large gang whose share somebody else uses.
	ReclaimGang = Shape{Nodes: 500, GPUsPerNode: 8, Departments: 10, Teams: 10, Quota: 40,
		Running: Gangs{Count: 4000, Pods: 1, GPUs: 1, Only: "team-00-00"}, Pending: Gangs{Count: 1, Pods: 250, GPUs: 1, Only: "team-05-05"}}
	// ReclaimSingles is the same with a thousand gangs of one pod in all queues.
	ReclaimSingles = Shape{Nodes: 500, GPUsPerNode: 8, Departments: 10, Teams: 10, Quota: 40,
		Running: Gangs{Count: 4000, Pods: 1, GPUs: 1, Only: "team-00-00"}, Pending: Gangs{Count: 1000, Pods: 1, GPUs: 1}}
	// Hopeless is a gang for which a few GPUs are missing.
	Hopeless = Shape{Nodes: 1000, GPUsPerNode: 4, Departments: 10, Teams: 10, Quota: 40,
		Running: Gangs{Count: 700, Pods: 5, GPUs: 1}, Pending: Gangs{Count: 1, Pods: 512, GPUs: 1}}
)

// Event is something that happens to a cluster whose last plan has come true.
type Event struct {
	Name   string
	Happen func(l *Load, round int)
}

// Events are those after which a decision is measured.
var Events = []Event{
	{"a pod bound", func(l *Load, round int) {
		for _, uid := range l.bound[round : round+1] { // its status changes once more
			pod := l.pods[uid].DeepCopy()
			pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
			l.Pod(pod)
		}
	}},
	{"a gang arrived", func(l *Load, round int) {
		job, pods := Gang(fmt.Sprint("late-", round), "team-03-03", Epoch.Add(-time.Minute), 5, 1)
		l.Mirror.Jobs().OnAdd(job, false)
		for _, p := range pods {
			l.Pod(p)
		}
	}},
	{"a node gone", func(l *Load, round int) {
		l.Mirror.Nodes().OnDelete(node(round, 4))
	}},
}

// Times are what a cold decision takes, what Cluster Autoscaler takes for the same pods, and what the
// decision after each event takes, all in processor time: on a busy machine it is the steadier one.
type Times struct {
	Snapshot        time.Duration // of everything, when it is made for the first time
	Cold, Yardstick time.Duration // beside it: neither includes taking in the cluster
	Placed          int           // by both, or the comparison would be void
	Warm            map[string]time.Duration
	BytesPerPod     float64 // of mirror, checker and snapshot, beside the objects
}

// Measure takes the times of a shape once. rounds is how many events of each kind are averaged.
func Measure(shape Shape, rounds int) (Times, error) {
	c := Generate(shape)
	out := Times{Warm: map[string]time.Duration{}}
	before := heap()
	l, err := NewLoad(c)
	if err != nil {
		return out, err
	}
	var p *plan.Plan
	out.Snapshot = Processor(func() { l.Mirror.Snapshot(Epoch) })
	out.Cold = Processor(func() { p = l.Decide() })
	out.BytesPerPod = float64(heap()-before) / float64(len(c.Running)+len(c.Pending))
	out.Placed = l.Bound(p)
	l.Decide()
	for _, e := range Events {
		var sum time.Duration
		for round := range rounds {
			e.Happen(l, round)
			sum += Processor(func() { l.Decide() })
		}
		out.Warm[e.Name] = sum / time.Duration(rounds)
	}
	try, err := Autoscaler(c)
	if err != nil {
		return out, err
	}
	placed := 0
	out.Yardstick = Processor(func() { placed, err = try() })
	if err == nil && placed != out.Placed {
		err = fmt.Errorf("the yardstick placed %d pods, and the decision %d", placed, out.Placed)
	}
	return out, err
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Processor is the time that all threads of this process spend in a function.
func Processor(f func()) time.Duration {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return 0
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	f()
	return used() - before
}

// MeasureOne takes the time of a single decision on a cluster, and of Cluster Autoscaler's own placement of
// the same pods on the same nodes. evicted is how many pods the decision evicts.
func MeasureOne(shape Shape) (took, yardstick time.Duration, evicted int, err error) {
	c := Generate(shape)
	l, err := NewLoad(c)
	if err != nil {
		return 0, 0, 0, err
	}
	l.Mirror.Snapshot(Epoch)
	var p *plan.Plan
	took = Processor(func() { p = l.Decide() })
	for _, step := range p.Steps {
		if e, ok := step.(plan.Evict); ok {
			evicted += len(e.Pods)
		}
	}
	try, err := Autoscaler(c)
	if err != nil {
		return 0, 0, 0, err
	}
	yardstick = Processor(func() { _, err = try() })
	return took, yardstick, evicted, err
}
