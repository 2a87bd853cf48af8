package aws

import (
	"maps"
	"slices"
	"strings"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// Tags by which a group tells Cluster Autoscaler what its machines will carry. They are read here
// too, so that a group that already has them needs nothing else.
const (
	labelTagPrefix = "k8s.io/cluster-autoscaler/node-template/label/"
	taintTagPrefix = "k8s.io/cluster-autoscaler/node-template/taint/"
)

// labelsOf gathers the labels from the least to the most certain source; a later one wins. A zone
// is certain only in a group of one zone.
func (p *Provider) labelsOf(asg *astypes.AutoScalingGroup, managed *nodegroup, r recipe, m machineType) map[string]string {
	labels := acceleratorLabels(m)
	for _, t := range asg.Tags {
		if key, ok := strings.CutPrefix(value(t.Key), labelTagPrefix); ok && key != "" {
			labels[key] = value(t.Value)
		}
	}
	system := "linux"
	if managed != nil {
		maps.Copy(labels, managed.labels)
		labels["eks.amazonaws.com/nodegroup"] = managed.name
		if managed.capacityLabel != "" {
			labels["eks.amazonaws.com/capacityType"] = managed.capacityLabel
		}
		if managed.windows {
			system = "windows"
		}
	}
	labels["node.kubernetes.io/instance-type"] = r.instanceType
	labels["kubernetes.io/os"] = system
	labels["kubernetes.io/arch"] = m.arch
	labels["topology.kubernetes.io/region"] = p.opts.Region
	if zone := zoneOf(asg); zone != "" {
		labels["topology.kubernetes.io/zone"] = zone
	}
	return labels
}

// acceleratorLabels are those that AWS's examples and NVIDIA's feature discovery put on a GPU
// machine. Discovery derives the product from the driver's name of the device, which is known here
// for the A10G alone.
func acceleratorLabels(m machineType) map[string]string {
	labels := map[string]string{}
	if m.gpus == 0 || !strings.EqualFold(m.gpuMaker, "nvidia") {
		return labels
	}
	labels["k8s.amazonaws.com/accelerator"] = "nvidia-" + strings.ReplaceAll(strings.ToLower(m.gpuModel), " ", "-")
	if m.gpuModel == "A10G" {
		labels["nvidia.com/gpu.product"] = "NVIDIA-A10G"
	}
	return labels
}

// taintsOf joins the taints of tags and of EKS, sorted; on the same key and effect EKS wins.
func taintsOf(asg *astypes.AutoScalingGroup, managed *nodegroup) ([]cloud.Taint, error) {
	type slot struct{ key, effect string }
	bySlot := map[slot]cloud.Taint{}
	for _, t := range asg.Tags {
		key, ok := strings.CutPrefix(value(t.Key), taintTagPrefix)
		if !ok {
			continue
		}
		taint, ok := parseTaint(key, value(t.Value))
		if !ok {
			return nil, reject("auto scaling group %q: tag %s has value %q: write it as value:NoSchedule",
				value(asg.AutoScalingGroupName), value(t.Key), value(t.Value))
		}
		bySlot[slot{taint.Key, taint.Effect}] = taint
	}
	if managed != nil {
		for _, taint := range managed.taints {
			bySlot[slot{taint.Key, taint.Effect}] = taint
		}
	}
	return slices.SortedFunc(maps.Values(bySlot), func(a, b cloud.Taint) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Effect, b.Effect)
	}), nil
}

// parseTaint reads "value:Effect".
func parseTaint(key, text string) (cloud.Taint, bool) {
	cut := strings.LastIndex(text, ":")
	if key == "" || cut < 0 {
		return cloud.Taint{}, false
	}
	t := cloud.Taint{Key: key, Value: text[:cut], Effect: text[cut+1:]}
	return t, slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, t.Effect)
}
