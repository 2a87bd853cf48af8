package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/test/model"
)

// crewWorld is the truth about a few RayClusters: their objects and pods, what runs on the pods, KubeRay,
// Ray's autoscaler, users and GitOps tools. The manager is the executor and the mirror, with the grants
// of a decision drawn at random.
type crewWorld struct {
	r    *rand.Rand
	dice *dice

	mu       sync.Mutex
	serial   int
	clusters map[string]*rayv1.RayCluster
	pods     []*corev1.Pod // in the order of a list
	nodes    map[string]*rayNode
	operator *model.Operator
	down     time.Time            // until when the operator is
	silent   map[string]time.Time // by cluster: until when its head is
	answers  map[string]gcs.Answer
	manifest map[string]rayv1.WorkerGroupSpec // by cluster: what git has; only where GitOps runs
	grants   map[string]grant                 // by cluster
	wishes   map[string]int32                 // by cluster: what its users said last
	foreign  map[string]bool                  // by cluster: others wrote its spec since KubeRay was content
	stubborn bool                             // manifests are put back whenever anything differs
	contests map[string]int                   // by cluster: writes of capmgr's against its manifest, less the grants that changed

	mirror *state.Mirror // of the life that is going on; nil between two
	lag    []delivery

	writes []write
	broken []string
	story  []string
}

// rayNode is what runs on a pod.
type rayNode struct {
	id       string
	busy     bool
	since    time.Time // that it is so
	draining bool
	asked    time.Time // when it was first asked to
	drained  time.Time // until when what runs there may go on
}

// grant is what a decision would have said.
type grant struct {
	replicas int
	must     bool      // the room of one who works is needed
	musts    time.Time // when that was last so
}

// write is a change of a spec by capmgr.
type write struct {
	at      time.Time
	cluster string
}

// delivery is an event that the watch has not shown yet.
type delivery struct {
	due  time.Time
	show func(*state.Mirror)
}

func (w *crewWorld) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *crewWorld) note(format string, args ...any) {
	w.story = append(w.story, time.Since(epoch).Truncate(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
}

func (w *crewWorld) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("VIOLATION %s", text)
	if !slices.Contains(w.broken, text) {
		w.broken = append(w.broken, text)
	}
}

func (w *crewWorld) stamp(o *metav1.ObjectMeta, kind string) {
	w.serial++
	if o.UID == "" {
		o.UID = types.UID(fmt.Sprintf("%s-%d", kind, w.serial))
		o.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
	}
	o.ResourceVersion = fmt.Sprint(w.serial)
}

// putCluster stores a RayCluster and shows it to the mirror, some time.
func (w *crewWorld) putCluster(rc *rayv1.RayCluster) {
	w.stamp(&rc.ObjectMeta, "raycluster")
	w.clusters[rc.Name] = rc
	w.later(func(m *state.Mirror) { m.RayClusters().OnUpdate(nil, rc.DeepCopy()) })
}

func (w *crewWorld) putPod(p *corev1.Pod) {
	w.stamp(&p.ObjectMeta, "pod")
	k := slices.IndexFunc(w.pods, func(o *corev1.Pod) bool { return o.Name == p.Name })
	if k < 0 {
		w.pods = append(w.pods, p)
	} else {
		w.pods[k] = p
	}
	w.later(func(m *state.Mirror) { m.Pods().OnUpdate(nil, p) })
}

func (w *crewWorld) dropPod(p *corev1.Pod) {
	w.pods = slices.DeleteFunc(w.pods, func(o *corev1.Pod) bool { return o.Name == p.Name })
	delete(w.nodes, p.Name)
	w.later(func(m *state.Mirror) { m.Pods().OnDelete(p) })
}

// later shows an event in its turn, up to three seconds late while there are faults.
func (w *crewWorld) later(show func(*state.Mirror)) {
	due := time.Now()
	if !w.dice.isCalm() {
		due = due.Add(time.Duration(w.r.IntN(4)) * time.Second)
	}
	if n := len(w.lag); n > 0 && w.lag[n-1].due.After(due) {
		due = w.lag[n-1].due // a watch keeps the order
	}
	w.lag = append(w.lag, delivery{due, show})
}

func (w *crewWorld) deliver() {
	for len(w.lag) > 0 && !w.lag[0].due.After(time.Now()) {
		if w.mirror != nil {
			w.lag[0].show(w.mirror)
		}
		w.lag = w.lag[1:]
	}
}

// crewAPI is the part of the API server that the executor uses for workers.
type crewAPI struct {
	client.Client
	kubernetes.Interface
	w   *crewWorld
	ctx context.Context //nolint:containedctx // of one life of the manager, which this is
}

// Status is both interfaces' name for something; the executor's is the first's.
func (a crewAPI) Status() client.SubResourceWriter { return crewStatus{a: a} }

// call makes a request, with what may go wrong.
func (a crewAPI) call(ctx context.Context, what string, effect func() error) error {
	if a.ctx.Err() != nil || ctx.Err() != nil {
		return context.Canceled
	}
	r := a.w.dice.roll(what)
	fault := r.IntN(100)
	if a.w.dice.isCalm() {
		fault = 99
	}
	switch {
	case fault < 4:
		return apierrors.NewServiceUnavailable("the API server is away")
	case fault < 7:
		return apierrors.NewConflict(anything, "x", nil)
	}
	var err error
	a.w.locked(func() { err = effect() })
	if fault < 10 && err == nil {
		return apierrors.NewTimeoutError("the answer was lost", 1)
	}
	return err
}

func (a crewAPI) Get(ctx context.Context, k client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	return a.call(ctx, "get "+k.Name, func() error {
		rc := a.w.clusters[k.Name]
		if rc == nil {
			return missing(k.Name)
		}
		into.(*unstructured.Unstructured).Object = objectOf(rc)
		return nil
	})
}

// Patch applies a JSON patch as the API server does: all of it, or a refusal.
func (a crewAPI) Patch(ctx context.Context, o client.Object, p client.Patch, _ ...client.PatchOption) error {
	return a.call(ctx, "patch "+o.GetName(), func() error {
		old := a.w.clusters[o.GetName()]
		if old == nil {
			return missing(o.GetName())
		}
		rc, err := patched(old, o, p)
		if err != nil {
			return err
		}
		a.w.written(old, rc)
		a.w.putCluster(rc)
		o.(*unstructured.Unstructured).Object = objectOf(rc)
		return nil
	})
}

type crewStatus struct {
	client.SubResourceWriter
	a crewAPI
}

func (s crewStatus) Patch(ctx context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.a.call(ctx, "status "+o.GetName(), func() error { return nil })
}

func (a crewAPI) CoreV1() corev1client.CoreV1Interface { return crewCore{a: a} }

type crewCore struct {
	corev1client.CoreV1Interface
	a crewAPI
}

func (c crewCore) Pods(string) corev1client.PodInterface { return crewPods{a: c.a} }

type crewPods struct {
	corev1client.PodInterface
	a crewAPI
}

func (p crewPods) List(ctx context.Context, o metav1.ListOptions) (*corev1.PodList, error) {
	name := strings.TrimPrefix(o.LabelSelector, ray.ClusterLabel+"=")
	out := &corev1.PodList{}
	return out, p.a.call(ctx, "list "+name, func() error {
		for _, pod := range p.a.w.pods {
			if pod.Labels[ray.ClusterLabel] == name {
				out.Items = append(out.Items, *pod)
			}
		}
		return nil
	})
}

// crewHeads are the heads, for one life of the manager.
type crewHeads struct{ w *crewWorld }

// Drain answers as Ray does: an idle termination is accepted by a node that is idle at that instant.
func (h crewHeads) Drain(_ context.Context, uid string, r gcs.DrainRequest) (out gcs.Drained, err error) {
	h.w.locked(func() {
		cluster := ""
		for name, rc := range h.w.clusters {
			if string(rc.UID) == uid {
				cluster = name
			}
		}
		if cluster == "" || time.Now().Before(h.w.silent[cluster]) {
			err = gcs.ErrLeftAlone
			return
		}
		out.Accepted = true
		for name, n := range h.w.nodes {
			if n.id != r.Node {
				continue
			}
			if r.Reason == gcs.IdleTermination && n.busy {
				out = gcs.Drained{Message: "no longer idle"}
				return
			}
			if !n.draining {
				n.asked = time.Now()
			}
			n.draining, n.drained = true, r.Deadline
			h.w.note("%s drains (%s)", name, r.Reason)
		}
	})
	return out, err
}

func (h crewHeads) Last(uid string) (a gcs.Answer, ok bool) {
	h.w.locked(func() { a, ok = h.w.answers[uid] })
	return a, ok
}

// speak lets the heads that can say what their nodes do.
func (w *crewWorld) speak() {
	for _, name := range sorted(w.clusters) {
		rc := w.clusters[name]
		uid := string(rc.UID)
		a := w.answers[uid]
		if time.Now().Before(w.silent[name]) {
			if a.Failed.IsZero() && a.Known() {
				a.Failed, a.Err = time.Now(), gcs.ErrLeftAlone
			}
		} else {
			a = gcs.Answer{At: time.Now()}
			for _, p := range w.pods {
				n := w.nodes[p.Name]
				if n == nil || p.Labels[ray.ClusterLabel] != name || p.Status.Phase != corev1.PodRunning {
					continue
				}
				node := demand.Node{ID: n.id, Pod: p.Name, Group: p.Labels[ray.GroupLabel], Status: demand.Running}
				if !n.busy {
					node.Status, node.IdleFor = demand.Idle, time.Since(n.since)
				}
				if n.draining {
					node.Status = demand.Draining
				}
				a.State.Nodes = append(a.State.Nodes, node)
			}
		}
		w.answers[uid] = a
		if w.mirror != nil {
			w.mirror.Hear(uid, a)
		}
	}
}

// reread is a list: what a new mirror is told first.
func (w *crewWorld) reread(m *state.Mirror) {
	for _, name := range sorted(w.clusters) {
		m.RayClusters().OnAdd(w.clusters[name].DeepCopy(), true)
	}
	for _, p := range w.pods {
		m.Pods().OnAdd(p, true)
	}
	w.mirror, w.lag = m, nil
}
