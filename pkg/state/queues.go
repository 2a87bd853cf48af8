package state

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// queues converts the queues from KAI's units: devices, millicores and 10^6 bytes. -1 is unlimited;
// unset is 0, which allows nothing as a limit, entitles to nothing as a quota, and gets nothing of
// the surplus as a weight.
//
// Queues that say the same as in the last snapshot are the same values, and when all do, so is the list:
// a decision starts over when they change.
func (b *builder) queues() {
	k := &b.m.kept
	if k.queuesChanged {
		k.queuesChanged = false
		now := b.readQueues()
		for i, q := range now {
			if at, there := find(k.queues, q.Name, queueName); there && reflect.DeepEqual(k.queues[at], q) {
				now[i] = k.queues[at]
			}
		}
		if !slices.Equal(k.queues, now) {
			k.queues = now
		}
	}
	b.s.Queues = k.queues
}

func queueName(q *snapshot.Queue) string { return q.Name }

func (b *builder) readQueues() (queues []*snapshot.Queue) {
	for name, q := range b.m.queues {
		out := &snapshot.Queue{Name: name, UID: string(q.UID), Parent: q.Spec.ParentQueue, Created: q.CreationTimestamp.Time,
			Priority: q.Spec.EffectivePriority(), PreemptMinRuntime: duration(q.Spec.PreemptMinRuntime), ReclaimMinRuntime: duration(q.Spec.ReclaimMinRuntime)}
		out.Namespaces = namespaces(q.Annotations)
		out.Invalid = b.lineage(q)
		if r := q.Spec.Resources; r == nil {
			out.Invalid = "spec.resources is missing"
		} else {
			read := reader{queue: out}
			out.Quota = read.ceiling("quota", r.GPU.Quota, r.CPU.Quota, r.Memory.Quota)
			out.Limit = read.ceiling("limit", r.GPU.Limit, r.CPU.Limit, r.Memory.Limit)
			out.Weight = snapshot.Resources{
				MilliGPU: read.number("gpu.overQuotaWeight", r.GPU.OverQuotaWeight, 1000),
				MilliCPU: read.number("cpu.overQuotaWeight", r.CPU.OverQuotaWeight, 1000),
				Memory:   read.number("memory.overQuotaWeight", r.Memory.OverQuotaWeight, 1000)}
		}
		queues = append(queues, out)
	}
	slices.SortFunc(queues, func(x, y *snapshot.Queue) int { return cmp.Compare(x.Name, y.Name) })
	return queues
}

// namespaces reads which namespaces a queue is for; nil for all.
func namespaces(annotations map[string]string) []string {
	text, there := annotations[v1alpha1.AllowedNamespacesAnnotation]
	if !there {
		return nil
	}
	out := []string{}
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func duration(d *metav1.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	return &d.Duration
}

// reader notes the first impossible field of a queue.
type reader struct{ queue *snapshot.Queue }

func (r reader) ceiling(field string, gpu, cpu, memory float64) snapshot.Ceiling {
	return snapshot.Ceiling{
		MilliGPU: r.orUnlimited("gpu."+field, gpu, 1000),
		MilliCPU: r.orUnlimited("cpu."+field, cpu, 1),
		Memory:   r.orUnlimited("memory."+field, memory, 1e6)}
}

func (r reader) orUnlimited(field string, value, unit float64) int64 {
	if value == queuev2.Unlimited {
		return snapshot.Unlimited
	}
	return r.number(field, value, unit)
}

// most is far above any cluster and far below where sums of such amounts would overflow.
const most = 1 << 60

func (r reader) number(field string, value, unit float64) int64 {
	if value < 0 || math.IsNaN(value) || value*unit >= most {
		if r.queue.Invalid == "" {
			r.queue.Invalid = "spec.resources." + field + " must be -1 or a number from 0 up"
		}
		return 0
	}
	return int64(math.Round(value * unit))
}

// lineage says what is wrong with a queue's ancestors, or "".
func (b *builder) lineage(q *queuev2.Queue) string {
	seen := map[string]bool{q.Name: true}
	for parent := q.Spec.ParentQueue; parent != ""; {
		p := b.m.queues[parent]
		switch {
		case p == nil:
			return "its ancestor " + parent + " does not exist"
		case seen[parent]:
			return "its parents form a cycle through " + parent
		}
		seen[parent] = true
		parent = p.Spec.ParentQueue
	}
	return ""
}
