package faults

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
)

// objects is the API server for capmgr's own kinds.
type objects struct {
	client.Client
	l *life
}

func (o objects) Create(ctx context.Context, object client.Object, _ ...client.CreateOption) error {
	r := object.(*v1alpha1.CapacityRequest)
	w := o.l.w
	return o.l.call(ctx, "book "+r.Name, true, errAway, nil, o.l.locked(func() error {
		if w.requests.get(key(r)) != nil {
			return apierrors.NewAlreadyExists(anything, r.Name)
		}
		w.checkBook(r)
		w.requests.put(r)
		w.requests.byKey[key(r)] = r.DeepCopy() // the caller keeps his
		w.note("booked %s: attempt %d for %s", r.Name, r.Spec.Attempt, r.Spec.Gang.Name)
		return nil
	}))
}

func (o objects) Get(ctx context.Context, k client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	return o.l.call(ctx, "get "+k.Name, false, errAway, nil, o.l.locked(func() error {
		if u, is := into.(*unstructured.Unstructured); is { // an object of Ray's
			rc := o.l.w.clusters.get(k.Namespace + "/" + k.Name)
			if rc == nil {
				return missing(k.Name)
			}
			u.Object = objectOf(rc)
			return nil
		}
		r := o.l.w.requests.get(k.Namespace + "/" + k.Name)
		if r == nil {
			return missing(k.Name)
		}
		r.DeepCopyInto(into.(*v1alpha1.CapacityRequest))
		return nil
	}))
}

func (o objects) Delete(ctx context.Context, object client.Object, _ ...client.DeleteOption) error {
	return o.l.call(ctx, "delete "+object.GetName(), true, errAway, nil, o.l.locked(func() error {
		if r := o.l.w.requests.get(key(object)); r != nil {
			o.l.w.requests.drop(r)
		}
		return nil
	}))
}

// Patch changes the spec of a RayCluster, or carries a verdict, which nothing here reads.
func (o objects) Patch(ctx context.Context, object client.Object, p client.Patch, _ ...client.PatchOption) error {
	if p.Type() != types.JSONPatchType {
		return o.l.call(ctx, "annotate "+object.GetName(), true, errAway, errFaster, func() error { return nil })
	}
	w := o.l.w
	return o.l.call(ctx, "patch "+object.GetName(), true, errAway, errFaster, o.l.locked(func() error {
		old := w.clusters.get(key(object))
		if old == nil {
			return missing(object.GetName())
		}
		rc, err := patched(old, object, p)
		if err != nil {
			return err
		}
		if was, is := ray.Suspended(old), ray.Suspended(rc); was != is {
			w.note("capmgr suspended %s: %v", rc.Name, is)
			w.limited[rc.Name] = time.Now()
		} else {
			g, before := &rc.Spec.WorkerGroupSpecs[0], &old.Spec.WorkerGroupSpecs[0]
			w.note("capmgr resized %s: %d to %d, without %v", rc.Name, *before.Replicas, *g.Replicas, g.ScaleStrategy.WorkersToDelete)
		}
		w.clusters.put(rc)
		object.(*unstructured.Unstructured).Object = objectOf(rc)
		return nil
	}))
}

func (o objects) Status() client.SubResourceWriter { return statuses{l: o.l} }

type statuses struct {
	client.SubResourceWriter
	l *life
}

// Patch carries conditions, which nothing here reads.
func (s statuses) Patch(ctx context.Context, object client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.l.call(ctx, "status "+object.GetName(), true, errAway, errFaster, func() error { return nil })
}

func (s statuses) Update(ctx context.Context, object client.Object, _ ...client.SubResourceUpdateOption) error {
	w := s.l.w
	return s.l.call(ctx, "status "+object.GetName(), true, errAway, errFaster, s.l.locked(func() error {
		switch o := object.(type) {
		case *queuev2.Queue:
			old := w.queues.get(key(o))
			if old.ResourceVersion != o.ResourceVersion {
				return apierrors.NewConflict(anything, o.Name, nil)
			}
			w.queues.put(o.DeepCopy())
		case *v1alpha1.CapacityRequest:
			old := w.requests.get(key(o))
			if old == nil {
				return missing(o.Name)
			}
			if old.ResourceVersion != o.ResourceVersion {
				return apierrors.NewConflict(anything, o.Name, nil)
			}
			for k := range o.Status.Conditions { // the wire carries seconds
				c := &o.Status.Conditions[k]
				c.LastTransitionTime = metav1.NewTime(c.LastTransitionTime.Truncate(1e9))
				if old := conditionOf(old, c.Type); old == nil || old.Status != c.Status {
					w.note("%s: %s=%s %s", o.Name, c.Type, c.Status, c.Reason)
				}
			}
			stored := o.DeepCopy()
			w.requests.put(stored)
			o.ResourceVersion = stored.ResourceVersion
		}
		return nil
	}))
}

// configMaps is the API server for the memory of the manager.
type configMaps struct {
	corev1client.ConfigMapInterface
	l *life
}

func (c configMaps) Get(ctx context.Context, name string, _ metav1.GetOptions) (m *corev1.ConfigMap, err error) {
	return m, c.l.call(ctx, "get "+name, false, errAway, nil, c.l.locked(func() error {
		if m = c.l.w.memory; m == nil {
			return missing(name)
		}
		return nil
	}))
}

func (c configMaps) Create(ctx context.Context, m *corev1.ConfigMap, _ metav1.CreateOptions) (*corev1.ConfigMap, error) {
	return m, c.l.call(ctx, "create "+m.Name, true, errAway, errFaster, c.l.locked(func() error {
		if c.l.w.memory != nil {
			return apierrors.NewAlreadyExists(anything, m.Name)
		}
		c.l.w.memory = m
		return nil
	}))
}

func (c configMaps) Update(ctx context.Context, m *corev1.ConfigMap, _ metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	return m, c.l.call(ctx, "update "+m.Name, true, errAway, errFaster, c.l.locked(func() error {
		c.l.w.memory = m
		return nil
	}))
}
