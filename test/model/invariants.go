package model

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// The invariants are computed from the objects of the world alone: from nothing that a decision
// said, and with nothing of the packages that decide.

// Check says what is wrong with the world as it stands, whatever led here: a node over what it has,
// or a group over its bounds.
func (w *World) Check() error {
	var broken []error
	for _, n := range w.Nodes() {
		room, slots := fit.Allocatable(n)
		used, pods := snapshot.Resources{}, 0
		for _, p := range w.Pods() {
			if p.Spec.NodeName == n.Name && !over(p) {
				used, pods = used.Add(fit.Requests(p)), pods+1
			}
		}
		if used.MilliCPU > room.MilliCPU || used.Memory > room.Memory || used.MilliGPU > room.MilliGPU || pods > slots {
			broken = append(broken, fmt.Errorf("node %s is over its allocatable: %d pods use %s, and it has %s and room for %d pods", n.Name, pods, used, room, slots))
		}
	}
	return errors.Join(broken...)
}

// checkBind says why a pod must not run on its node.
func (w *World) checkBind(p *corev1.Pod) error {
	n := w.nodes[p.Spec.NodeName]
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("pod %s/%s is bound to %s, which %s", p.Namespace, p.Name, n.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case n == nil:
		return fmt.Errorf("pod %s/%s is bound to %s, which does not exist", p.Namespace, p.Name, p.Spec.NodeName)
	case n.Spec.Unschedulable:
		return wrong("is cordoned")
	case !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}):
		return wrong("is not Ready")
	}
	if g := w.groupOf(n.Name); g != nil {
		if has := n.Status.Allocatable[v1alpha1.GPUResource]; has.Value() < g.Shape.GPUs {
			return wrong("advertises %d of %d GPUs", has.Value(), g.Shape.GPUs)
		}
	}
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !slices.ContainsFunc(p.Spec.Tolerations, func(tol corev1.Toleration) bool { return tol.ToleratesTaint(&t) }) {
			return wrong("has the taint %s, which it does not tolerate", t.ToString())
		}
	}
	for key, value := range p.Spec.NodeSelector {
		if n.Labels[key] != value {
			return wrong("has not the label %s=%s", key, value)
		}
	}
	for _, r := range w.open() {
		if !w.owns(r, p) && slices.ContainsFunc(r.Status.Nodes, func(s v1alpha1.NodeStatus) bool {
			return slices.ContainsFunc(s.Instances, func(id string) bool { return w.nodeOf(s.NodeGroup, id) == n.Name })
		}) {
			return wrong("is booked by CapacityRequest %s/%s for another gang", r.Namespace, r.Name)
		}
	}
	return nil
}

// checkGang says whether a gang that was just started lacks a member of its minimum. One that ran
// before is not measured by its spec: the minimum of a running gang does not rise with it.
func (w *World) checkGang(b plan.Bind) error {
	rc := w.clusters[types.NamespacedName{Namespace: b.Gang.Namespace, Name: b.Gang.Name}]
	if b.Gang.Kind != "RayCluster" || rc == nil {
		return nil
	}
	started := map[string]bool{}
	for _, a := range b.Assignments {
		started[a.UID] = true
	}
	for _, p := range w.Pods() {
		if metav1.IsControlledBy(p, rc) && p.Spec.NodeName != "" && !over(p) && p.DeletionTimestamp == nil && !started[string(p.UID)] {
			return nil
		}
	}
	groups, err := ray.Groups(rc, fit.Requests)
	if err != nil {
		return fmt.Errorf("%s was bound although it makes no gang: %w", b.Gang, err)
	}
	var broken []error
	for _, g := range groups {
		have := 0
		for _, p := range w.Pods() {
			if metav1.IsControlledBy(p, rc) && p.Labels[ray.GroupLabel] == g.Name && p.Spec.NodeName != "" && !over(p) && p.DeletionTimestamp == nil {
				have++
			}
		}
		if have < g.Min {
			broken = append(broken, fmt.Errorf("%s was bound in part: %d of %d pods of group %s", b.Gang, have, g.Min, g.Name))
		}
	}
	return errors.Join(broken...)
}

// checkEviction says why pods must not be evicted: they are nobody's to evict, a gang would be cut
// below its minimum and left running, or nothing is gained by it.
func (w *World) checkEviction(e plan.Evict) error {
	var broken []error
	going := map[types.UID]bool{}
	for _, ref := range e.Pods {
		going[types.UID(ref.UID)] = true
		if p := w.pods[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}]; p != nil && p.Spec.NodeName == "" {
			broken = append(broken, fmt.Errorf("evicting %s/%s, which has no node", ref.Namespace, ref.Name))
		}
	}
	if e.Gang == e.For {
		broken = append(broken, fmt.Errorf("evicting %s for itself", e.Gang))
	}
	rc := w.clusters[types.NamespacedName{Namespace: e.Gang.Namespace, Name: e.Gang.Name}]
	if e.Gang.Kind != "RayCluster" || rc == nil {
		return errors.Join(broken...)
	}
	groups, err := ray.Groups(rc, fit.Requests)
	if err != nil {
		return errors.Join(append(broken, err)...)
	}
	for _, g := range groups {
		left, gone := 0, 0
		for _, p := range w.Pods() {
			if !metav1.IsControlledBy(p, rc) || p.Labels[ray.GroupLabel] != g.Name || p.Spec.NodeName == "" || over(p) || p.DeletionTimestamp != nil {
				continue
			}
			if going[p.UID] {
				gone++
			} else {
				left++
			}
		}
		switch {
		case e.Whole && left > 0:
			broken = append(broken, fmt.Errorf("%s is evicted whole, and %d pods of group %s stay", e.Gang, left, g.Name))
		case !e.Whole && gone > 0 && left < g.Min:
			broken = append(broken, fmt.Errorf("%s keeps %d of %d pods of group %s and is not evicted whole", e.Gang, left, g.Min, g.Name))
		}
	}
	return errors.Join(broken...)
}

// checkLimits says which limit of the queue or an ancestor a bind has broken. Dimensions that none
// of the bound pods asks for are not the bind's doing.
func (w *World) checkLimits(b plan.Bind) error {
	var asked snapshot.Resources
	for _, a := range b.Assignments {
		asked = asked.Add(fit.Requests(w.pods[types.NamespacedName{Namespace: a.Namespace, Name: a.Pod}]))
	}
	var broken []error
	for _, q := range w.lineage(b.Queue) {
		var used snapshot.Resources
		for _, p := range w.Pods() {
			if p.Spec.NodeName != "" && !over(p) && p.DeletionTimestamp == nil && slices.Contains(w.lineage(w.queueOf(p)), q) {
				used = used.Add(fit.Requests(p))
			}
		}
		r := w.queues[q].Spec.Resources
		for _, dim := range []struct {
			name        string
			used, asked int64
			limit       float64
			unit        float64
		}{
			{"GPU", used.MilliGPU, asked.MilliGPU, r.GPU.Limit, 1000},
			{"CPU", used.MilliCPU, asked.MilliCPU, r.CPU.Limit, 1},
			{"memory", used.Memory, asked.Memory, r.Memory.Limit, 1e6},
		} {
			if dim.limit >= 0 && dim.asked > 0 && float64(dim.used) > dim.limit*dim.unit {
				broken = append(broken, fmt.Errorf("binding %s puts queue %s over its %s limit: %d of %g", b.Gang, q, dim.name, dim.used, dim.limit*dim.unit))
			}
		}
	}
	return errors.Join(broken...)
}

// checkLedger says of which queue the decision's account is not what its pods use.
func (w *World) checkLedger(p *plan.Plan) error {
	var broken []error
	for _, r := range p.Queues {
		var used snapshot.Resources
		for _, pod := range w.Pods() {
			if pod.Spec.NodeName != "" && !over(pod) && pod.DeletionTimestamp == nil && slices.Contains(w.lineage(w.queueOf(pod)), r.Name) {
				used = used.Add(fit.Requests(pod))
			}
		}
		if used != r.Allocated {
			broken = append(broken, fmt.Errorf("queue %s is said to use %s, and its pods use %s", r.Name, r.Allocated, used))
		}
	}
	return errors.Join(broken...)
}

// checkTermination says why an instance must not be ended.
func (w *World) checkTermination(g *Group, i *Instance) error {
	least := g.Min
	for _, c := range w.Config.NodeGroups {
		if c.Name == g.Name {
			least = max(least, int(c.MinNodes))
		}
	}
	if len(g.Instances)-1 < least {
		return fmt.Errorf("terminating %s leaves node group %s below its minimum of %d", i.ID, g.Name, least)
	}
	for _, r := range w.open() {
		for _, st := range r.Status.Nodes {
			if slices.Contains(st.Instances, i.ID) && !w.outlived(g, i) {
				return fmt.Errorf("terminating %s, which CapacityRequest %s/%s has booked", i.ID, r.Namespace, r.Name)
			}
		}
	}
	return nil
}

// outlived says whether an instance had its time to become usable, after which a booking protects
// it no longer.
func (w *World) outlived(g *Group, i *Instance) bool {
	for _, c := range w.Config.NodeGroups {
		if c.Name == g.Name {
			return w.Now.Sub(i.Launched) > c.ProvisionTimeout.Duration
		}
	}
	return true
}

// checkBounds says which bound on buying a launch has broken: of a group, the cluster, or a queue.
func (w *World) checkBounds() error {
	var broken []error
	total, cost := 0, int64(0)
	for _, c := range w.Config.NodeGroups {
		g := w.Groups[c.Name]
		n := len(g.Instances) + w.awaited(c.Name)
		if n > int(*c.MaxNodes) || n > g.Max {
			broken = append(broken, fmt.Errorf("node group %s has %d instances, more than its maximum", c.Name, n))
		}
		total += n
		cost += int64(n) * w.price(c.Name)
	}
	l := w.Config.Limits
	if l.MaxNodes != nil && total > int(*l.MaxNodes) {
		broken = append(broken, fmt.Errorf("the cluster has %d bought nodes of at most %d", total, *l.MaxNodes))
	}
	if l.MaxHourlyCost != nil && cost > l.MaxHourlyCost.Micros() {
		broken = append(broken, fmt.Errorf("the cluster costs %d micro-dollars per hour of at most %d", cost, l.MaxHourlyCost.Micros()))
	}
	for _, name := range sorted(w.Config.Queues) {
		if s := w.Config.Queues[name].Scaling; s != nil {
			broken = append(broken, w.checkQueueBounds(name, s))
		}
	}
	return errors.Join(broken...)
}

// checkQueueBounds counts what is booked for a queue in full, and what its pods use of managed nodes
// that nobody has booked.
func (w *World) checkQueueBounds(queue string, s *v1alpha1.Scaling) error {
	gpus, cost, booked := int64(0), int64(0), map[string]bool{}
	for _, r := range w.open() {
		mine := slices.Contains(w.lineage(r.Spec.Queue), queue)
		for _, n := range r.Spec.Nodes {
			if mine {
				gpus += int64(n.Count) * w.Groups[n.NodeGroup].Shape.GPUs
				cost += int64(n.Count) * w.price(n.NodeGroup)
			}
		}
		for _, st := range r.Status.Nodes {
			for _, id := range st.Instances {
				booked[w.nodeOf(st.NodeGroup, id)] = true
			}
		}
	}
	for _, p := range w.Pods() {
		g := w.groupOf(p.Spec.NodeName)
		if g != nil && !over(p) && !booked[p.Spec.NodeName] && slices.Contains(w.lineage(w.queueOf(p)), queue) {
			gpus += fit.Requests(p).MilliGPU / 1000
		}
	}
	var broken []error
	if s.MaxGPUs != nil && gpus > int64(*s.MaxGPUs) {
		broken = append(broken, fmt.Errorf("queue %s has %d bought GPUs of at most %d", queue, gpus, *s.MaxGPUs))
	}
	if s.MaxHourlyCost != nil && cost > s.MaxHourlyCost.Micros() {
		broken = append(broken, fmt.Errorf("queue %s has booked %d micro-dollars per hour of at most %d", queue, cost, s.MaxHourlyCost.Micros()))
	}
	return errors.Join(broken...)
}

func (w *World) price(group string) int64 {
	for _, c := range w.Config.NodeGroups {
		if c.Name == group && c.HourlyPrice != nil {
			return c.HourlyPrice.Micros()
		}
	}
	return int64(w.Groups[group].PricePerHour*1e6 + 0.5)
}

// open lists the CapacityRequests that are neither given up nor over.
func (w *World) open() []*v1alpha1.CapacityRequest {
	return slices.DeleteFunc(w.Requests(), func(r *v1alpha1.CapacityRequest) bool {
		return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionFailed) ||
			meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReleased)
	})
}

// owns says whether a pod belongs to the gang that a request was made for.
func (w *World) owns(r *v1alpha1.CapacityRequest, p *corev1.Pod) bool {
	return r.Spec.Gang.UID == p.UID || len(p.OwnerReferences) > 0 && p.OwnerReferences[0].UID == r.Spec.Gang.UID
}

func (w *World) nodeOf(group, instance string) string {
	if g := w.Groups[group]; g != nil && g.Instance(instance) != nil {
		return g.Instance(instance).Node
	}
	return ""
}

// queueOf is the queue of a pod of ours, from its owner where it has one; "" for others.
func (w *World) queueOf(p *corev1.Pod) string {
	if !slices.Contains(w.Config.SchedulerNames, p.Spec.SchedulerName) || state.Resident(p) {
		return ""
	}
	return cmp.Or(w.askedAbove(p), ray.Queue(p.Labels), w.Config.DefaultQueue)
}

// lineage is a queue with its ancestors, leaf first; it ends where the tree is broken.
func (w *World) lineage(queue string) []string {
	var names []string
	for q := w.queues[queue]; q != nil && !slices.Contains(names, q.Name); q = w.queues[q.Spec.ParentQueue] {
		names = append(names, q.Name)
	}
	return names
}
