package faults

import (
	"context"
	"maps"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/state"
)

// watch shows the mirror what changed, late by some time and without what came and went meanwhile.
func (l *life) watch(ctx context.Context, m *state.Mirror, synced chan<- struct{}) {
	v := newView(m)
	for {
		pace := 200 * time.Millisecond
		switch r := l.w.dice.roll("watch"); {
		case l.w.dice.isCalm():
			pace = time.Second
		case r.IntN(400) == 0:
			pace = time.Duration(r.IntN(20000)) * time.Millisecond
		}
		if rest(ctx, pace+7) != nil {
			return
		}
		first := !v.begun
		l.w.locked(func() {
			if first || !l.w.frozen {
				v.follow(l.w)
			}
		})
		if first {
			close(synced)
		}
	}
}

// view is what a mirror has been shown.
type view struct {
	m     *state.Mirror
	begun bool
	seen  uint64 // changes of the world

	queues   map[string]*queuev2.Queue
	clusters map[string]*rayv1.RayCluster
	requests map[string]*v1alpha1.CapacityRequest
	nodes    map[string]*corev1.Node
	pods     map[string]*corev1.Pod
	budgets  map[string]*policyv1.PodDisruptionBudget
}

func newView(m *state.Mirror) *view {
	return &view{m: m, queues: map[string]*queuev2.Queue{}, clusters: map[string]*rayv1.RayCluster{},
		requests: map[string]*v1alpha1.CapacityRequest{}, nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{},
		budgets: map[string]*policyv1.PodDisruptionBudget{}}
}

// follow shows everything that has changed.
func (v *view) follow(w *world) {
	if v.begun && v.seen == w.changes {
		return
	}
	show(w.queues, v.queues, v.m.Queues(), !v.begun)
	show(w.clusters, v.clusters, v.m.RayClusters(), !v.begun)
	show(w.requests, v.requests, v.m.CapacityRequests(), !v.begun)
	show(w.nodes, v.nodes, v.m.Nodes(), !v.begun)
	show(w.budgets, v.budgets, v.m.PodDisruptionBudgets(), !v.begun)
	show(w.pods, v.pods, v.m.Pods(), !v.begun)
	v.begun, v.seen = true, w.changes
}

func show[T client.Object](s *store[T], shown map[string]T, h cache.ResourceEventHandler, first bool) {
	var gone []string
	for k, old := range shown {
		if o, there := s.byKey[k]; !there || o.GetUID() != old.GetUID() {
			gone = append(gone, k)
		}
	}
	slices.Sort(gone)
	for _, k := range gone {
		h.OnDelete(shown[k])
	}
	maps.DeleteFunc(shown, func(k string, _ T) bool { return slices.Contains(gone, k) })
	for _, o := range s.list() {
		switch old, was := shown[key(o)]; {
		case !was:
			h.OnAdd(o, first)
		case old.GetResourceVersion() != o.GetResourceVersion():
			h.OnUpdate(old, o)
		default:
			continue
		}
		shown[key(o)] = o
	}
}
