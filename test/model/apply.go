package model

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/state"
)

// Apply does to the world what the executor does with a plan, in the executor's order: intents and
// launches, evictions, binds, terminations, verdicts. Steps that the world has overtaken since the decision are
// left out and noted. The error lists the invariants that broke.
func (w *World) Apply(p *plan.Plan) error {
	at, known := w.decided[p.Rev]
	fresh := known && at == w.changes
	w.notes, w.refusals = nil, nil
	var broken []error
	if fresh {
		broken = append(broken, w.checkLedger(p))
	}
	for _, step := range p.Steps {
		switch s := step.(type) {
		case plan.Book:
			w.book(s)
		case plan.GrowNodeGroup:
			broken = append(broken, w.grow(s))
		case plan.Settle:
			w.settle(s)
		case plan.Suspend:
			broken = append(broken, w.turn(s, s.Object, true, string(s.Mode)))
			w.evictedFor(s.For)
		case plan.Resume:
			broken = append(broken, w.turn(s, s.Object, false, ""))
		case plan.Resize:
			broken = append(broken, w.resize(s))
			if len(s.For) > 0 {
				w.Evictions[s.Gang.String()]++
			}
			w.evictedFor(s.For...)
		case plan.Ceiling:
			broken = append(broken, w.moveCeiling(s))
		case plan.Evict, plan.Bind, plan.TerminateNode:
		default:
			broken = append(broken, fmt.Errorf("the model does not know the step %s", s.Kind()))
		}
	}
	for _, step := range p.Steps {
		if s, ok := step.(plan.Evict); ok {
			broken = append(broken, w.evict(s))
		}
	}
	for _, step := range p.Steps {
		if s, ok := step.(plan.Bind); ok {
			broken = append(broken, w.bind(p, s))
		}
	}
	for _, step := range p.Steps {
		if s, ok := step.(plan.TerminateNode); ok {
			broken = append(broken, w.terminate(s))
		}
	}
	if fresh && len(w.notes) > 0 {
		broken = append(broken, fmt.Errorf("a plan that nothing had overtaken was refused: %v", w.notes))
	}
	w.notes = append(w.notes, w.refusals...)
	w.publish(p.Verdicts)
	broken = append(broken, w.Check())
	return errors.Join(broken...)
}

func (w *World) leaveOut(step plan.Step, format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf("left out: %s: %s", step, fmt.Sprintf(format, args...)))
}

// book writes the intent. The same attempt is the same object.
func (w *World) book(b plan.Book) {
	if w.requests[types.NamespacedName{Namespace: b.Gang.Namespace, Name: b.Request}] != nil {
		return
	}
	if !w.exists(b.Gang) {
		w.leaveOut(b, "the gang is gone")
		return
	}
	r := &v1alpha1.CapacityRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.Gang.Namespace, Name: b.Request,
			Labels: map[string]string{v1alpha1.ShapeLabel: b.Shape},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: b.Gang.APIVersion, Kind: b.Gang.Kind, Name: b.Gang.Name, UID: types.UID(b.Gang.UID)}}},
		Spec: v1alpha1.CapacityRequestSpec{
			Gang:  v1alpha1.GangReference{APIVersion: b.Gang.APIVersion, Kind: b.Gang.Kind, Name: b.Gang.Name, UID: types.UID(b.Gang.UID)},
			Queue: b.Queue, Attempt: b.Attempt, HourlyCost: v1alpha1.Dollars(b.HourlyCost).String(),
		},
	}
	for _, p := range b.Purchases {
		r.Spec.Nodes = append(r.Spec.Nodes, v1alpha1.NodeRequest{
			NodeGroup: p.Group, Count: int32(p.Count), Zone: p.Zone, ClientToken: p.Token, Pods: tenants(p.Pods)}) //nolint:gosec // bounded by the group's maximum
	}
	w.putRequest(r)
}

func tenants(pods []plan.Tenant) (out []v1alpha1.PodReference) {
	for _, p := range pods {
		out = append(out, v1alpha1.PodReference{Name: p.Name, UID: types.UID(p.UID), Node: int32(p.Node)}) //nolint:gosec // below the count
	}
	return out
}

// exists says whether a gang's owner is still the same object.
func (w *World) exists(o plan.Owner) bool {
	key := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	switch o.Kind {
	case v1alpha1.NodeGroupKind, v1alpha1.QueueKind: // what keeps capacity warm
		return true
	case "Pod":
		return w.pods[key] != nil && string(w.pods[key].UID) == o.UID
	case "RayJob":
		return w.jobs[key] != nil && string(w.jobs[key].UID) == o.UID
	}
	return w.clusters[key] != nil && string(w.clusters[key].UID) == o.UID
}

// grow launches a whole request at its first step, all or nothing: when a group refuses, what the
// others delivered is given back at once.
func (w *World) grow(s plan.GrowNodeGroup) error {
	r := w.requests[types.NamespacedName{Namespace: s.Namespace, Name: s.Request}]
	switch {
	case r == nil:
		w.leaveOut(s, "its CapacityRequest is not there")
		return nil
	case meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionProvisioned), meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionFailed):
		return nil // launched with an earlier step of the same request
	}
	var failure error
	var nodes []v1alpha1.NodeStatus
	for _, n := range r.Spec.Nodes {
		ids, err := w.Groups[n.NodeGroup].Launch(w.Now, int(n.Count), n.ClientToken, r.Namespace+"/"+r.Name)
		st := v1alpha1.NodeStatus{NodeGroup: n.NodeGroup, Instances: slices.Sorted(slices.Values(ids))}
		if err != nil {
			st.Message = err.Error()
			failure = errors.Join(failure, err)
			st.Refusal = execute.Refusal(w.mirror, n.NodeGroup, err, w.Now)
		}
		nodes = append(nodes, st)
	}
	broken := w.checkBounds()
	w.observe()
	if failure == nil && slices.ContainsFunc(r.Spec.Nodes, func(n v1alpha1.NodeRequest) bool { return w.Groups[n.NodeGroup].promise != nil }) {
		w.patch(r, nodes) // see follow
		return broken
	}
	if failure == nil {
		w.patch(r, nodes, condition(v1alpha1.ConditionProvisioned, true, v1alpha1.ReasonLaunched, fmt.Sprintf("%d instances exist", r.Spec.TotalNodes())),
			condition(v1alpha1.ConditionReady, false, v1alpha1.ReasonLaunched, "the nodes boot"))
		return broken
	}
	for _, st := range nodes {
		g := w.Groups[st.NodeGroup]
		for _, id := range st.Instances {
			g.forget(g.Instance(id).ProviderID)
		}
	}
	w.observe()
	w.patch(r, nodes, condition(v1alpha1.ConditionFailed, true, execute.FailureReason(failure), failure.Error()),
		condition(v1alpha1.ConditionReleased, true, v1alpha1.ReasonNodesReturned, "whatever came has been given back"))
	return broken
}

func (w *World) settle(s plan.Settle) {
	r := w.requests[types.NamespacedName{Namespace: s.Namespace, Name: s.Request}]
	if r == nil || meta.IsStatusConditionTrue(r.Status.Conditions, string(s.State)) {
		return
	}
	conditions := []metav1.Condition{condition(string(s.State), true, s.Reason, s.Message)}
	switch s.State {
	case plan.RequestFailed:
		conditions = append(conditions, condition(v1alpha1.ConditionReleased, true, s.Reason, "the booking is over"),
			condition(v1alpha1.ConditionReady, false, s.Reason, s.Message))
	case plan.RequestReleased:
		ready := meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady)
		conditions = append(conditions, condition(v1alpha1.ConditionReady, ready, s.Reason, s.Message))
	case plan.RequestReady:
	}
	nodes := slices.Clone(r.Status.Nodes)
	for k := range nodes {
		for _, b := range s.Boots {
			if b.Group == nodes[k].NodeGroup {
				nodes[k].BootTime = &metav1.Duration{Duration: b.Took}
			}
		}
	}
	w.patch(r, nodes, conditions...)
}

func (w *World) patch(r *v1alpha1.CapacityRequest, nodes []v1alpha1.NodeStatus, conditions ...metav1.Condition) {
	r = r.DeepCopy()
	r.Status.Nodes = nodes
	r.Status.Summary, r.Status.TotalNodes = r.Spec.GroupNames(), r.Spec.TotalNodes()
	for _, c := range append([]metav1.Condition{condition(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonRequested, "the intent is recorded")}, conditions...) {
		c.LastTransitionTime = metav1.NewTime(w.Now)
		meta.SetStatusCondition(&r.Status.Conditions, c)
	}
	w.putRequest(r)
}

func condition(kind string, is bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// bind puts all pods of the step on their nodes, or none.
func (w *World) bind(p *plan.Plan, b plan.Bind) error {
	for _, a := range b.Assignments {
		p := w.pods[types.NamespacedName{Namespace: a.Namespace, Name: a.Pod}]
		if p == nil || string(p.UID) != a.UID {
			w.leaveOut(b, "pod %s is gone", a.Pod)
			return nil
		}
		if why := w.mirror.Unbindable(p.UID, a.Node); why != "" {
			w.leaveOut(b, "pod %s: %s", a.Pod, why)
			return nil
		}
	}
	var broken []error
	for _, a := range b.Assignments {
		p := w.pods[types.NamespacedName{Namespace: a.Namespace, Name: a.Pod}].DeepCopy()
		p.Spec.NodeName = a.Node
		if minimum := ray.FormatMinimum(w.mirror.Gang(b.Gang.Gang())); minimum != "" {
			metav1.SetMetaDataAnnotation(&p.ObjectMeta, v1alpha1.BoundMinimumAnnotation, minimum)
		}
		broken = append(broken, w.checkBind(p))
		w.putPod(p)
	}
	if !p.EvictsFor(b.Gang) {
		w.mirror.ForgetEviction(b.Gang.Gang())
	}
	return errors.Join(append(broken, w.checkGang(b), w.checkLimits(b))...)
}

// evict asks pods to go. They leave their nodes when the clock has moved past their grace.
func (w *World) evict(e plan.Evict) error {
	broken := w.checkEviction(e)
	var uids []types.UID
	for _, ref := range e.Pods {
		p := w.pods[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}]
		if p == nil || string(p.UID) != ref.UID {
			w.leaveOut(e, "pod %s is gone", ref.Name)
			continue
		}
		if name := w.refusedBy(p); name != "" {
			w.refusals = append(w.refusals, fmt.Sprintf("refused: evicting pod %s: the disruption budget %s allows none", ref.Name, name))
			continue
		}
		uids = append(uids, p.UID)
		p = p.DeepCopy()
		now := metav1.NewTime(w.Now)
		p.DeletionTimestamp = &now
		w.putPod(p)
	}
	if len(uids) > 0 {
		w.Evictions[e.Gang.String()]++
	}
	w.mirror.AssumeEvicted(uids)
	w.evictedFor(e.For)
	return broken
}

// evictedFor notes for whom others lose their room.
func (w *World) evictedFor(whom ...plan.Owner) {
	for _, o := range whom {
		if o.UID != "" {
			w.mirror.RememberEviction(o.Gang(), w.Now)
		}
	}
}

// terminate ends one named instance and its node at once. Work that arrived since the decision
// cancels it.
func (w *World) terminate(s plan.TerminateNode) error {
	g := w.Groups[s.Group]
	if g.promise != nil {
		return fmt.Errorf("terminating %s, which another autoscaler made", s.Instance)
	}
	i := g.Instance(s.Instance)
	if i == nil {
		w.leaveOut(s, "the instance is gone")
		return nil
	}
	broken := w.checkTermination(g, i)
	for _, p := range w.Pods() {
		if i.Node != "" && p.Spec.NodeName == i.Node && !over(p) && !state.Resident(p) {
			w.leaveOut(s, "pod %s/%s runs there", p.Namespace, p.Name)
			return nil
		}
	}
	if n := w.nodes[i.Node]; n != nil && state.Protected(n) != "" {
		w.leaveOut(s, "%s", state.Protected(n))
		return nil
	}
	g.forget(i.ProviderID)
	if i.Node != "" {
		w.mirror.NoteReleased(g.Name, w.Now)
	}
	if n := w.nodes[i.Node]; n != nil {
		delete(w.nodes, n.Name)
		w.mirror.Nodes().OnDelete(n)
		for _, p := range w.Pods() {
			if p.Spec.NodeName == n.Name {
				delete(w.pods, keyOf(p))
				w.mirror.Pods().OnDelete(p)
			}
		}
	}
	w.observe()
	return broken
}

// publish writes verdicts on the owners, where they say something new.
func (w *World) publish(verdicts []*plan.Verdict) {
	for _, v := range verdicts {
		key := types.NamespacedName{Namespace: v.Gang.Namespace, Name: v.Gang.Name}
		if v.Gang.Kind == "Pod" || v.Early || !w.exists(v.Gang) || v.Text() == v.Previous {
			continue // a pod's verdict is a condition in its status, which no decision reads
		}
		if v.Gang.Kind == "RayJob" {
			j := w.jobs[key].DeepCopy()
			metav1.SetMetaDataAnnotation(&j.ObjectMeta, v1alpha1.VerdictAnnotation, v.Text())
			w.putRayJob(j)
			continue
		}
		rc := w.clusters[key].DeepCopy()
		metav1.SetMetaDataAnnotation(&rc.ObjectMeta, v1alpha1.VerdictAnnotation, v.Text())
		w.putRayCluster(rc)
	}
}

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
