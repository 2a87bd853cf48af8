package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// perNodeLabels differ between nodes of one group by construction. They are left out of a node's
// class; a pod that selects on one of them is asked about node by node.
var perNodeLabels = []string{
	corev1.LabelHostname,
	"alpha.eksctl.io/instance-id", // EC2 instance ID, by eksctl
	"nvidia.com/gfd.timestamp",    // start of GPU feature discovery on the node
}

func perNode(label string) bool { return slices.Contains(perNodeLabels, label) }

// NodeClass is equal for nodes that no predicate of an ordinary pod can tell apart while they are
// empty: labels, taints that keep pods away, cordon, and every allocatable amount. Annotations,
// conditions, addresses and images are read by no predicate; taints of effect PreferNoSchedule
// only weigh.
func NodeClass(node *corev1.Node) string {
	var d digest
	var labels []string
	for _, l := range sortedPairs(node.Labels) {
		if !perNode(l.key) {
			labels = append(labels, l.String())
		}
	}
	d.set("labels", labels)

	var taints []string
	for _, t := range node.Spec.Taints {
		if filtered(t) {
			taints = append(taints, quoted(t.Key, t.Value, string(t.Effect)))
		}
	}
	d.set("taints", taints)
	if node.Spec.Unschedulable {
		d.set("unschedulable", nil)
	}
	d.set("allocatable", resourceLines(node.Status.Allocatable))
	return d.sum()
}
