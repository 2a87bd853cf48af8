package state

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Snapshot returns the world as it is now. It is the caller's to read and nobody's to change.
func (m *Mirror) Snapshot(now time.Time) *snapshot.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &builder{m: m, s: &snapshot.Snapshot{Rev: m.rev, Now: now, Bounds: map[string]snapshot.Bounds{}}}
	b.recall()
	b.bounds()
	b.queues()
	b.gangs()
	b.returns()
	b.grown()
	b.refusals()
	b.learnBoots()
	b.rejections()
	b.nodeGroups()
	b.nodes()
	b.delegates()
	b.bookings()
	b.unfit()
	m.kept.done()
	return b.s
}

// builder assembles one snapshot under the mirror's lock.
type builder struct {
	m *Mirror
	s *snapshot.Snapshot

	history  []*v1alpha1.CapacityRequest // those that exist and those that went lately, oldest first
	markets  map[market]memory           // what the cloud refuses
	returned map[string]bool             // instances that are being given back, by ID
}

func (b *builder) bounds() {
	c := b.m.config
	b.s.Home = c.LeaderElection.Namespace
	b.s.WarmAttempts = map[string]int32{}
	for _, r := range b.history {
		if k := r.Spec.Gang; k.KeepsWarm() {
			b.s.WarmAttempts[string(k.UID)] = max(b.s.WarmAttempts[string(k.UID)], r.Spec.Attempt)
		}
	}
	if d := c.Scheduling.ConsolidateAbove; d != nil {
		b.s.Limits.ConsolidateAbove = snapshot.Dollars(*d)
	}
	if n := c.Scheduling.MaxVictims; n != nil {
		b.s.Limits.MaxVictims = int(*n)
	}
	if n := c.Limits.MaxNodes; n != nil {
		b.s.Limits.MaxNodes = int(*n)
	}
	if d := c.Limits.MaxHourlyCost; d != nil {
		b.s.Limits.MaxHourlyCost = snapshot.Dollars(d.Micros())
	}
	if n := c.Limits.MaxNewNodesPerHour; n != nil {
		most := int(*n)
		b.s.Limits.MaxNewNodesPerHour = &most
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
	out := snapshot.Bounds{Ladder: s.Ladder, MinGPUs: int64(s.MinGPUs), MaxNodes: map[string]int{}}
	if s.PreferScaleUpFor != nil {
		out.PreferScaleUp = s.PreferScaleUpFor.Duration
	}
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

// pod is what the snapshot says of a pod, or nil: somebody else's to schedule, and no load on any
// node yet.
func (b *builder) pod(p *pod) *snapshot.Pod {
	uid := p.object.UID
	node := cmp.Or(p.object.Spec.NodeName, b.m.assumed[uid])
	if node == "" && !p.ours {
		return nil
	}
	return &snapshot.Pod{
		UID: string(uid), Namespace: p.object.Namespace, Name: p.object.Name,
		Request: p.request, Class: p.class, Alone: p.alone, Created: p.object.CreationTimestamp.Time,
		Node: node, Started: started(p.object), Unit: p.object.Labels[ray.ReplicaLabel],
		Terminating: p.object.DeletionTimestamp != nil || b.m.leaving[uid] != staying,
		Lingers:     p.object.DeletionTimestamp == nil && b.m.leaving[uid] == asked && node != "",
		Ready:       ready(p.object), Resident: Resident(p.object), Protected: p.keeps, Guarded: p.guards.Why, Budget: p.guards.Budget, Allowed: p.guards.Allows, Object: p.object,
	}
}

// started is when a pod was bound; zero while it waits, and until the API server has said so.
func started(p *corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
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
