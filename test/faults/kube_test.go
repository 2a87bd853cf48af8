package faults

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
)

// kube is the part of the API server that binds, evicts and taints go to. What the executor does
// not use is not there: using it would panic.
type kube struct {
	kubernetes.Interface
	l *life
}

func (k kube) CoreV1() corev1client.CoreV1Interface { return core{l: k.l} }

type core struct {
	corev1client.CoreV1Interface
	l *life
}

func (c core) Pods(namespace string) corev1client.PodInterface {
	return podAPI{l: c.l, namespace: namespace}
}
func (c core) Nodes() corev1client.NodeInterface { return nodeAPI{l: c.l} }

type podAPI struct {
	corev1client.PodInterface
	l         *life
	namespace string
}

var (
	anything  = schema.GroupResource{Resource: "objects"}
	errAway   = apierrors.NewServiceUnavailable("the API server is away")
	errFaster = apierrors.NewConflict(anything, "x", nil)
)

func missing(name string) error { return apierrors.NewNotFound(anything, name) }

// locked makes an effect that holds the world's lock.
func (l *life) locked(effect func() error) func() error {
	return func() (err error) {
		l.w.locked(func() { err = effect() })
		return err
	}
}

func (a podAPI) Bind(ctx context.Context, b *corev1.Binding, _ metav1.CreateOptions) error {
	w := a.l.w
	return a.l.call(ctx, "bind "+b.Name+" "+b.Target.Name, true, errAway, errFaster, a.l.locked(func() error {
		p := w.pods[a.namespace+"/"+b.Name]
		switch {
		case p == nil:
			return missing(b.Name)
		case p.UID != b.UID || p.Spec.NodeName != "" || p.DeletionTimestamp != nil:
			return apierrors.NewConflict(anything, b.Name, nil)
		}
		p = p.DeepCopy()
		p.Spec.NodeName = b.Target.Name
		for k, v := range b.Annotations { // as the API server does
			metav1.SetMetaDataAnnotation(&p.ObjectMeta, k, v)
		}
		p.Status.Phase = corev1.PodRunning
		for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReady} {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now()})
		}
		w.stamp(&p.ObjectMeta, "pod")
		w.pods[key(p)] = p
		w.note("bound %s to %s", p.Name, p.Spec.NodeName)
		w.checkBind(p)
		return nil
	}))
}

func (a podAPI) EvictV1(ctx context.Context, e *policyv1.Eviction) error {
	w := a.l.w
	return a.l.call(ctx, "evict "+e.Name, true, errAway, nil, a.l.locked(func() error {
		p := w.pods[a.namespace+"/"+e.Name]
		if p == nil {
			return missing(e.Name)
		}
		if p.UID != *e.DeleteOptions.Preconditions.UID {
			return apierrors.NewConflict(anything, e.Name, nil)
		}
		w.note("evicted %s", p.Name)
		w.evicted[queueOf(p)] = time.Now()
		w.deletePod(p)
		return nil
	}))
}

func (a podAPI) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Pod, error) {
	out := &corev1.Pod{}
	return out, a.l.call(ctx, "get pod "+name, false, errAway, nil, a.l.locked(func() error {
		p := a.l.w.pods[a.namespace+"/"+name]
		if p == nil {
			return missing(name)
		}
		p.DeepCopyInto(out)
		return nil
	}))
}

func (a podAPI) List(ctx context.Context, o metav1.ListOptions) (*corev1.PodList, error) {
	node := strings.TrimPrefix(o.FieldSelector, "spec.nodeName=")
	out := &corev1.PodList{}
	return out, a.l.call(ctx, "list "+node, false, errAway, nil, a.l.locked(func() error {
		for _, p := range a.l.w.podsOn(node) {
			out.Items = append(out.Items, *p)
		}
		return nil
	}))
}

type nodeAPI struct {
	corev1client.NodeInterface
	l *life
}

func (a nodeAPI) Get(ctx context.Context, name string, _ metav1.GetOptions) (n *corev1.Node, err error) {
	return n, a.l.call(ctx, "get node "+name, false, errAway, nil, a.l.locked(func() error {
		if n = a.l.w.nodes[name]; n == nil {
			return missing(name)
		}
		return nil
	}))
}

func (a nodeAPI) Patch(ctx context.Context, name string, _ types.PatchType, data []byte, _ metav1.PatchOptions, _ ...string) (*corev1.Node, error) {
	return nil, a.l.call(ctx, "taint "+name, true, errAway, errFaster, a.l.locked(func() error {
		var patch struct {
			Metadata struct{ ResourceVersion string }
			Spec     struct{ Taints []corev1.Taint }
		}
		if err := json.Unmarshal(data, &patch); err != nil {
			return err
		}
		n := a.l.w.nodes[name]
		switch {
		case n == nil:
			return missing(name)
		case n.ResourceVersion != patch.Metadata.ResourceVersion:
			return apierrors.NewConflict(anything, name, nil)
		}
		n = n.DeepCopy()
		n.Spec.Taints = patch.Spec.Taints
		a.l.w.stamp(&n.ObjectMeta, "node")
		a.l.w.nodes[name] = n
		a.l.w.note("taints of %s: %v", name, n.Spec.Taints)
		return nil
	}))
}

// objects is the API server for capmgr's own kinds.
type objects struct {
	client.Client
	l *life
}

func (o objects) Create(ctx context.Context, object client.Object, _ ...client.CreateOption) error {
	r := object.(*v1alpha1.CapacityRequest)
	w := o.l.w
	return o.l.call(ctx, "book "+r.Name, true, errAway, nil, o.l.locked(func() error {
		if w.requests[key(r)] != nil {
			return apierrors.NewAlreadyExists(anything, r.Name)
		}
		w.checkBook(r)
		w.stamp(&r.ObjectMeta, "request")
		w.requests[key(r)] = r.DeepCopy()
		w.note("booked %s: attempt %d for %s", r.Name, r.Spec.Attempt, r.Spec.Gang.Name)
		return nil
	}))
}

func (o objects) Get(ctx context.Context, k client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	return o.l.call(ctx, "get "+k.Name, false, errAway, nil, o.l.locked(func() error {
		r := o.l.w.requests[k.Namespace+"/"+k.Name]
		if r == nil {
			return missing(k.Name)
		}
		r.DeepCopyInto(into.(*v1alpha1.CapacityRequest))
		return nil
	}))
}

func (o objects) Delete(ctx context.Context, object client.Object, _ ...client.DeleteOption) error {
	return o.l.call(ctx, "delete "+object.GetName(), true, errAway, nil, o.l.locked(func() error {
		delete(o.l.w.requests, key(object))
		return nil
	}))
}

// Patch carries verdicts, which nothing here reads.
func (o objects) Patch(ctx context.Context, object client.Object, _ client.Patch, _ ...client.PatchOption) error {
	return o.l.call(ctx, "annotate "+object.GetName(), true, errAway, errFaster, func() error { return nil })
}

func (o objects) Status() client.SubResourceWriter { return statuses{l: o.l} }

type statuses struct {
	client.SubResourceWriter
	l *life
}

func (s statuses) Update(ctx context.Context, object client.Object, _ ...client.SubResourceUpdateOption) error {
	w := s.l.w
	return s.l.call(ctx, "status "+object.GetName(), true, errAway, errFaster, s.l.locked(func() error {
		switch o := object.(type) {
		case *queuev2.Queue:
			old := w.queues[key(o)]
			if old.ResourceVersion != o.ResourceVersion {
				return apierrors.NewConflict(anything, o.Name, nil)
			}
			w.stamp(&o.ObjectMeta, "queue")
			w.queues[key(o)] = o.DeepCopy()
		case *v1alpha1.CapacityRequest:
			old := w.requests[key(o)]
			if old == nil {
				return missing(o.Name)
			}
			if old.ResourceVersion != o.ResourceVersion {
				return apierrors.NewConflict(anything, o.Name, nil)
			}
			w.stamp(&o.ObjectMeta, "request")
			for k := range o.Status.Conditions { // the wire carries seconds
				c := &o.Status.Conditions[k]
				c.LastTransitionTime = metav1.NewTime(c.LastTransitionTime.Truncate(1e9))
				if old := conditionOf(old, c.Type); old == nil || old.Status != c.Status {
					w.note("%s: %s=%s %s", o.Name, c.Type, c.Status, c.Reason)
				}
			}
			w.requests[key(o)] = o.DeepCopy()
		}
		return nil
	}))
}
