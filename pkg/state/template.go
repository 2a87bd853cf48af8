package state

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// template is a node of a group as it will be once usable, from what the cloud and the
// configuration promise.
func template(g *snapshot.NodeGroup, c *v1alpha1.NodeGroup, seen cloud.Group) *snapshot.Node {
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
	object := fit.Template(g.Name+"-template", fit.Shape{
		InstanceType: seen.InstanceType, Zone: g.Zone, Labels: labels, Taints: taints,
		Allocatable: snapshot.Resources{
			MilliCPU: seen.Shape.MilliCPU, Memory: seen.Shape.Memory, MilliGPU: seen.Shape.GPUs * 1000},
		MaxPods: int(seen.Shape.Pods),
	})
	room, maxPods := fit.Allocatable(object)
	return &snapshot.Node{
		Name: object.Name, Group: g.Name, Class: fit.NodeClass(object), Zone: g.Zone,
		Allocatable: room, MaxPods: maxPods, Object: object,
	}
}
