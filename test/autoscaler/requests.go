package autoscaler

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mostRetry is how far the pause before another try grows, as a multiple of the first.
const mostRetry = 10

// expire ends the bookings of requests that were provisioned a while ago.
func (a *Autoscaler) expire(ctx context.Context, w *world) error {
	for k := range w.requests {
		r := &w.requests[k]
		c := meta.FindStatusCondition(r.Status.Conditions, v1.Provisioned)
		if c == nil || c.Status != metav1.ConditionTrue || ended(r) || time.Since(c.LastTransitionTime.Time) < a.options.Booking {
			continue
		}
		if err := a.tell(ctx, r, v1.BookingExpired, true, "CapacityReservationTimeExpired", "Capacity reservation time is expired"); err != nil {
			return err
		}
	}
	return nil
}

// book keeps the room of requests that were provisioned: from other requests, and from removal.
func (a *Autoscaler) book(ctx context.Context, w *world) {
	for k := range w.requests {
		r := &w.requests[k]
		if !meta.IsStatusConditionTrue(r.Status.Conditions, v1.Provisioned) || ended(r) {
			continue
		}
		if pods, err := a.podsOf(ctx, r); err == nil {
			w.place(pods)
		}
	}
}

func ended(r *v1.ProvisioningRequest) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, v1.Failed) || meta.IsStatusConditionTrue(r.Status.Conditions, v1.BookingExpired)
}

// nextRequest tries the oldest request that is due.
func (a *Autoscaler) nextRequest(ctx context.Context, w *world) error {
	for k := range w.requests {
		r := &w.requests[k]
		atomic := r.Spec.ProvisioningClassName == v1.ProvisioningClassBestEffortAtomicScaleUp
		if !atomic && r.Spec.ProvisioningClassName != v1.ProvisioningClassCheckCapacity || !a.due(r) {
			continue
		}
		pods, err := a.podsOf(ctx, r)
		if err != nil {
			return a.tell(ctx, r, v1.Failed, true, "FailedToCreatePods", err.Error())
		}
		if err := a.tell(ctx, r, v1.Accepted, true, "Accepted", "ProvisioningRequest is accepted by ClusterAutoscaler"); err != nil {
			return err
		}
		left := w.place(pods)
		if len(left) == 0 {
			return a.tell(ctx, r, v1.Provisioned, true, "CapacityIsFound", "Capacity is found in the cluster")
		}
		if g, count := a.grow(w, left); atomic && g != nil {
			a.buy(ctx, w, g, count)
			w.place(left)
			return a.tell(ctx, r, v1.Provisioned, true, "CapacityIsProvisioned", "Capacity is found in the cluster")
		}
		return a.tell(ctx, r, v1.Provisioned, false, "CapacityIsNotFound", "Capacity is not found, CA will try to find it later.")
	}
	return nil
}

// due says whether a request is to be tried: for the first time, or again after a pause that grows.
func (a *Autoscaler) due(r *v1.ProvisioningRequest) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1.Provisioned)
	switch {
	case ended(r):
		return false
	case c == nil:
		return true
	case c.Status != metav1.ConditionFalse:
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	pause := max(a.options.Retry, a.retry[string(r.UID)])
	if time.Since(c.LastTransitionTime.Time) < pause {
		return false
	}
	a.retry[string(r.UID)] = min(2*pause, mostRetry*a.options.Retry)
	return true
}

// podsOf are the pods that a request stands for.
func (a *Autoscaler) podsOf(ctx context.Context, r *v1.ProvisioningRequest) ([]*corev1.Pod, error) {
	var pods []*corev1.Pod
	for _, set := range r.Spec.PodSets {
		template := &corev1.PodTemplate{}
		if err := a.client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: set.PodTemplateRef.Name}, template); err != nil {
			return nil, fmt.Errorf("read pod template %s: %w", set.PodTemplateRef.Name, err)
		}
		for k := range set.Count {
			pods = append(pods, &corev1.Pod{Spec: *template.Template.Spec.DeepCopy(), ObjectMeta: metav1.ObjectMeta{
				Namespace: r.Namespace, Name: fmt.Sprintf("%s-%d", template.Name, k), Labels: template.Template.Labels}})
		}
	}
	return pods, nil
}

// tell writes a condition. A request that was withdrawn meanwhile is not an error.
func (a *Autoscaler) tell(ctx context.Context, r *v1.ProvisioningRequest, kind string, is bool, reason, message string) error {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	condition := metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: r.Generation, LastTransitionTime: metav1.Now()}
	meta.RemoveStatusCondition(&r.Status.Conditions, kind) // so that the time is that of the last try
	r.Status.Conditions = append(r.Status.Conditions, condition)
	a.log.Info("Answering a request", "request", r.Namespace+"/"+r.Name, "condition", kind, "status", status, "reason", reason)
	if err := a.client.Status().Update(ctx, r); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write condition %s of ProvisioningRequest %s/%s: %w", kind, r.Namespace, r.Name, err)
	}
	return nil
}
