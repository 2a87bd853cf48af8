package aws

import (
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// shapeOf promises what a machine will offer to pods: a promise above what the kubelet then
// advertises would buy a machine on which its pod does not fit.
func (p *Provider) shapeOf(asg *astypes.AutoScalingGroup, managed *nodegroup, r recipe, m machineType) (cloud.Shape, error) {
	taints, err := taintsOf(asg, managed)
	if err != nil {
		return cloud.Shape{}, err
	}
	s := allocatable(m)
	s.GPUs, s.GPUModel = m.gpus, m.gpuModel
	s.Labels = p.labelsOf(asg, managed, r, m)
	s.Taints = taints
	if managed != nil && !managed.ownImage {
		s.Pods = min(s.Pods, managedMaxPods(m.vcpus))
	}
	return s, nil
}

// allocatable is the published value for g5 and follows the documented rules elsewhere.
func allocatable(m machineType) cloud.Shape {
	if s, ok := g5Allocatable[m.name]; ok {
		return s
	}
	return cloud.Shape{
		MilliCPU: m.vcpus*1000 - reservedMilliCPU(m.vcpus),
		Memory:   max(0, usableMemory(m.memory)-reservedMemory(m.pods)),
		Pods:     m.pods,
	}
}

// reservedMilliCPU is what EKS's images keep for the kubelet and the system: 6 % of the first
// core, 1 % of the second, 0.5 % of the next two, 0.25 % of the others.
func reservedMilliCPU(cores int64) int64 {
	tenths := 600*min(cores, 1) + 100*clamp(cores-1, 1) + 50*clamp(cores-2, 2) + 25*max(cores-4, 0)
	return (tenths + 9) / 10
}

func clamp(n, high int64) int64 { return max(0, min(n, high)) }

// usableMemory takes off what the hypervisor and the kernel hold back before the kubelet sees the
// machine: about 7.5 %.
func usableMemory(bytes int64) int64 { return bytes - bytes*75/1000 }

// reservedMemory is EKS's kube-reserved, which grows with the pods that the machine may run, and
// the kubelet's default eviction threshold.
func reservedMemory(pods int64) int64 {
	const kubeReserved, perPod, eviction = 255 << 20, 11 << 20, 100 << 20
	return kubeReserved + perPod*pods + eviction
}

// managedMaxPods is the ceiling that EKS sets on the machines of its managed node groups.
func managedMaxPods(vcpus int64) int64 {
	if vcpus < 30 {
		return 110
	}
	return 250
}

// g5Allocatable are the A10G machines that capmgr is made for, with the allocatable resources
// published for them on EKS. The rules above yield the same; a test keeps it so.
var g5Allocatable = map[string]cloud.Shape{
	"g5.xlarge":   {MilliCPU: 3920, Memory: 14162 << 20, Pods: 58},
	"g5.2xlarge":  {MilliCPU: 7910, Memory: 29317 << 20, Pods: 58},
	"g5.4xlarge":  {MilliCPU: 15890, Memory: 57691 << 20, Pods: 234},
	"g5.8xlarge":  {MilliCPU: 31850, Memory: 118312 << 20, Pods: 234},
	"g5.12xlarge": {MilliCPU: 47810, Memory: 173400 << 20, Pods: 737},
	"g5.16xlarge": {MilliCPU: 63770, Memory: 239554 << 20, Pods: 234},
	"g5.24xlarge": {MilliCPU: 95690, Memory: 355262 << 20, Pods: 737},
	"g5.48xlarge": {MilliCPU: 191450, Memory: 723299 << 20, Pods: 345},
}
