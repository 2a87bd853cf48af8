package state

import (
	"cmp"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Snapshot returns the world as it is now. It is the caller's to read and nobody's to change.
func (m *Mirror) Snapshot(now time.Time) *snapshot.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &builder{m: m, s: &snapshot.Snapshot{Rev: m.rev, Now: now, Bounds: map[string]snapshot.Bounds{}}}
	b.bounds()
	b.queues()
	b.pods()
	b.returns()
	b.nodeGroups()
	b.nodes()
	b.gangs()
	b.bookings()
	b.unfit()
	return b.s
}

// builder assembles one snapshot under the mirror's lock.
type builder struct {
	m      *Mirror
	s      *snapshot.Snapshot
	byUID  []*snapshot.Pod
	byNode map[string][]*snapshot.Pod

	returned map[string]bool // instances that are being given back, by ID
}

func (b *builder) bounds() {
	c := b.m.config
	if n := c.Limits.MaxNodes; n != nil {
		b.s.Limits.MaxNodes = int(*n)
	}
	if d := c.Limits.MaxHourlyCost; d != nil {
		b.s.Limits.MaxHourlyCost = snapshot.Dollars(d.Micros())
	}
	if s := c.Defaults.Scaling; s != nil {
		bounds := boundsOf(s)
		b.s.DefaultBounds = &bounds
	}
	for name, q := range c.Queues {
		if q.Scaling != nil {
			b.s.Bounds[name] = boundsOf(q.Scaling)
		}
	}
}

func boundsOf(s *v1alpha1.Scaling) snapshot.Bounds {
	out := snapshot.Bounds{Ladder: s.Ladder, MaxNodes: map[string]int{}}
	if s.MaxGPUs != nil {
		n := int64(*s.MaxGPUs)
		out.MaxGPUs = &n
	}
	if s.MaxHourlyCost != nil {
		d := snapshot.Dollars(s.MaxHourlyCost.Micros())
		out.MaxHourlyCost = &d
	}
	for group, n := range s.MaxNodes {
		out.MaxNodes[group] = int(n)
	}
	return out
}

func (b *builder) queues() {
	for name, q := range b.m.queues {
		out := &snapshot.Queue{Name: name, Parent: q.Spec.ParentQueue, Created: q.CreationTimestamp.Time}
		out.Limit, out.Invalid = limits(q)
		if out.Invalid == "" {
			out.Invalid = b.lineage(q)
		}
		b.s.Queues = append(b.s.Queues, out)
	}
	slices.SortFunc(b.s.Queues, func(x, y *snapshot.Queue) int { return cmp.Compare(x.Name, y.Name) })
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

// limits converts a queue's limits from KAI's units: devices, millicores and 10^6 bytes; -1 is
// unlimited, and unset is 0, which allows nothing.
func limits(q *queuev2.Queue) (limit snapshot.Ceiling, invalid string) {
	r := q.Spec.Resources
	if r == nil {
		return snapshot.Ceiling{}, "spec.resources is missing"
	}
	read := func(field string, value float64, unit float64) int64 {
		switch {
		case value == -1:
			return snapshot.Unlimited
		case value < 0 || math.IsNaN(value) || value*unit >= math.MaxInt64:
			invalid = "spec.resources." + field + ".limit must be -1 or a number from 0 up"
			return 0
		}
		return int64(math.Round(value * unit))
	}
	limit.MilliGPU = read("gpu", r.GPU.Limit, 1000)
	limit.MilliCPU = read("cpu", r.CPU.Limit, 1)
	limit.Memory = read("memory", r.Memory.Limit, 1e6)
	return limit, invalid
}

func (b *builder) pods() {
	b.byNode = map[string][]*snapshot.Pod{}
	for uid, p := range b.m.pods {
		node := cmp.Or(p.object.Spec.NodeName, b.m.assumed[uid])
		if node == "" && !p.ours {
			continue // somebody else's to schedule, and no load on any node yet
		}
		out := &snapshot.Pod{
			UID: string(uid), Namespace: p.object.Namespace, Name: p.object.Name,
			Request: p.request, Class: p.class, Alone: p.alone, Created: p.object.CreationTimestamp.Time,
			Node: node, Terminating: p.object.DeletionTimestamp != nil,
			Ready: ready(p.object), Resident: Resident(p.object), Object: p.object,
		}
		b.byUID = append(b.byUID, out)
		if node != "" {
			b.byNode[node] = append(b.byNode[node], out)
		}
	}
	order := func(x, y *snapshot.Pod) int { return cmp.Compare(x.UID, y.UID) }
	slices.SortFunc(b.byUID, order)
	for _, pods := range b.byNode {
		slices.SortFunc(pods, order)
	}
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Resident says whether a pod belongs to its node: a DaemonSet's, or a static one.
func Resident(p *corev1.Pod) bool {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	return slices.ContainsFunc(p.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ref.Kind == "DaemonSet" || ref.Kind == "Node"
	})
}
