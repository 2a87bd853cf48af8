package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
)

// verdictWriter writes verdicts on their owners, the latest of each only, beside the decisions: a
// thousand verdicts must not hold up one bind.
type verdictWriter struct {
	mu      sync.Mutex
	pending []string // owner UIDs in the order of arrival
	latest  map[string]plan.Verdict
	written map[string]string // owner UID to the text on it
	busy    bool
}

// submit takes over the verdicts of a plan. Those that say nothing new are dropped.
func (w *verdictWriter) submit(ctx context.Context, e *Executor, verdicts []*plan.Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest == nil {
		w.latest, w.written = map[string]plan.Verdict{}, map[string]string{}
	}
	known := make(map[string]bool, len(verdicts))
	for _, v := range verdicts {
		uid := v.Gang.UID
		known[uid] = true
		if v.Early {
			continue
		}
		if w.written[uid] == v.Text() || w.written[uid] == "" && v.Previous == v.Text() {
			delete(w.latest, uid)
			continue
		}
		if _, waits := w.latest[uid]; !waits {
			w.pending = append(w.pending, uid)
		}
		w.latest[uid] = *v
	}
	for uid := range w.written {
		if !known[uid] {
			delete(w.written, uid)
		}
	}
	if !w.busy && len(w.pending) > 0 {
		w.busy = true
		e.work.Go(func() { w.drain(ctx, e) })
	}
}

func (w *verdictWriter) drain(ctx context.Context, e *Executor) {
	for {
		v, ok := w.next()
		if !ok {
			return
		}
		if err := e.publish(ctx, v, w.lastReason(v)); err != nil {
			e.Log.V(1).Info("Could not write a verdict", "gang", v.Gang.String(), "reason", err.Error())
			continue // the next decision submits it again
		}
		w.mu.Lock()
		w.written[v.Gang.UID] = v.Text()
		w.mu.Unlock()
	}
}

func (w *verdictWriter) next() (plan.Verdict, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > 0 {
		uid := w.pending[0]
		w.pending = w.pending[1:]
		if v, ok := w.latest[uid]; ok {
			delete(w.latest, uid)
			return v, true
		}
	}
	w.busy = false
	return plan.Verdict{}, false
}

func (w *verdictWriter) lastReason(v plan.Verdict) plan.Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := w.written[v.Gang.UID]; text != "" {
		v.Previous = text
	}
	return v.PreviousReason()
}

// publish writes a verdict on its owner, and an event when the dominant reason is another one.
func (e *Executor) publish(ctx context.Context, v plan.Verdict, last plan.Reason) error {
	for _, o := range v.Objects() {
		var err error
		switch {
		case o.Kind == "Pod":
			err = e.publishOnPod(ctx, v)
		case o.APIVersion == "apps/v1": // an event is enough: its pods carry the verdicts
		default:
			err = e.annotate(ctx, o, v.Text())
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("write verdict on %s: %w", o, err)
		}
	}
	if v.Reason == last {
		return nil
	}
	for _, o := range v.Objects() {
		if err := e.setScheduled(ctx, o, v); err != nil {
			return err
		}
	}
	// That a gang runs is told by the Scheduled event of its bind.
	if v.Reason != plan.Running {
		kind := "Warning"
		if v.Reason == plan.WaitingForNodes || v.Reason == plan.WaitingForPreemption || v.Reason == plan.Suspended {
			kind = "Normal"
		}
		for _, o := range v.Objects() {
			e.event(o, kind, string(v.Reason), sentence(v))
		}
	}
	return nil
}

// setScheduled tells tools that wait for conditions, such as kubectl wait, whether a gang runs.
func (e *Executor) setScheduled(ctx context.Context, o plan.Owner, v plan.Verdict) error {
	if o.Kind != "RayCluster" && o.Kind != "RayService" { // the others have no conditions, or their own
		return nil
	}
	c := metav1.Condition{Type: v1alpha1.ConditionScheduled, Status: metav1.ConditionFalse, Reason: string(v.Reason), Message: sentence(v)}
	if v.Reason == plan.Running {
		c.Status = metav1.ConditionTrue
	}
	return e.setCondition(ctx, o, verdictOwner, c)
}

// verdictOwner is the field manager of ConditionScheduled.
const verdictOwner = client.FieldOwner("capmgr-verdict")

func sentence(v plan.Verdict) string {
	full := v.Sentence()
	return full[len(v.Reason)+2:] // an event carries its reason in a field of its own
}

func (e *Executor) annotate(ctx context.Context, o plan.Owner, text string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":         o.UID, // an object made anew under the same name is refused
		"annotations": map[string]string{v1alpha1.VerdictAnnotation: text},
	}})
	if err != nil {
		return err
	}
	owner := &unstructured.Unstructured{}
	owner.SetAPIVersion(o.APIVersion)
	owner.SetKind(o.Kind)
	owner.SetNamespace(o.Namespace)
	owner.SetName(o.Name)
	return e.Client.Patch(ctx, owner, client.RawPatch(types.MergePatchType, patch))
}

// publishOnPod says why a single pod waits where `kubectl describe pod` shows it. The condition's
// reason is never Unschedulable: that word makes other autoscalers buy nodes. Where they are to, the pod
// says so already; see showPods.
func (e *Executor) publishOnPod(ctx context.Context, v plan.Verdict) error {
	if !v.Pending() {
		return nil // the bind itself sets the condition
	}
	if _, asked := e.asked()[types.UID(v.Gang.UID)]; asked {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": v.Gang.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: string(v.Reason), Message: sentence(v)}}},
	})
	if err != nil {
		return err
	}
	_, err = e.Kube.CoreV1().Pods(v.Gang.Namespace).Patch(ctx, v.Gang.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// event tells the users of an object what has happened.
func (e *Executor) event(o plan.Owner, kind, reason, message string) {
	e.Events.Event(&corev1.ObjectReference{
		APIVersion: o.APIVersion, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, UID: types.UID(o.UID)},
		kind, reason, message)
}
