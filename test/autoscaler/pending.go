package autoscaler

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
)

// helpPending makes nodes for pods that wait and find no room on what is there or coming. Each pod is
// helped for itself: such an autoscaler knows no gangs.
func (a *Autoscaler) helpPending(ctx context.Context, w *world) {
	var demand []*corev1.Pod
	for k := range w.pods {
		pod := &w.pods[k]
		if !wanting(pod) || w.nominated(pod) {
			continue
		}
		a.mu.Lock()
		a.looked[pod.Namespace+"/"+pod.Name] = true
		a.mu.Unlock()
		demand = append(demand, pod)
	}
	for _, pod := range w.place(demand) {
		if w.place([]*corev1.Pod{pod}) == nil {
			continue // on a node that was bought for one before it
		}
		if g, count := a.grow(w, []*corev1.Pod{pod}); g != nil {
			a.buy(ctx, w, g, count)
			w.place([]*corev1.Pod{pod})
		}
	}
}

// wanting says whether a pod is what both autoscalers look for.
func wanting(p *corev1.Pod) bool {
	if p.Spec.NodeName != "" || p.DeletionTimestamp != nil || p.Annotations[v1.ProvisioningRequestPodAnnotationKey] != "" {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
		}
	}
	return false
}

// nominated says whether a pod is to run on a node that exists. One whose node is gone is demand again.
func (w *world) nominated(p *corev1.Pod) bool {
	for _, n := range w.nodes {
		if n.node.Name == p.Status.NominatedNodeName && n.node.UID != "" {
			return true
		}
	}
	return false
}
