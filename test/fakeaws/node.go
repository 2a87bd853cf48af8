package fakeaws

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	gpuResource = "nvidia.com/gpu"
	// A root volume of 100 GiB, less the file system, the image and the kubelet's reserve.
	diskCapacity, diskAllocatable = "100Gi", "88Gi"
)

// newNode is the Node object with which an instance registers. It has no GPUs: the device plugin
// starts later than the kubelet. Conditions, addresses and versions are left to KWOK, whose own
// address is the one that answers for logs.
func newNode(i Instance) *corev1.Node {
	shape := i.Node.Shape
	taints := append([]corev1.Taint{}, i.Node.Taints...)
	if i.Node.StartupTaint != nil {
		taints = append(taints, *i.Node.StartupTaint)
	}
	pods := *resource.NewQuantity(int64(shape.MaxPods), resource.DecimalSI)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: i.NodeName, Labels: nodeLabels(i),
			// KWOK can be told to play only nodes with this annotation, beside real ones.
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Spec: corev1.NodeSpec{ProviderID: i.ProviderID(), Taints: taints},
		Status: corev1.NodeStatus{
			Capacity: corev1.ResourceList{
				corev1.ResourceCPU:              *resource.NewQuantity(int64(shape.VCPUs), resource.DecimalSI),
				corev1.ResourceMemory:           resource.MustParse(fmt.Sprintf("%dMi", shape.CapacityMemoryMiB())),
				corev1.ResourceEphemeralStorage: resource.MustParse(diskCapacity),
				corev1.ResourcePods:             pods,
			},
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU:              *resource.NewMilliQuantity(int64(shape.AllocatableMilliCPU()), resource.DecimalSI),
				corev1.ResourceMemory:           resource.MustParse(fmt.Sprintf("%dMi", shape.AllocatableMemoryMiB())),
				corev1.ResourceEphemeralStorage: resource.MustParse(diskAllocatable),
				corev1.ResourcePods:             pods,
			},
		},
	}
}

// nodeLabels are what EKS and the GPU feature discovery set, and what the group's configuration adds
// or overrides.
func nodeLabels(i Instance) map[string]string {
	labels := map[string]string{
		corev1.LabelHostname:           i.NodeName,
		corev1.LabelOSStable:           "linux",
		corev1.LabelArchStable:         "amd64",
		corev1.LabelInstanceTypeStable: i.InstanceType,
		corev1.LabelTopologyZone:       i.Zone,
		corev1.LabelTopologyRegion:     i.Node.Region,
	}
	if i.Node.Nodegroup != "" {
		labels["eks.amazonaws.com/nodegroup"] = i.Node.Nodegroup
		labels["eks.amazonaws.com/capacityType"] = eksCapacityType(i.CapacityType)
	}
	if i.Node.Shape.GPUs > 0 {
		labels["k8s.amazonaws.com/accelerator"] = "nvidia-a10g"
		labels["nvidia.com/gpu.product"] = "NVIDIA-A10G"
	}
	maps.Copy(labels, i.Node.Labels)
	return labels
}
