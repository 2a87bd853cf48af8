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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
)

// world is the truth: what the API server stores and what the cloud has. Objects are replaced,
// never changed, so that whoever read one may keep it.
type world struct {
	dice   *dice
	config *v1alpha1.Config

	mu       sync.Mutex
	serial   uint64
	pods     map[string]*corev1.Pod // by namespace/name, as all of them
	nodes    map[string]*corev1.Node
	queues   map[string]*queuev2.Queue
	clusters map[string]*rayv1.RayCluster
	requests map[string]*v1alpha1.CapacityRequest
	groups   map[string]*group
	tokens   map[string]*launch

	up       time.Duration               // for how long a manager has been alive, all lives together
	unwhole  map[types.UID]time.Duration // how long gangs have been partial
	kept     map[string]time.Duration    // how long instances of failed purchases have lived
	ran      map[types.UID]bool          // gangs that were whole once
	doubts   []doubt
	evicted  map[string]time.Time // by queue: when pods of it were last evicted
	broken   []string             // violated invariants
	story    []string
	launches int
	lives    int
	born     time.Time // of the manager; zero while none lives
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

// stamp completes metadata as the API server does.
func (w *world) stamp(o *metav1.ObjectMeta, kind string) {
	w.serial++
	if o.UID == "" {
		o.UID = types.UID(fmt.Sprintf("%s-%d", kind, w.serial))
		o.CreationTimestamp = now()
	}
	o.ResourceVersion = fmt.Sprint(w.serial)
}

func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func (w *world) podsOn(node string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, k := range sorted(w.pods) {
		if p := w.pods[k]; p.Spec.NodeName == node && node != "" {
			out = append(out, p)
		}
	}
	return out
}

func (w *world) removePod(p *corev1.Pod) { delete(w.pods, key(p)) }

// deletePod lets a pod go: at once where it never ran, else after its grace.
func (w *world) deletePod(p *corev1.Pod) {
	if p.Spec.NodeName == "" {
		w.removePod(p)
		return
	}
	if p.DeletionTimestamp != nil {
		return
	}
	p = p.DeepCopy()
	at := now()
	p.DeletionTimestamp = &at
	w.stamp(&p.ObjectMeta, "pod")
	w.pods[key(p)] = p
}

const podGrace = 10 * time.Second

// collect is the garbage collector, and what ends pods whose grace or node is over.
func (w *world) collect() {
	for _, k := range sorted(w.pods) {
		p := w.pods[k]
		if p.DeletionTimestamp != nil && time.Since(p.DeletionTimestamp.Time) > podGrace ||
			p.Spec.NodeName != "" && w.nodes[p.Spec.NodeName] == nil {
			delete(w.pods, k)
			continue
		}
		if w.clusters[p.Namespace+"/"+p.Labels["ray.io/cluster"]] == nil {
			w.deletePod(p)
		}
	}
	for _, k := range sorted(w.requests) {
		r := w.requests[k]
		for _, ref := range r.OwnerReferences {
			if ref.Kind != "RayCluster" {
				continue
			}
			if rc := w.clusters[r.Namespace+"/"+ref.Name]; rc == nil || rc.UID != ref.UID {
				delete(w.requests, k)
			}
		}
	}
}

func (w *world) lineage(queue string) []string {
	var names []string
	for q := w.queues["/"+queue]; q != nil; q = w.queues["/"+q.Spec.ParentQueue] {
		names = append(names, q.Name)
	}
	return names
}

func (w *world) clusterOf(uid types.UID) *rayv1.RayCluster {
	for _, rc := range w.clusters {
		if rc.UID == uid {
			return rc
		}
	}
	return nil
}

func (w *world) text() string { return strings.Join(w.story, "\n") }
