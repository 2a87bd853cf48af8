package state

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// template is a node of a group as it will be once usable: what the cloud and the configuration
// promise, and, where nodes of the group have been there, what those offered.
func template(g *snapshot.NodeGroup, c *v1alpha1.NodeGroup, seen cloud.Group, learned *LearnedShape) *snapshot.Node {
	labels := maps.Clone(seen.Shape.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	var taints []corev1.Taint
	for _, t := range seen.Shape.Taints {
		taints = append(taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	taints = append(taints, c.Taints...)
	shape := fit.Shape{
		InstanceType: seen.InstanceType, Zone: g.Zone, Labels: labels, Taints: taints,
		Allocatable: snapshot.Resources{
			MilliCPU: seen.Shape.MilliCPU, Memory: seen.Shape.Memory, MilliGPU: seen.Shape.GPUs * 1000},
		MaxPods: int(seen.Shape.Pods),
	}
	var daemons []*snapshot.Pod
	if learned != nil {
		learned.apply(&shape)
		daemons = learned.daemons()
	}
	object := fit.Template(g.Name+"-template", shape)
	room, maxPods := fit.Allocatable(object)
	return &snapshot.Node{
		Name: object.Name, Group: g.Name, Class: fit.NodeClass(object), Zone: g.Zone,
		Allocatable: room, MaxPods: maxPods, Pods: daemons, Object: object,
	}
}
