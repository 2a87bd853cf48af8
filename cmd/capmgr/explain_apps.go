package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/state"
)

// ofDeployment explains the pods of a Deployment, those of earlier revisions included.
func ofDeployment(ctx context.Context, c client.Client, namespace, name string) (plan.Verdict, error) {
	d := &appsv1.Deployment{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
		return plan.Verdict{}, fmt.Errorf("read deployment %s/%s: %w", namespace, name, err)
	}
	sets := &appsv1.ReplicaSetList{}
	if err := c.List(ctx, sets, client.InNamespace(namespace)); err != nil {
		return plan.Verdict{}, fmt.Errorf("list the ReplicaSets of deployment %s/%s: %w", namespace, name, err)
	}
	makers := map[types.UID]bool{}
	for i := range sets.Items {
		if metav1.IsControlledBy(&sets.Items[i], d) {
			makers[sets.Items[i].UID] = true
		}
	}
	return ofMaker(ctx, c, state.Deployment, d, d.Spec.Selector, makers)
}

func ofStatefulSet(ctx context.Context, c client.Client, namespace, name string) (plan.Verdict, error) {
	s := &appsv1.StatefulSet{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		return plan.Verdict{}, fmt.Errorf("read statefulset %s/%s: %w", namespace, name, err)
	}
	return ofMaker(ctx, c, state.StatefulSet, s, s.Spec.Selector, map[types.UID]bool{s.UID: true})
}

// ofMaker sums up what the manager wrote on the pods of an object that creates them one by one, as the
// manager does for the event on it. The pods are those that makers control.
func ofMaker(ctx context.Context, c client.Client, kind string, o client.Object, selector *metav1.LabelSelector, makers map[types.UID]bool) (plan.Verdict, error) {
	what := fmt.Sprintf("%s %s/%s", strings.ToLower(kind), o.GetNamespace(), o.GetName())
	labels, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return plan.Verdict{}, fmt.Errorf("read the selector of %s: %w", what, err)
	}
	list := &corev1.PodList{}
	if err := c.List(ctx, list, client.InNamespace(o.GetNamespace()), client.MatchingLabelsSelector{Selector: labels}); err != nil {
		return plan.Verdict{}, fmt.Errorf("list the pods of %s: %w", what, err)
	}
	var pods []*plan.Verdict
	for i := range list.Items {
		p := &list.Items[i]
		if ref := metav1.GetControllerOf(p); ref == nil || !makers[ref.UID] || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		v := onPod(p, cmp.Or(ray.Queue(o.GetLabels()), ray.Queue(p.Labels)))
		v.Early = v.Reason == ""
		pods = append(pods, &v)
	}
	if len(pods) == 0 {
		return plan.Verdict{}, fmt.Errorf("%s has no pods: look at its events, or scale it up", what)
	}
	v := plan.ForMaker(plan.Owner{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}, pods)
	if v.Early {
		return v, fmt.Errorf("%s: %s, and the others have no verdict: capmgr is not running, or another scheduler serves them", what, v.Message)
	}
	return v, nil
}

// queueOf is the queue that a pod is in that is a gang of its own: that of the Deployment or StatefulSet
// that it is one of, where that names one. Who may not read those sees what the pod says itself.
func queueOf(ctx context.Context, c client.Client, pod *corev1.Pod) (string, error) {
	kind, top := "", &metav1.PartialObjectMetadata{}
	for ref := metav1.GetControllerOf(pod); ref != nil && makesPods(ref); ref = metav1.GetControllerOf(top) {
		kind, top = ref.Kind, &metav1.PartialObjectMetadata{}
		top.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(kind))
		err := c.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: ref.Name}, top)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return ray.Queue(pod.Labels), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s %s/%s: %w", strings.ToLower(kind), pod.Namespace, ref.Name, err)
		}
	}
	if kind == state.ReplicaSet { // without a Deployment
		return ray.Queue(pod.Labels), nil
	}
	return cmp.Or(ray.Queue(top.Labels), ray.Queue(pod.Labels)), nil
}

func makesPods(ref *metav1.OwnerReference) bool {
	return ref.APIVersion == appsv1.SchemeGroupVersion.String() && slices.Contains([]string{state.Deployment, state.ReplicaSet, state.StatefulSet}, ref.Kind)
}
