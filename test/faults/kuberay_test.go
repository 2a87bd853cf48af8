package faults

import (
	"fmt"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// reconcile makes and deletes the pods of RayClusters, as KubeRay does.
func (w *world) reconcile() {
	for _, rc := range w.clusters.list() {
		gone, made := w.operator.Reconcile(rc, w.pods.list(), func() int { return int(w.serial) }) //nolint:gosec // small
		for _, d := range gone {
			w.deletePod(w.pods.get(rc.Namespace + "/" + d.Name))
		}
		for _, c := range made {
			template := rc.Spec.HeadGroupSpec.Template
			if c.Group != ray.HeadGroup {
				template = rc.Spec.WorkerGroupSpecs[0].Template
			}
			w.makePod(rc, c.Group, template)
		}
	}
}

func (w *world) makePod(rc *rayv1.RayCluster, group string, template corev1.PodTemplateSpec) {
	yes, kind := true, "worker"
	if group == ray.HeadGroup {
		kind = "head"
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: rc.Namespace, Name: fmt.Sprintf("%s-%s-%d", rc.Name, group, w.serial),
		Labels: map[string]string{gangLabel: rc.Name, ray.GroupLabel: group, ray.NodeTypeLabel: kind, v1alpha1.QueueLabel: rc.Labels[v1alpha1.QueueLabel]},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster",
			Name: rc.Name, UID: rc.UID, Controller: &yes}},
	}, Spec: *template.Spec.DeepCopy()}
	p.Status.Phase = corev1.PodPending
	if class := rc.Labels[v1alpha1.PriorityClassLabel]; class != "" {
		p.Labels[v1alpha1.PriorityClassLabel] = class
	}
	w.pods.put(p)
}
