package stack

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Recorder notes when things were first seen through a watch, all on one clock: pods bound, GPUs
// advertised, and any Unschedulable condition that would make another autoscaler buy.
type Recorder struct {
	mu            sync.Mutex
	bound         map[string]Seen // by namespace/name of the pod
	usable        map[string]time.Time
	unschedulable map[string]bool
}

// Seen is a pod's bind as the watch showed it.
type Seen struct {
	Namespace, Pod, Cluster, Node string
	At                            time.Time
}

// Record starts watching until ctx ends, and returns once the watch has caught up.
func (s *Stack) Record(ctx context.Context) (*Recorder, error) {
	r := &Recorder{bound: map[string]Seen{}, usable: map[string]time.Time{}, unschedulable: map[string]bool{}}
	factory := informers.NewSharedInformerFactory(s.Kube, 0)
	pods, nodes := factory.Core().V1().Pods().Informer(), factory.Core().V1().Nodes().Informer()
	if _, err := pods.AddEventHandler(seen(r.pod)); err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	if _, err := nodes.AddEventHandler(seen(r.node)); err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	factory.Start(ctx.Done())
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			return nil, fmt.Errorf("watch %s: %w", kind, ctx.Err())
		}
	}
	return r, nil
}

func seen[T any](note func(T)) cache.ResourceEventHandler {
	handle := func(o any) {
		if t, ok := o.(T); ok {
			note(t)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: handle, UpdateFunc: func(_, o any) { handle(o) }}
}

func (r *Recorder) pod(p *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := p.Namespace + "/" + p.Name
	if _, known := r.bound[key]; p.Spec.NodeName != "" && !known {
		r.bound[key] = Seen{p.Namespace, p.Name, p.Labels["ray.io/cluster"], p.Spec.NodeName, time.Now()}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
			r.unschedulable[key] = true
		}
	}
}

func (r *Recorder) node(n *corev1.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gpus := n.Status.Allocatable["nvidia.com/gpu"]
	if _, known := r.usable[n.Name]; !known && gpus.Value() > 0 && nodeReady(n) {
		r.usable[n.Name] = time.Now()
	}
}

// Bound lists the binds of a RayCluster's pods seen so far.
func (r *Recorder) Bound(cluster string) []Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Seen
	for _, b := range r.bound {
		if b.Cluster == cluster {
			out = append(out, b)
		}
	}
	return out
}

// BoundNamed lists the binds of pods whose names begin so.
func (r *Recorder) BoundNamed(prefix string) []Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Seen
	for _, b := range r.bound {
		if strings.HasPrefix(b.Pod, prefix) {
			out = append(out, b)
		}
	}
	return out
}

// LastUsable is when the last of the nodes was first seen Ready with its GPUs.
func (r *Recorder) LastUsable() (at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.usable {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// Unschedulable says whether a pod ever carried the condition that other autoscalers buy for.
func (r *Recorder) Unschedulable(namespace, pod string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unschedulable[namespace+"/"+pod]
}

// Span is the first and last time of some binds.
func Span(binds []Seen) (first, last time.Time) {
	for _, b := range binds {
		if first.IsZero() || b.At.Before(first) {
			first = b.At
		}
		if b.At.After(last) {
			last = b.At
		}
	}
	return first, last
}
