package ray

import (
	"maps"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Labels that KubeRay puts on the pods of a RayCluster, beside GroupLabel.
const (
	ClusterLabel  = "ray.io/cluster"
	NodeTypeLabel = "ray.io/node-type"
)

// What KubeRay puts into pods beside the user's containers, as long as its flags do not forbid it.
// Once pods of a group exist, they are the better pattern.
var (
	waitForHead = container("wait-gcs-ready", "200m", "256Mi")
	autoscaler  = container("autoscaler", "500m", "512Mi")
	submitter   = container("ray-job-submitter", "500m", "200Mi")
)

func container(name, cpu, memory string) corev1.Container {
	return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}}}
}

// HeadTemplate is the head's pod as KubeRay will make it, as far as its place depends on it.
func HeadTemplate(rc *rayv1.RayCluster) *corev1.Pod {
	p := podOf(rc, rc.Spec.HeadGroupSpec.Template, HeadGroup, "head", rc.Spec.HeadGroupSpec.Labels)
	if autoscaled(&rc.Spec) {
		beside := autoscaler
		if o := rc.Spec.AutoscalerOptions; o != nil && o.Resources != nil {
			beside.Resources = *o.Resources
		}
		p.Spec.Containers = append(p.Spec.Containers, beside)
	}
	return p
}

// WorkerTemplate is a pod of the i-th worker group as KubeRay will make it, as far as its place
// depends on it.
func WorkerTemplate(rc *rayv1.RayCluster, i int) *corev1.Pod {
	g := &rc.Spec.WorkerGroupSpecs[i]
	p := podOf(rc, g.Template, g.GroupName, "worker", g.Labels)
	p.Spec.InitContainers = append(p.Spec.InitContainers, waitForHead)
	return p
}

// SubmitterTemplate is the pod that will submit a RayJob's job, or nil where none will.
func SubmitterTemplate(job *rayv1.RayJob) *corev1.Pod {
	if job.Spec.SubmissionMode != rayv1.K8sJobMode && job.Spec.SubmissionMode != "" {
		return nil
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{submitter}}}
	if t := job.Spec.SubmitterPodTemplate; t != nil {
		p.ObjectMeta, p.Spec = *t.ObjectMeta.DeepCopy(), *t.Spec.DeepCopy()
	}
	p.Namespace = job.Namespace
	return p
}

func podOf(rc *rayv1.RayCluster, t corev1.PodTemplateSpec, group, kind string, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *t.ObjectMeta.DeepCopy(), Spec: *t.Spec.DeepCopy()}
	p.Namespace, p.Name = rc.Namespace, ""
	all := map[string]string{}
	maps.Copy(all, p.Labels)
	maps.Copy(all, labels)
	all[ClusterLabel], all[GroupLabel], all[NodeTypeLabel] = rc.Name, group, kind
	p.Labels = all
	return p
}
