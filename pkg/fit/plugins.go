package fit

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/store"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/framework"
	"k8s.io/client-go/informers"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// plugins runs kube-scheduler's PreFilter and Filter plugins, as Cluster Autoscaler's
// PredicateSnapshot does, with two differences: what PreFilter computes, which looks at the whole
// cluster for affinity and spread, is kept for all nodes that a pod is tried on; and an error of a
// plugin is told from a refusal, which PredicateSnapshot does not do for PreFilter.
type plugins struct {
	handle *framework.Handle
}

func newPlugins(factory informers.SharedInformerFactory) (plugins, error) {
	h, err := framework.NewHandle(factory, nil, false)
	return plugins{handle: h}, err
}

// prepared is a pod after PreFilter. It is good for as long as the model does not change.
type prepared struct {
	pod    *corev1.Pod
	model  framework.SharedLister
	state  *schedulerframework.CycleState
	result *schedulerframework.PreFilterResult // nil: every node is possible
	status *schedulerframework.Status
}

// prepare runs PreFilter for the pod in the model. A binding of the pod is left out: the question
// is where it could run, not where it does.
func (p plugins) prepare(pod *corev1.Pod, model framework.SharedLister) prepared {
	if pod.Spec.NodeName != "" {
		free := *pod
		free.Spec.NodeName = ""
		pod = &free
	}
	p.handle.DelegatingLister.UpdateDelegate(model)
	defer p.handle.DelegatingLister.ResetDelegate()

	pre := prepared{pod: pod, model: model, state: schedulerframework.NewCycleState()}
	pre.result, pre.status, _ = p.handle.Framework.RunPreFilterPlugins(context.Background(), pre.state, pod)
	return pre
}

// filter runs Filter for the prepared pod on one node of its model.
func (p plugins) filter(pre prepared, info *schedulerframework.NodeInfo) answer {
	if !pre.status.IsSuccess() {
		return answer{pre.pod, info, pre.status}
	}
	if !pre.result.AllNodes() && !pre.result.NodeNames.Has(info.Node().Name) {
		return answer{pre.pod, info, schedulerframework.NewStatus(schedulerframework.UnschedulableAndUnresolvable, elsewhere)}
	}
	p.handle.DelegatingLister.UpdateDelegate(pre.model)
	defer p.handle.DelegatingLister.ResetDelegate()
	status := p.handle.Framework.RunFilterPlugins(context.Background(), pre.state, pre.pod, info)
	return answer{pre.pod, info, status}
}

// extend adds one pod on one node to what PreFilter has computed. False: it must be computed anew.
func (p plugins) extend(pre prepared, added *corev1.Pod, info *schedulerframework.NodeInfo) bool {
	if !pre.status.IsSuccess() || !extensible(pre.state, added) {
		return false
	}
	podInfo, err := schedulerframework.NewPodInfo(added)
	if err != nil {
		return false
	}
	p.handle.DelegatingLister.UpdateDelegate(pre.model)
	defer p.handle.DelegatingLister.ResetDelegate()
	return p.handle.Framework.RunPreFilterExtensionAddPod(context.Background(), pre.state, pre.pod, podInfo, info).IsSuccess()
}

// extensible says whether the plugins keep their account right when a pod is added. Two do not,
// because kube-scheduler only adds and removes on one node at a time, to try preemption:
// topology spread remembers just the two emptiest domains, so that after additions in both it
// takes a third, emptier one for as full as they are; and a plugin that had nothing to look at is
// not told of additions, though one that repels gives inter-pod affinity something to look at.
func extensible(state *schedulerframework.CycleState, added *corev1.Pod) bool {
	spreads := !state.SkipFilterPlugins.Has(names.PodTopologySpread)
	affinity := !state.SkipFilterPlugins.Has(names.InterPodAffinity)
	return !spreads && (affinity || len(antiAffinity(added)) == 0)
}

// lonely is a model of one node without pods.
func lonely(node *corev1.Node) (framework.SharedLister, *schedulerframework.NodeInfo, error) {
	s := store.NewDeltaSnapshotStore(1)
	if err := s.SetClusterState([]*corev1.Node{node}, nil, nil); err != nil {
		return nil, nil, err
	}
	info, err := s.NodeInfos().Get(node.Name)
	return s, info, err
}
