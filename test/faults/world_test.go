package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/test/model"
)

// world is the truth: what the API server stores and what the cloud has.
type world struct {
	dice   *dice
	config *v1alpha1.Config

	mu       sync.Mutex
	serial   uint64
	changes  uint64 // of stored objects
	pods     *store[*corev1.Pod]
	nodes    *store[*corev1.Node]
	queues   *store[*queuev2.Queue]
	clusters *store[*rayv1.RayCluster]
	operator model.Operator
	requests *store[*v1alpha1.CapacityRequest]
	budgets  *store[*policyv1.PodDisruptionBudget]
	memory   *corev1.ConfigMap // what managers leave to each other; nil: nothing yet
	groups   map[string]*group
	tokens   map[string]*launch

	barred  map[string]bool      // gangs whose pods an admission policy does not let bind, by name
	frozen  bool                 // the watch shows nothing new
	limited map[string]time.Time // when somebody last changed a queue's limit or suspended a gang, by name
	spared  map[string]time.Time // since when nodes ask to be left alone

	unwhole map[types.UID]time.Duration // how long gangs have been partial while a manager lived
	kept    map[string]time.Duration    // how long instances of failed or half-made purchases have lived
	closed  map[string]time.Duration    // how long nodes have been kept free in order to be given back
	ran     map[types.UID]bool          // gangs that were whole once
	doubts  []doubt
	evicted map[string]time.Time // by queue: when pods of it were last evicted
	stopped map[types.UID]int    // how often a gang was evicted
	bought  []time.Time          // when machines were launched for the manager

	occupied map[string]bool // nodes with pods at the last look

	over   bool     // nothing happens from outside any more
	broken []string // violated invariants
	story  []string
	lives  int
	born   time.Time // of the manager; zero while none lives
	seen   uint64    // changes at the time of known
	known  []*gang   // see gangs
}

func emptyWorld(d *dice) *world {
	w := &world{dice: d, config: &v1alpha1.Config{Queues: map[string]v1alpha1.QueueConfiguration{}},
		groups: map[string]*group{}, tokens: map[string]*launch{},
		barred: map[string]bool{}, limited: map[string]time.Time{}, spared: map[string]time.Time{},
		unwhole: map[types.UID]time.Duration{}, kept: map[string]time.Duration{}, closed: map[string]time.Duration{}, ran: map[types.UID]bool{},
		evicted: map[string]time.Time{}, stopped: map[types.UID]int{}}
	w.pods, w.nodes, w.queues = newStore[*corev1.Pod](w, "pod"), newStore[*corev1.Node](w, "node"), newStore[*queuev2.Queue](w, "queue")
	w.budgets = newStore[*policyv1.PodDisruptionBudget](w, "budget")
	w.clusters, w.requests = newStore[*rayv1.RayCluster](w, "raycluster"), newStore[*v1alpha1.CapacityRequest](w, "request")
	return w
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// tell notes what happens, for the report of a seed that fails.
func (w *world) tell(format string, args ...any) {
	w.locked(func() { w.note(format, args...) })
}

func (w *world) note(format string, args ...any) {
	w.story = append(w.story, time.Since(epoch).Truncate(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
}

// violate notes a broken invariant. The caller holds the lock.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("VIOLATION %s", text)
	if !slices.Contains(w.broken, text) {
		w.broken = append(w.broken, text)
	}
}

// epoch is when every bubble of testing/synctest begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func now() metav1.Time { return metav1.NewTime(time.Now().Truncate(time.Second)) }

func (w *world) podsOn(node string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range w.pods.list() {
		if node != "" && p.Spec.NodeName == node {
			out = append(out, p)
		}
	}
	return out
}

// deletePod lets a pod go: at once where it never ran, else after its grace.
func (w *world) deletePod(p *corev1.Pod) {
	switch {
	case p.Spec.NodeName == "":
		w.pods.drop(p)
	case p.DeletionTimestamp == nil:
		w.pods.edit(p, func(p *corev1.Pod) { at := now(); p.DeletionTimestamp = &at })
	}
}

const podGrace = 10 * time.Second

// collect is the garbage collector, and what ends pods whose grace or node is over.
func (w *world) collect() {
	for _, p := range w.pods.list() {
		gone := p.Spec.NodeName != "" && w.nodes.get("/"+p.Spec.NodeName) == nil
		if gone || p.DeletionTimestamp != nil && time.Since(p.DeletionTimestamp.Time) > podGrace {
			w.pods.drop(p)
			continue
		}
		if ref := metav1.GetControllerOf(p); ref != nil && w.clusters.get(p.Namespace+"/"+ref.Name) == nil {
			w.deletePod(p)
		}
	}
	for _, r := range w.requests.list() {
		for _, ref := range r.OwnerReferences {
			if !w.owns(r.Namespace, ref) {
				w.requests.drop(r)
			}
		}
	}
}

// owns says whether an owner is still the object that it was.
func (w *world) owns(namespace string, ref metav1.OwnerReference) bool {
	switch ref.Kind {
	case "RayCluster":
		rc := w.clusters.get(namespace + "/" + ref.Name)
		return rc != nil && rc.UID == ref.UID
	case "Pod":
		p := w.pods.get(namespace + "/" + ref.Name)
		return p != nil && p.UID == ref.UID
	}
	return true
}

// lineage is a queue with its ancestors, leaf first.
func (w *world) lineage(queue string) []string {
	var names []string
	for q := w.queues.get("/" + queue); q != nil; q = w.queues.get("/" + q.Spec.ParentQueue) {
		names = append(names, q.Name)
	}
	return names
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func queueOf(o metav1.Object) string { return o.GetLabels()[v1alpha1.QueueLabel] }

func (w *world) text() string { return strings.Join(w.story, "\n") }
