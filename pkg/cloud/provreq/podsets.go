package provreq

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// maxPodSets is how many kinds of pods a ProvisioningRequest takes.
const maxPodSets = 32

// podSet is a kind of pod and how many there are of it.
type podSet struct {
	template corev1.PodTemplateSpec
	count    int32
}

// podSets sorts pods into those that are alike for whoever places them, in the order of the first of
// each.
func podSets(r cloud.LaunchRequest, pods []*corev1.Pod) ([]podSet, error) {
	var sets []podSet
	index := map[string]int{}
	for _, pod := range pods {
		template := templateOf(r, pod)
		text, err := json.Marshal(template)
		if err != nil {
			return nil, fmt.Errorf("encode the template of pod %s/%s: %w: %w", pod.Namespace, pod.Name, cloud.ErrRejected, err)
		}
		k, known := index[string(text)]
		if !known {
			k = len(sets)
			index[string(text)] = k
			sets = append(sets, podSet{template: template})
		}
		sets[k].count++
	}
	switch {
	case len(sets) == 0:
		return nil, fmt.Errorf("a ProvisioningRequest is for pods, and there are none: %w", cloud.ErrRejected)
	case len(sets) > maxPodSets:
		return nil, fmt.Errorf("the pods are of %d kinds, and a ProvisioningRequest takes %d: %w", len(sets), maxPodSets, cloud.ErrRejected)
	}
	return sets, nil
}

// templateOf is what of a pod decides where it can run, and that it is to run on nodes of the group.
// All else is left out: two pods that differ only there are alike, and what a pod is given to work with
// is nobody's business who makes nodes.
func templateOf(r cloud.LaunchRequest, pod *corev1.Pod) corev1.PodTemplateSpec {
	from := &pod.Spec
	spec := corev1.PodSpec{
		NodeSelector:              map[string]string{},
		Affinity:                  from.Affinity,
		Tolerations:               from.Tolerations,
		TopologySpreadConstraints: from.TopologySpreadConstraints,
		Overhead:                  from.Overhead,
		RuntimeClassName:          from.RuntimeClassName,
		Resources:                 from.Resources,
		RestartPolicy:             from.RestartPolicy,
	}
	maps.Copy(spec.NodeSelector, from.NodeSelector)
	if r.Zone != "" {
		spec.NodeSelector[corev1.LabelTopologyZone] = r.Zone
	}
	maps.Copy(spec.NodeSelector, r.Group.Delegation.Selector)
	for _, c := range from.InitContainers {
		spec.InitContainers = append(spec.InitContainers, containerOf(c))
	}
	for _, c := range from.Containers {
		spec.Containers = append(spec.Containers, containerOf(c))
	}
	for _, v := range from.Volumes {
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			spec.Volumes = append(spec.Volumes, v)
		}
	}
	template := corev1.PodTemplateSpec{Spec: spec}
	if looksAtLabels(from) {
		template.ObjectMeta = metav1.ObjectMeta{Labels: pod.Labels}
	}
	return template
}

func containerOf(c corev1.Container) corev1.Container {
	out := corev1.Container{Name: c.Name, Image: c.Image, Resources: c.Resources, RestartPolicy: c.RestartPolicy}
	for _, p := range c.Ports {
		if p.HostPort > 0 {
			out.Ports = append(out.Ports, corev1.ContainerPort{ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIP: p.HostIP, Protocol: p.Protocol})
		}
	}
	return out
}

// looksAtLabels says whether the place of a pod depends on the labels of pods like it. They often
// differ from pod to pod, so they stay out where they do not matter.
func looksAtLabels(spec *corev1.PodSpec) bool {
	return len(spec.TopologySpreadConstraints) > 0 ||
		spec.Affinity != nil && (spec.Affinity.PodAffinity != nil || spec.Affinity.PodAntiAffinity != nil)
}
