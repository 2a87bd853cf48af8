package faults

import (
	"fmt"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
)

// newCluster is a RayCluster of one head and some workers of a GPU or a CPU kind.
func newCluster(name, queue string, workers, least int32, gpus int64) *rayv1.RayCluster {
	rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, Labels: map[string]string{v1alpha1.QueueLabel: queue}}}
	rc.Spec.HeadGroupSpec.Template.Spec = podSpec("1", "2Gi", 0)
	g := rayv1.WorkerGroupSpec{GroupName: "w", Replicas: &workers, MinReplicas: &least, MaxReplicas: &workers, NumOfHosts: 1}
	g.Template.Spec = podSpec("2", "4Gi", gpus)
	rc.Spec.WorkerGroupSpecs = []rayv1.WorkerGroupSpec{g}
	return rc
}

func podSpec(cpu, memory string, gpus int64) corev1.PodSpec {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	s := corev1.PodSpec{SchedulerName: "kai-scheduler"}
	if gpus > 0 {
		list[v1alpha1.GPUResource] = *resource.NewQuantity(gpus, resource.DecimalSI)
		s.Tolerations = []corev1.Toleration{{Key: v1alpha1.GPUResource, Operator: corev1.TolerationOpExists}}
	}
	s.Containers = []corev1.Container{{Name: "ray", Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}}
	return s
}

// reconcile makes the pods that RayClusters lack, as KubeRay does.
func (w *world) reconcile() {
	byOwner := map[types.UID][]*corev1.Pod{}
	for _, p := range w.pods.list() {
		if ref := metav1.GetControllerOf(p); ref != nil && p.DeletionTimestamp == nil {
			byOwner[ref.UID] = append(byOwner[ref.UID], p)
		}
	}
	for _, rc := range w.clusters.list() {
		if ray.Suspended(rc) {
			for _, p := range byOwner[rc.UID] {
				w.deletePod(p)
			}
			continue
		}
		have := map[string]int{}
		for _, p := range byOwner[rc.UID] {
			have[p.Labels[ray.GroupLabel]]++
		}
		g := rc.Spec.WorkerGroupSpecs[0]
		if have[ray.HeadGroup] < 1 {
			w.makePod(rc, ray.HeadGroup, rc.Spec.HeadGroupSpec.Template)
		}
		for n := have[g.GroupName]; n < int(*g.Replicas); n++ {
			w.makePod(rc, g.GroupName, g.Template)
		}
		for n, k := have[g.GroupName], 0; n > int(*g.Replicas) && k < len(byOwner[rc.UID]); k++ {
			if p := byOwner[rc.UID][k]; p.Labels[ray.GroupLabel] == g.GroupName {
				w.deletePod(p)
				n--
			}
		}
	}
}

func (w *world) makePod(rc *rayv1.RayCluster, group string, template corev1.PodTemplateSpec) {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: rc.Namespace, Name: fmt.Sprintf("%s-%s-%d", rc.Name, group, w.serial),
		Labels: map[string]string{gangLabel: rc.Name, ray.GroupLabel: group, v1alpha1.QueueLabel: rc.Labels[v1alpha1.QueueLabel]},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster",
			Name: rc.Name, UID: rc.UID, Controller: &yes}},
	}, Spec: *template.Spec.DeepCopy()}
	p.Status.Phase = corev1.PodPending
	if class := rc.Labels[v1alpha1.PriorityClassLabel]; class != "" {
		p.Labels[v1alpha1.PriorityClassLabel] = class
	}
	w.pods.put(p)
}
