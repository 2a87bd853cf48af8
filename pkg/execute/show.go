package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

const (
	// reasonWaiting is on pods of a gang that runs, and on pods that nothing has been said of yet.
	reasonWaiting = "Waiting"
	// showMost is how many pods are marked in one go: those that matter most come first, and new ones
	// must not wait behind a thousand that only say why.
	showMost = 256
)

// show is what a pod that waits says to other autoscalers.
type show struct {
	pod     *corev1.Pod
	reason  string
	message string
	node    string // that is to be its; "" while there is none
}

// news says whether the pod says something else so far.
func (s show) news() bool {
	c := state.Scheduled(s.pod)
	return c == nil || c.Status != corev1.ConditionFalse || c.Reason != s.reason || s.pod.Status.NominatedNodeName != s.node
}

// showPods marks the pods for which another autoscaler is to make nodes, and no others, by the reason
// that Cluster Autoscaler and Karpenter look for. It follows from the purchases that are open: where
// one is over, its pods carry another reason at the next decision, whatever happened in between.
func (e *Executor) showPods(ctx context.Context, verdicts []*plan.Verdict) {
	var todo []show
	asked := e.asked()
	for _, uid := range slices.Sorted(maps.Keys(asked)) {
		todo = append(todo, asked[uid])
	}
	todo = append(todo, e.others(asked, verdicts)...)
	todo = slices.DeleteFunc(todo, func(s show) bool { return !s.news() })
	if len(todo) == 0 {
		return
	}
	e.once("show pods", func() {
		for _, s := range todo[:min(len(todo), showMost)] {
			if err := e.show(ctx, s); err != nil && ctx.Err() == nil {
				e.Log.V(1).Info("Could not say what a pod waits for", "pod", s.pod.Namespace+"/"+s.pod.Name, "reason", err.Error())
			}
		}
	})
}

// asked are the pods that wait for a node which somebody else has been shown them for.
func (e *Executor) asked() map[types.UID]show {
	out := map[types.UID]show{}
	for _, a := range e.Mirror.Asks() {
		if a.Group.Provider != v1alpha1.ProviderSignal {
			continue
		}
		for _, ref := range a.Part.Pods {
			pod := e.Mirror.Pod(ref.UID)
			if pod == nil {
				continue
			}
			s := show{pod: pod, reason: corev1.PodReasonUnschedulable,
				message: fmt.Sprintf("%s: a node of node group %s is asked for by CapacityRequest %s", plan.WaitingForNodes, a.Group.Name, a.Request.Name)}
			// A pod whose node has come needs no other: Karpenter and Cluster Autoscaler pass over it.
			if int(ref.Node) < len(a.Came) {
				s.node = a.Came[ref.Node]
			}
			out[ref.UID] = s
		}
	}
	return out
}

// others are the pods that wait and that nobody is to make nodes for. Where no group is grown by a
// signal, they are only those that carry one all the same, of a configuration or a scheduler before.
func (e *Executor) others(asked map[types.UID]show, verdicts []*plan.Verdict) []show {
	marked, all := e.Mirror.Shown(), e.Mirror.Signals()
	if len(marked) == 0 && !all {
		return nil
	}
	said := map[types.UID]show{}
	var rest []show
	for _, v := range verdicts {
		if v.Early {
			continue
		}
		s := show{reason: string(v.Reason), message: sentence(*v)}
		if v.Gang.Kind == "Pod" { // the verdict itself is on it; see publishOnPod
			said[types.UID(v.Gang.UID)] = s
			continue
		}
		s.message = fmt.Sprintf("its %s waits: %s; `capmgr explain` says more", v.Gang, v.Reason)
		if v.Reason == plan.Running {
			s.reason, s.message = reasonWaiting, fmt.Sprintf("its %s runs without it so far", v.Gang)
		}
		for _, pod := range e.Mirror.Waiting(types.UID(v.Gang.UID)) {
			s.pod = pod
			said[pod.UID] = s
			if _, ask := asked[pod.UID]; !ask && all {
				rest = append(rest, s)
			}
		}
	}
	var shown []show
	for _, pod := range marked {
		if _, ask := asked[pod.UID]; ask {
			continue
		}
		s, known := said[pod.UID]
		if !known {
			s = show{reason: reasonWaiting, message: "no node is asked for it"}
		}
		s.pod = pod
		shown = append(shown, s)
	}
	return append(shown, rest...)
}

// show writes what a pod says. It is left alone when it has changed since: it may be bound by now, and
// the next decision sees it as it is.
func (e *Executor) show(ctx context.Context, s show) error {
	nominated := any(s.node)
	if s.node == "" {
		nominated = nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": s.pod.UID, "resourceVersion": s.pod.ResourceVersion},
		"status": map[string]any{"nominatedNodeName": nominated, "conditions": []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: s.reason, Message: s.message,
			LastTransitionTime: metav1.NewTime(e.Now())}}},
	})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = e.Kube.CoreV1().Pods(s.pod.Namespace).Patch(ctx, s.pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	return nil
}
