package faults

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/capmgr/capmgr/pkg/ray"
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
func (c core) ConfigMaps(string) corev1client.ConfigMapInterface { return configMaps{l: c.l} }
func (c core) Nodes() corev1client.NodeInterface                 { return nodeAPI{l: c.l} }

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
		p := w.pods.get(a.namespace + "/" + b.Name)
		switch {
		case p == nil:
			return missing(b.Name)
		case p.UID != b.UID || p.Spec.NodeName != "" || p.DeletionTimestamp != nil:
			return apierrors.NewConflict(anything, b.Name, nil)
		case w.barred[gangNameOf(p)] && p.Labels[ray.GroupLabel] != ray.HeadGroup: // the head is let through
			return apierrors.NewForbidden(anything, b.Name, errors.New("no"))
		}
		p = w.pods.edit(p, func(p *corev1.Pod) { runOn(p, b.Target.Name, b.Annotations) })
		w.note("bound %s to %s", p.Name, p.Spec.NodeName)
		w.checkBind(p)
		return nil
	}))
}

// runOn is what the API server does with a bind, and the kubelet soon after.
func runOn(p *corev1.Pod, node string, annotations map[string]string) {
	p.Spec.NodeName = node
	for k, v := range annotations {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, k, v)
	}
	p.Status.Phase = corev1.PodRunning
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodReady} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now()})
	}
}

func (a podAPI) EvictV1(ctx context.Context, e *policyv1.Eviction) error {
	w := a.l.w
	return a.l.call(ctx, "evict "+e.Name, true, errAway, nil, a.l.locked(func() error {
		p := w.pods.get(a.namespace + "/" + e.Name)
		switch {
		case p == nil:
			return missing(e.Name)
		case p.UID != *e.DeleteOptions.Preconditions.UID:
			return apierrors.NewConflict(anything, e.Name, nil)
		case w.guarded(gangNameOf(p)):
			err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
			err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause})
			return err
		}
		w.note("evicted %s", p.Name)
		w.checkEvict(p)
		w.deletePod(p)
		return nil
	}))
}

func (a podAPI) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Pod, error) {
	out := &corev1.Pod{}
	return out, a.l.call(ctx, "get pod "+name, false, errAway, nil, a.l.locked(func() error {
		p := a.l.w.pods.get(a.namespace + "/" + name)
		if p == nil {
			return missing(name)
		}
		p.DeepCopyInto(out)
		return nil
	}))
}

func (a podAPI) List(ctx context.Context, o metav1.ListOptions) (*corev1.PodList, error) {
	out := &corev1.PodList{}
	if cluster, is := strings.CutPrefix(o.LabelSelector, ray.ClusterLabel+"="); is {
		return out, a.l.call(ctx, "list "+cluster, false, errAway, nil, a.l.locked(func() error {
			for _, p := range a.l.w.pods.list() {
				if p.Labels[ray.ClusterLabel] == cluster {
					out.Items = append(out.Items, *p)
				}
			}
			return nil
		}))
	}
	node := strings.TrimPrefix(o.FieldSelector, "spec.nodeName=")
	return out, a.l.call(ctx, "list "+node, false, errAway, nil, a.l.locked(func() error {
		for _, p := range a.l.w.podsOn(node) {
			out.Items = append(out.Items, *p)
		}
		return nil
	}))
}

// Patch carries verdicts, which nothing here reads.
func (a podAPI) Patch(ctx context.Context, name string, _ types.PatchType, _ []byte, _ metav1.PatchOptions, _ ...string) (*corev1.Pod, error) {
	return nil, a.l.call(ctx, "annotate "+name, true, errAway, errFaster, func() error { return nil })
}

type nodeAPI struct {
	corev1client.NodeInterface
	l *life
}

func (a nodeAPI) Get(ctx context.Context, name string, _ metav1.GetOptions) (n *corev1.Node, err error) {
	return n, a.l.call(ctx, "get node "+name, false, errAway, nil, a.l.locked(func() error {
		if n = a.l.w.nodes.get("/" + name); n == nil {
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
		n := a.l.w.nodes.get("/" + name)
		switch {
		case n == nil:
			return missing(name)
		case n.ResourceVersion != patch.Metadata.ResourceVersion:
			return apierrors.NewConflict(anything, name, nil)
		}
		a.l.w.nodes.edit(n, func(n *corev1.Node) { n.Spec.Taints = patch.Spec.Taints })
		a.l.w.note("taints of %s: %v", name, patch.Spec.Taints)
		return nil
	}))
}
