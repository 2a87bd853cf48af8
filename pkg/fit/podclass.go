package fit

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// PodClass is equal for pods that no predicate can tell apart, wherever they are bound. Alone says
// that the class is not enough, because the answer also depends on the pods that run already, or on
// what tells one node of a class from another.
//
// An ordinary pod's class covers requests, node selector, required node affinity and tolerations.
// Its labels and namespace are left out: only the anti-affinity of other pods reads them, which
// Checker looks at separately. Preferences (preferred affinity, ScheduleAnyway spread) order nodes
// and refuse none. Scheduling gates are no predicate: a gated pod is the caller's business.
func PodClass(pod *corev1.Pod) (class string, alone bool) {
	alone = isAlone(pod)
	spec := &pod.Spec
	var d digest
	d.set("requests", resourceLines(resource.PodRequests(pod, resource.PodResourcesOptions{SkipPodLevelResources: true})))
	if spec.Resources != nil {
		d.set("pod requests", resourceLines(resource.PodRequests(pod, resource.PodResourcesOptions{})))
	}
	d.set("node selector", pairLines(spec.NodeSelector))
	if terms, required := nodeAffinity(pod); required {
		d.set("node affinity", termLines(terms))
	}
	d.set("tolerations", tolerationLines(spec.Tolerations))
	if alone {
		addAlone(&d, pod)
	}
	return d.sum(), alone
}

// isAlone says whether a predicate looks beyond the class of the node for this pod.
func isAlone(pod *corev1.Pod) bool {
	return hasPodAffinity(pod) ||
		slices.ContainsFunc(pod.Spec.TopologySpreadConstraints, refusing) ||
		len(hostPorts(pod)) > 0 ||
		slices.ContainsFunc(pod.Spec.Volumes, scheduled) ||
		len(pod.Spec.ResourceClaims) > 0 ||
		asksUncounted(pod) ||
		asksForNode(pod)
}

func hasPodAffinity(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	return a != nil &&
		(a.PodAffinity != nil && len(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 ||
			a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0)
}

func refusing(c corev1.TopologySpreadConstraint) bool {
	return c.WhenUnsatisfiable != corev1.ScheduleAnyway
}

// hostPorts are those of all containers. kube-scheduler leaves out init containers that are no
// sidecars; counting them here can only make a pod alone that need not be.
func hostPorts(pod *corev1.Pod) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.HostPort > 0 {
					ports = append(ports, p)
				}
			}
		}
	}
	return ports
}

// scheduled says whether a volume takes part in scheduling. The kinds that never do are listed; any
// other, also one that this version does not know, is looked at node by node.
func scheduled(v corev1.Volume) bool {
	inert := v.EmptyDir != nil || v.HostPath != nil || v.Secret != nil || v.ConfigMap != nil ||
		v.DownwardAPI != nil || v.Projected != nil || v.NFS != nil || v.GitRepo != nil || v.Image != nil
	return !inert
}

// asksUncounted says whether the pod asks for a resource that the caller does not account, so that
// what other pods hold of it must be looked at here.
func asksUncounted(pod *corev1.Pod) bool {
	for name, q := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, gpu:
		default:
			if !q.IsZero() {
				return true
			}
		}
	}
	return false
}

// asksForNode says whether the pod selects on what differs between nodes of one class.
func asksForNode(pod *corev1.Pod) bool {
	for key := range pod.Spec.NodeSelector {
		if perNode(key) {
			return true
		}
	}
	terms, _ := nodeAffinity(pod)
	for _, t := range terms {
		if len(t.MatchFields) > 0 || slices.ContainsFunc(t.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool { return perNode(r.Key) }) {
			return true
		}
	}
	return false
}

// nodeAffinity is the required part. Required without terms matches no node, unlike none at all.
func nodeAffinity(pod *corev1.Pod) (terms []corev1.NodeSelectorTerm, required bool) {
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil, false
	}
	return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, true
}

func termLines(terms []corev1.NodeSelectorTerm) []string {
	lines := make([]string, 0, len(terms))
	for _, t := range terms {
		lines = append(lines, strings.Join(requirementLines(t.MatchExpressions), " and ")+" fields "+strings.Join(requirementLines(t.MatchFields), " and "))
	}
	return lines
}

func requirementLines(requirements []corev1.NodeSelectorRequirement) []string {
	lines := make([]string, 0, len(requirements))
	for _, r := range requirements {
		values := slices.Sorted(slices.Values(r.Values))
		lines = append(lines, quoted(append([]string{r.Key, string(r.Operator)}, slices.Compact(values)...)...))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// tolerationLines leave out the seconds, which only matter once a pod runs.
func tolerationLines(tolerations []corev1.Toleration) []string {
	lines := make([]string, 0, len(tolerations))
	for _, t := range tolerations {
		operator := t.Operator
		if operator == "" {
			operator = corev1.TolerationOpEqual
		}
		lines = append(lines, quoted(t.Key, string(operator), t.Value, string(t.Effect)))
	}
	return lines
}

// addAlone writes what predicates read beyond an ordinary pod's class.
func addAlone(d *digest, pod *corev1.Pod) {
	d.set("namespace", []string{quoted(pod.Namespace)})
	d.set("labels", pairLines(pod.Labels))
	if a := pod.Spec.Affinity; a != nil {
		d.set("pod affinity", jsonLines([]*corev1.PodAffinity{a.PodAffinity}))
		d.set("pod anti-affinity", jsonLines([]*corev1.PodAntiAffinity{a.PodAntiAffinity}))
	}
	d.set("spread", jsonLines(pod.Spec.TopologySpreadConstraints))
	d.set("ports", jsonLines(hostPorts(pod)))
	d.set("volumes", jsonLines(slices.DeleteFunc(slices.Clone(pod.Spec.Volumes), func(v corev1.Volume) bool { return !scheduled(v) })))
	d.set("claims", jsonLines(pod.Spec.ResourceClaims))
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Ephemeral != nil }) {
		d.set("name", []string{quoted(pod.Name)}) // the claims of such volumes are named after the pod
	}
}
