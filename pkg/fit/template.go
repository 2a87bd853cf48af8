package fit

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Shape is what a node of a group looks like before there is one.
type Shape struct {
	InstanceType string
	Zone         string
	Labels       map[string]string
	Taints       []corev1.Taint
	Allocatable  snapshot.Resources
	MaxPods      int
	Others       corev1.ResourceList // allocatable beyond cpu, memory and GPUs, such as ephemeral storage
}

// DrainingTaint is on nodes that capmgr is about to terminate.
const DrainingTaint = "capmgr.io/draining"

// startupPrefix marks start-up taints by convention of Cluster Autoscaler.
const startupPrefix = "startup-taint.cluster-autoscaler.kubernetes.io/"

// passing are the taints that Kubernetes itself puts on a node until it is up.
var passing = []string{
	corev1.TaintNodeNotReady,
	corev1.TaintNodeUnreachable,
	corev1.TaintNodeNetworkUnavailable,
	"node.cloudprovider.kubernetes.io/uninitialized",
	DrainingTaint,
}

// Template is a usable node of the shape. The same name and shape give the same node: unlike the
// templates of Cluster Autoscaler it has no random name or UID, so a plan can be computed again.
func Template(name string, shape Shape) *corev1.Node {
	labels := map[string]string{
		corev1.LabelOSStable:              "linux",
		corev1.LabelArchStable:            "amd64",
		corev1.LabelInstanceTypeStable:    shape.InstanceType,
		corev1.LabelInstanceType:          shape.InstanceType,
		corev1.LabelTopologyZone:          shape.Zone,
		corev1.LabelFailureDomainBetaZone: shape.Zone,
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	maps.Copy(labels, shape.Labels)
	labels[corev1.LabelHostname] = name

	room := shape.list()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("template/" + name), Labels: labels},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(shape.Taints)},
		Status: corev1.NodeStatus{
			Capacity:    room,
			Allocatable: room.DeepCopy(),
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func (s Shape) list() corev1.ResourceList {
	list := s.Others.DeepCopy()
	if list == nil {
		list = corev1.ResourceList{}
	}
	list[corev1.ResourceCPU] = *apiresource.NewMilliQuantity(s.Allocatable.MilliCPU, apiresource.DecimalSI)
	list[corev1.ResourceMemory] = *apiresource.NewQuantity(s.Allocatable.Memory, apiresource.BinarySI)
	list[corev1.ResourcePods] = *apiresource.NewQuantity(int64(s.MaxPods), apiresource.DecimalSI)
	if devices := s.Allocatable.MilliGPU / 1000; devices > 0 {
		list[gpu] = *apiresource.NewQuantity(devices, apiresource.DecimalSI)
	}
	return list
}

// Usable is a copy of a node that is still starting, as it will be: Ready, without the taints that
// pass, and with the labels and devices of the template that are not there yet. A node registers
// before the cloud controller has labelled it and before the device plugin has advertised its
// GPUs; taken as it is, it would not fit the gang that it was bought for, and another one would be
// bought. Without a template (nil) nothing is added.
func Usable(node, template *corev1.Node, startupTaints ...string) *corev1.Node {
	ready := node.DeepCopy()
	ready.Spec.Taints = slices.DeleteFunc(ready.Spec.Taints, func(t corev1.Taint) bool {
		return slices.Contains(passing, t.Key) || slices.Contains(startupTaints, t.Key) || strings.HasPrefix(t.Key, startupPrefix)
	})
	ready.Status.Conditions = upConditions(ready.Status.Conditions)
	if template != nil {
		addLabels(ready, template.Labels)
		addDevices(ready, template.Status.Allocatable)
	}
	return ready
}

func upConditions(conditions []corev1.NodeCondition) []corev1.NodeCondition {
	conditions = slices.DeleteFunc(conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady || c.Type == corev1.NodeNetworkUnavailable
	})
	return append(conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue})
}

func addLabels(node *corev1.Node, promised map[string]string) {
	for key, value := range promised {
		if _, there := node.Labels[key]; there || perNode(key) {
			continue
		}
		metav1.SetMetaDataLabel(&node.ObjectMeta, key, value)
	}
}

// addDevices raises extended resources to what was promised. What the kubelet measures itself (cpu,
// memory) is there from the start, and truer than a promise.
func addDevices(node *corev1.Node, promised corev1.ResourceList) {
	for name, amount := range promised {
		have, there := node.Status.Allocatable[name]
		device := strings.Contains(string(name), "/") && have.Cmp(amount) < 0
		if there && !device {
			continue
		}
		if node.Status.Allocatable == nil {
			node.Status.Allocatable = corev1.ResourceList{}
		}
		node.Status.Allocatable[name] = amount.DeepCopy()
	}
}
