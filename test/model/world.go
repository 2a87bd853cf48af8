package model

import (
	"fmt"
	"maps"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// World is a cluster, its cloud, and a mirror of both. It belongs to one goroutine.
type World struct {
	Now    time.Time
	Config *v1alpha1.Config
	Groups map[string]*Group // the cloud, by the configured name of the node group

	KubeRayStopped bool           // pods of RayClusters are neither made nor deleted
	Evictions      map[string]int // by "kind/namespace/name" of the gang: steps that evicted some of it

	mirror  *state.Mirror
	fit     *fit.Checker
	decider *scheduler.Decider

	pods     map[types.NamespacedName]*corev1.Pod
	nodes    map[string]*corev1.Node
	queues   map[string]*queuev2.Queue
	clusters map[types.NamespacedName]*rayv1.RayCluster
	jobs     map[types.NamespacedName]*rayv1.RayJob
	requests map[types.NamespacedName]*v1alpha1.CapacityRequest
	budgets  map[types.NamespacedName]*policyv1.PodDisruptionBudget
	makers   []*maker

	serial  uint64            // of objects: UIDs and resource versions
	changes uint64            // by anything but Apply; a plan is fresh while it stands still
	decided map[uint64]uint64 // plan revision to changes at that time
	notes   []string          // steps of the last plan that were overtaken, and what a budget refused

	refusals []string
}

// New returns an empty world under a configuration. Every configured node group must be in groups.
func New(config *v1alpha1.Config, groups map[string]*Group, start time.Time) (*World, error) {
	checker, err := fit.New(informers.NewSharedInformerFactory(fake.NewSimpleClientset(), 0))
	if err != nil {
		return nil, fmt.Errorf("model a cluster: %w", err)
	}
	w := &World{
		Now: start, Config: config, Groups: groups, fit: checker,
		pods:     map[types.NamespacedName]*corev1.Pod{},
		nodes:    map[string]*corev1.Node{},
		queues:   map[string]*queuev2.Queue{},
		clusters: map[types.NamespacedName]*rayv1.RayCluster{},
		jobs:     map[types.NamespacedName]*rayv1.RayJob{},
		requests: map[types.NamespacedName]*v1alpha1.CapacityRequest{},
		budgets:  map[types.NamespacedName]*policyv1.PodDisruptionBudget{},
		decided:  map[uint64]uint64{}, Evictions: map[string]int{},
	}
	for _, c := range config.NodeGroups {
		if groups[c.Name] == nil {
			return nil, fmt.Errorf("model a cluster: node group %s is configured and not in the cloud", c.Name)
		}
		groups[c.Name].delegate(c)
	}
	w.Restart()
	return w, nil
}

// Restart replaces the manager by a fresh process: a new mirror that is told of every object once,
// of the cloud, and of what its predecessor wrote down for it. What only lived in memory is lost.
func (w *World) Restart() {
	left := state.Memory{}
	if w.mirror != nil {
		left = w.mirror.Memory(w.Now)
	}
	w.mirror, w.decider = state.New(w.Config), scheduler.NewDecider(w.fit)
	w.mirror.Recall(left)
	w.changes++
	for _, k := range sorted(w.queues) {
		w.mirror.Queues().OnAdd(w.queues[k], true)
	}
	for _, k := range sortedNames(w.jobs) {
		w.mirror.RayJobs().OnAdd(w.jobs[k], true)
	}
	for _, k := range sortedNames(w.clusters) {
		w.mirror.RayClusters().OnAdd(w.clusters[k], true)
	}
	for _, k := range sortedNames(w.requests) {
		w.mirror.CapacityRequests().OnAdd(w.requests[k], true)
	}
	for _, k := range sorted(w.nodes) {
		w.mirror.Nodes().OnAdd(w.nodes[k], true)
	}
	for _, k := range sortedNames(w.budgets) {
		w.mirror.PodDisruptionBudgets().OnAdd(w.budgets[k], true)
	}
	for _, m := range w.makers {
		w.showMaker(m)
	}
	for _, k := range sortedNames(w.pods) {
		w.mirror.Pods().OnAdd(w.pods[k], true)
	}
	w.observe()
}

// Snapshot is what the mirror knows now.
func (w *World) Snapshot() *snapshot.Snapshot { return w.mirror.Snapshot(w.Now) }

// Decide makes the plan for the world as it is.
func (w *World) Decide() *plan.Plan {
	w.Snapshot()
	w.follow()
	s := w.Snapshot()
	w.fit.Begin(s)
	p := w.decider.Decide(s)
	w.decided[p.Rev] = w.changes
	return p
}

// Notes are the steps of the last applied plan that something had overtaken.
func (w *World) Notes() []string { return w.notes }

// Pods lists all pods by namespace and name.
func (w *World) Pods() []*corev1.Pod { return values(w.pods) }

// Requests lists all CapacityRequests by namespace and name.
func (w *World) Requests() []*v1alpha1.CapacityRequest { return values(w.requests) }

// Node finds a node by name, or nil.
func (w *World) Node(name string) *corev1.Node { return w.nodes[name] }

// Nodes lists all nodes by name.
func (w *World) Nodes() []*corev1.Node {
	out := make([]*corev1.Node, 0, len(w.nodes))
	for _, name := range sorted(w.nodes) {
		out = append(out, w.nodes[name])
	}
	return out
}

// grace is how long a deleted pod takes to leave its node.
const grace = 30 * time.Second

// Advance moves the clock. Pods that were asked to go and had their grace are gone then, and their
// controllers make others.
func (w *World) Advance(to time.Time) {
	w.Now = to
	for _, p := range w.Pods() {
		if p.DeletionTimestamp != nil && !to.Before(p.DeletionTimestamp.Add(grace)) {
			w.removePod(p)
		}
	}
	w.Reconcile()
}

// stamp completes the metadata of a new object as the API server does.
func (w *World) stamp(o *metav1.ObjectMeta, kind string) {
	w.serial++
	if o.UID == "" {
		o.UID = types.UID(fmt.Sprintf("%s-%s-%d", kind, o.Name, w.serial))
	}
	if o.CreationTimestamp.IsZero() {
		o.CreationTimestamp = metav1.NewTime(w.Now)
	}
	o.ResourceVersion = fmt.Sprint(w.serial)
}

// show tells the mirror of an object, where old is nil of one that is new.
func show[T any](h cache.ResourceEventHandler, old, o *T) {
	if old == nil {
		h.OnAdd(o, false)
	} else {
		h.OnUpdate(old, o)
	}
}

// PutQueue creates or replaces a queue.
func (w *World) PutQueue(q *queuev2.Queue) {
	w.changes++
	old := w.queues[q.Name]
	if old != nil {
		q.UID, q.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	w.stamp(&q.ObjectMeta, "queue")
	w.queues[q.Name] = q
	show(w.mirror.Queues(), old, q)
}

// LimitQueue sets a queue's limit of one resource, in devices or cores.
func (w *World) LimitQueue(name, what string, limit float64) error {
	q := w.queues[name]
	if q == nil {
		return fmt.Errorf("limit queue %s: there is none", name)
	}
	q = q.DeepCopy()
	switch what {
	case "gpus":
		q.Spec.Resources.GPU.Limit = limit
	case "cpus":
		q.Spec.Resources.CPU.Limit = limit * 1000
	default:
		return fmt.Errorf("limit queue %s: gpus or cpus, not %q", name, what)
	}
	w.PutQueue(q)
	return nil
}

// DeleteQueue removes a queue.
func (w *World) DeleteQueue(name string) error {
	q := w.queues[name]
	if q == nil {
		return fmt.Errorf("delete queue %s: there is none", name)
	}
	w.changes++
	delete(w.queues, name)
	w.mirror.Queues().OnDelete(q)
	return nil
}

// PutNode creates or replaces a node.
func (w *World) PutNode(n *corev1.Node) {
	w.changes++
	old := w.nodes[n.Name]
	if old != nil {
		n.UID, n.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	w.stamp(&n.ObjectMeta, "node")
	w.nodes[n.Name] = n
	show(w.mirror.Nodes(), old, n)
}

// ChangeNode changes a copy of a node and puts it back.
func (w *World) ChangeNode(name string, change func(*corev1.Node)) error {
	n := w.nodes[name]
	if n == nil {
		return fmt.Errorf("change node %s: there is none", name)
	}
	n = n.DeepCopy()
	change(n)
	w.PutNode(n)
	return nil
}

// DeleteNode removes a node with the pods on it, and the instance behind it.
func (w *World) DeleteNode(name string) error {
	n := w.nodes[name]
	if n == nil {
		return fmt.Errorf("delete node %s: there is none", name)
	}
	w.changes++
	delete(w.nodes, name)
	w.mirror.Nodes().OnDelete(n)
	for _, p := range w.Pods() {
		if p.Spec.NodeName == name {
			w.removePod(p)
		}
	}
	for _, g := range w.Groups {
		g.forget(n.Spec.ProviderID)
	}
	w.observe()
	w.Reconcile()
	return nil
}

// PutPod creates or replaces a pod. A pod that has a node runs there.
func (w *World) PutPod(p *corev1.Pod) {
	w.changes++
	w.putPod(p)
}

func (w *World) putPod(p *corev1.Pod) {
	key := keyOf(p)
	old := w.pods[key]
	if old != nil {
		p.UID, p.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	w.stamp(&p.ObjectMeta, "pod")
	if p.Spec.NodeName != "" && p.Status.Phase == "" {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(w.Now)},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	w.pods[key] = p
	show(w.mirror.Pods(), old, p)
}

// ChangePod changes a copy of a pod and puts it back.
func (w *World) ChangePod(namespace, name string, change func(*corev1.Pod)) error {
	p := w.pods[types.NamespacedName{Namespace: namespace, Name: name}]
	if p == nil {
		return fmt.Errorf("change pod %s/%s: there is none", namespace, name)
	}
	p = p.DeepCopy()
	change(p)
	w.PutPod(p)
	return nil
}

// DeletePod removes a pod; its controller makes another one.
func (w *World) DeletePod(namespace, name string) error {
	p := w.pods[types.NamespacedName{Namespace: namespace, Name: name}]
	if p == nil {
		return fmt.Errorf("delete pod %s/%s: there is none", namespace, name)
	}
	w.removePod(p)
	w.collect(p.UID)
	w.Reconcile()
	return nil
}

func (w *World) removePod(p *corev1.Pod) {
	w.changes++
	delete(w.pods, keyOf(p))
	w.mirror.Pods().OnDelete(p)
}

// putRequest writes a CapacityRequest; every write is a new version.
func (w *World) putRequest(r *v1alpha1.CapacityRequest) {
	key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
	old := w.requests[key]
	w.stamp(&r.ObjectMeta, "request")
	w.requests[key] = r
	show(w.mirror.CapacityRequests(), old, r)
}

// collect removes what a deleted object owned, as the garbage collector does.
func (w *World) collect(owner types.UID) {
	owned := func(refs []metav1.OwnerReference) bool {
		return slices.ContainsFunc(refs, func(ref metav1.OwnerReference) bool { return ref.UID == owner })
	}
	for _, p := range w.Pods() {
		if owned(p.OwnerReferences) {
			w.removePod(p)
		}
	}
	for _, key := range sortedNames(w.requests) {
		if r := w.requests[key]; owned(r.OwnerReferences) {
			delete(w.requests, key)
			w.mirror.CapacityRequests().OnDelete(r)
		}
	}
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortedNames[V any](m map[types.NamespacedName]V) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(m), func(a, b types.NamespacedName) int {
		if a.Namespace != b.Namespace {
			return compare(a.Namespace, b.Namespace)
		}
		return compare(a.Name, b.Name)
	})
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func values[V any](m map[types.NamespacedName]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range sortedNames(m) {
		out = append(out, m[k])
	}
	return out
}
