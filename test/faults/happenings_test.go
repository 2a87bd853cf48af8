package faults

import (
	"fmt"
	"math/rand/v2"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
)

// happenings are what users, the market, administrators and other schedulers do, at random.
type happenings struct {
	w          *world
	base, more *rand.Rand
}

// happening is one kind of event and how often it comes in a thousand seconds.
type happening struct {
	often float64
	do    func(h *happenings)
}

// first are the happenings that there were from the start; later ones have a stream of their own.
var first, later = []happening{
	{12, (*happenings).createCluster},
	{6, (*happenings).deleteCluster},
	{5, (*happenings).marketShort},
	{2, (*happenings).loseMachine},
	{2, (*happenings).growByHand},
}, []happening{
	{3, (*happenings).resize},
	{2, (*happenings).suspend},
	{4, (*happenings).resume},
	{4, (*happenings).createPod},
	{4, (*happenings).endPod},
	{3, (*happenings).foreignPod},
	{1, (*happenings).cordon},
	{3, (*happenings).uncordon},
	{1, (*happenings).notReady},
	{8, (*happenings).readyAgain},
	{1, (*happenings).spare},
	{4, (*happenings).unspare},
	{1, (*happenings).relimit},
	{2, (*happenings).guard},
	{5, (*happenings).unguard},
	{1, (*happenings).bar},
	{5, (*happenings).unbar},
	{1, (*happenings).throttle},
}

// second lets something happen, or nothing.
func (h *happenings) second() {
	pick(h, h.base, first)
	pick(h, h.more, later)
}

func pick(h *happenings, r *rand.Rand, of []happening) {
	p := r.Float64() * 1000
	for _, e := range of {
		if p -= e.often; p < 0 {
			e.do(h)
			return
		}
	}
}

// over takes back what would keep the world from coming to rest.
func (h *happenings) over() {
	w := h.w
	for _, b := range w.budgets.list() {
		w.budgets.drop(b)
	}
	clear(w.barred)
	for _, n := range w.nodes.list() {
		h.mend(n)
	}
	for _, p := range w.pods.list() {
		if foreign(p) {
			w.deletePod(p)
		}
	}
	for _, g := range w.groups {
		g.throttled, g.short = time.Time{}, time.Time{}
	}
}

func one[T any](r *rand.Rand, of []T) (x T, ok bool) {
	if len(of) == 0 {
		return x, false
	}
	return of[r.IntN(len(of))], true
}

func (h *happenings) group() *group {
	return h.w.groups[sorted(h.w.groups)[h.base.IntN(len(h.w.groups))]]
}

// leaf is a queue that takes work.
func leaf(r *rand.Rand, w *world) string {
	n := len(w.queues.list())
	if w.queues.get("/org") != nil {
		n--
	}
	return fmt.Sprintf("q%d", r.IntN(n))
}

func (h *happenings) createCluster() {
	w, r := h.w, h.base
	if len(w.clusters.list()) >= 8 {
		return
	}
	gpus := int64(r.IntN(3))
	if gpus == 2 {
		gpus = 1
	}
	n := int32(1 + r.IntN(4)) //nolint:gosec // small
	least := n
	if r.IntN(3) == 0 {
		least = 1 + int32(r.IntN(int(n))) //nolint:gosec // small
	}
	rc := newCluster(fmt.Sprintf("rc%d", w.serial), leaf(r, w), n, least, gpus)
	if class := h.class(); class != "" {
		rc.Labels[v1alpha1.PriorityClassLabel] = class
	}
	w.clusters.put(rc)
	w.note("created %s in %s %s: %d (%d) workers of %d GPUs", rc.Name, queueOf(rc), rc.Labels[v1alpha1.PriorityClassLabel], n, least, gpus)
}

// class is a priority class, or "" for none.
func (h *happenings) class() string {
	switch h.more.IntN(10) {
	case 0, 1:
		return v1alpha1.PriorityClassBuildPreemptible
	case 2:
		return v1alpha1.PriorityClassBuild
	case 3:
		return v1alpha1.PriorityClassInference
	}
	return ""
}

func (h *happenings) deleteCluster() {
	if rc, ok := one(h.base, h.w.clusters.list()); ok {
		h.w.clusters.drop(rc)
		h.w.note("deleted %s", rc.Name)
	}
}

func (h *happenings) marketShort() {
	g := h.group()
	g.short, g.spare = time.Now().Add(time.Duration(1+h.base.IntN(5))*time.Minute), h.base.IntN(3)
	h.w.note("%s is short but for %d", g.name, g.spare)
}

func (h *happenings) loseMachine() {
	g := h.group()
	if i, ok := one(h.base, g.instances); ok && i.ends.IsZero() {
		i.ends, g.lost = time.Now().Add(time.Second), time.Now()
		h.w.note("lost %s", i.id)
	}
}

func (h *happenings) growByHand() {
	if g := h.group(); g.alive() < g.max {
		h.w.note("somebody raised %s: %s", g.name, h.w.start(g, "", "").id)
	}
}

func (h *happenings) throttle() {
	g := h.w.groups[sorted(h.w.groups)[h.more.IntN(len(h.w.groups))]]
	g.throttled = time.Now().Add(time.Duration(1+h.more.IntN(4)) * time.Minute)
	h.w.note("launches of %s are throttled", g.name)
}

func (h *happenings) resize() {
	if rc, ok := one(h.more, h.w.clusters.list()); ok {
		g := rc.Spec.WorkerGroupSpecs[0]
		n := *g.MinReplicas + int32(h.more.IntN(4)) //nolint:gosec // small
		h.w.clusters.edit(rc, func(rc *rayv1.RayCluster) {
			g := &rc.Spec.WorkerGroupSpecs[0]
			g.Replicas, g.MaxReplicas = &n, &n
		})
		h.w.note("%s asks for %d workers", rc.Name, n)
	}
}

func (h *happenings) suspend() {
	if rc, ok := one(h.more, h.w.clusters.list()); ok && !ray.Suspended(rc) {
		h.setSuspend(rc, true)
	}
}

func (h *happenings) resume() {
	if rc, ok := one(h.more, h.w.clusters.list()); ok && ray.Suspended(rc) {
		h.setSuspend(rc, false)
	}
}

func (h *happenings) setSuspend(rc *rayv1.RayCluster, is bool) {
	h.w.clusters.edit(rc, func(rc *rayv1.RayCluster) { rc.Spec.Suspend = &is })
	h.w.limited[rc.Name] = time.Now()
	h.w.note("%s suspended: %v", rc.Name, is)
}

// createPod makes a pod that is a gang of its own.
func (h *happenings) createPod() {
	w := h.w
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: fmt.Sprintf("pod%d", w.serial),
		Labels: map[string]string{v1alpha1.QueueLabel: leaf(h.more, w)}}, Spec: podSpec("1", "2Gi", int64(h.more.IntN(2)))}
	p.Labels[gangLabel] = p.Name
	if class := h.class(); class != "" {
		p.Labels[v1alpha1.PriorityClassLabel] = class
	}
	w.pods.put(p)
	w.note("created %s in %s %s: %s", p.Name, queueOf(p), p.Labels[v1alpha1.PriorityClassLabel], fit.Requests(p))
}

func (h *happenings) endPod() {
	var mine []*corev1.Pod
	for _, p := range h.w.pods.list() {
		if metav1.GetControllerOf(p) == nil && !over(p) {
			mine = append(mine, p)
		}
	}
	if p, ok := one(h.more, mine); ok && (p.Spec.NodeName == "" || h.more.IntN(2) == 0) {
		h.w.deletePod(p)
		h.w.note("deleted %s", p.Name)
	} else if ok {
		h.w.pods.edit(p, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
		h.w.note("%s has succeeded", p.Name)
	}
}

func foreign(p *corev1.Pod) bool { return p.Spec.SchedulerName == "default-scheduler" }

// foreignPod lets another scheduler put a pod on a node that takes pods.
func (h *happenings) foreignPod() {
	w := h.w
	n, ok := one(h.more, w.nodes.list())
	if !ok || len(n.Spec.Taints) > 0 || n.Spec.Unschedulable || !readyNode(n) {
		return
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: fmt.Sprintf("foreign%d", w.serial)}, Spec: podSpec("100m", "128Mi", 0)}
	p.Spec.SchedulerName = "default-scheduler"
	runOn(p, n.Name, nil)
	w.pods.put(p)
	w.note("%s runs on %s", p.Name, n.Name)
}

func (h *happenings) managed() (*corev1.Node, bool) {
	n, ok := one(h.more, h.w.nodes.list())
	return n, ok && n.Spec.ProviderID != ""
}

func (h *happenings) cordon() {
	if n, ok := h.managed(); ok {
		h.w.nodes.edit(n, func(n *corev1.Node) { n.Spec.Unschedulable = true })
		h.w.note("%s is cordoned", n.Name)
	}
}

func (h *happenings) uncordon() {
	if n, ok := h.managed(); ok && n.Spec.Unschedulable {
		h.w.nodes.edit(n, func(n *corev1.Node) { n.Spec.Unschedulable = false })
		h.w.note("%s is not cordoned any more", n.Name)
	}
}

func (h *happenings) notReady() {
	if n, ok := h.managed(); ok {
		h.w.nodes.edit(n, func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse })
		h.w.note("%s is not Ready", n.Name)
	}
}

func (h *happenings) readyAgain() {
	if n, ok := h.managed(); ok && !readyNode(n) {
		h.w.nodes.edit(n, func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue })
		h.w.note("%s is Ready again", n.Name)
	}
}

func (h *happenings) spare() {
	if n, ok := h.managed(); ok && h.w.spared[n.Name].IsZero() {
		h.w.nodes.edit(n, func(n *corev1.Node) {
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.DoNotDisruptAnnotation, "true")
		})
		h.w.spared[n.Name] = time.Now()
		h.w.note("%s asks to be left alone", n.Name)
	}
}

func (h *happenings) unspare() {
	if n, ok := h.managed(); ok {
		h.mend(n)
	}
}

// mend makes a node an ordinary one again.
func (h *happenings) mend(n *corev1.Node) {
	if n.Spec.Unschedulable || !readyNode(n) || n.Annotations[v1alpha1.DoNotDisruptAnnotation] != "" {
		h.w.nodes.edit(n, func(n *corev1.Node) {
			n.Spec.Unschedulable, n.Status.Conditions[0].Status = false, corev1.ConditionTrue
			delete(n.Annotations, v1alpha1.DoNotDisruptAnnotation)
		})
		delete(h.w.spared, n.Name)
		h.w.note("%s is an ordinary node again", n.Name)
	}
}

func (h *happenings) relimit() {
	q := h.w.queues.get("/" + leaf(h.more, h.w))
	to := float64(2 + h.more.IntN(9))
	h.w.queues.edit(q, func(q *queuev2.Queue) {
		q.Spec.Resources.GPU.Limit, q.Spec.Resources.GPU.Quota = to, min(to, q.Spec.Resources.GPU.Quota)
	})
	h.w.limited[q.Name] = time.Now()
	h.w.note("queue %s: limit %g", q.Name, to)
}

// guard has a disruption budget keep a gang whole.
func (h *happenings) guard() {
	if g, ok := one(h.more, h.w.gangs()); ok {
		h.w.budgets.put(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: g.name},
			Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{gangLabel: g.name}}}})
		h.w.note("a disruption budget keeps %s", g.name)
	}
}

func (h *happenings) unguard() {
	if b, ok := one(h.more, h.w.budgets.list()); ok {
		h.w.budgets.drop(b)
		h.w.note("no disruption budget keeps %s", b.Name)
	}
}

func (h *happenings) bar() { h.mark(h.w.barred, "a policy refuses to bind") }

func (h *happenings) unbar() { h.unmark(h.w.barred, "no policy refuses to bind") }

func (h *happenings) mark(marks map[string]bool, what string) {
	if g, ok := one(h.more, h.w.gangs()); ok {
		marks[g.name] = true
		h.w.note("%s %s", what, g.name)
	}
}

func (h *happenings) unmark(marks map[string]bool, what string) {
	if name, ok := one(h.more, sorted(marks)); ok {
		delete(marks, name)
		h.w.note("%s %s", what, name)
	}
}
