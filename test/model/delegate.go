package model

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/state"
)

// delegate makes a group one that another autoscaler grows, where the configuration says so: it lists
// no instances, a launch brings none, and its nodes are told by their labels.
func (g *Group) delegate(c v1alpha1.NodeGroup) {
	if !c.Delegated() {
		return
	}
	config := state.GroupConfig(c)
	g.promise = &config
	labels := maps.Clone(c.NodeSelector())
	maps.Copy(labels, g.Shape.Labels)
	g.Shape.Labels = labels
}

// make lets the other autoscaler make nodes of a delegated group.
func (g *Group) make(w *World, count int) {
	for range count {
		g.serial++
		name := fmt.Sprintf("%s-%02d", g.Name, g.serial)
		g.Instances = append(g.Instances, &Instance{ID: name, ProviderID: "other:///" + g.Zone + "/" + name, Launched: w.Now})
	}
}

// awaited counts the nodes of a delegated group that open purchases have been promised and that have
// not come.
func (w *World) awaited(group string) (n int) {
	if w.Groups[group].promise == nil {
		return 0
	}
	for _, r := range w.open() {
		for _, part := range r.Spec.Nodes {
			if part.NodeGroup == group {
				n += int(part.Count) - len(w.mirror.Came(r, group))
			}
		}
	}
	return n
}

// follow does what the executor does while it waits for nodes that another autoscaler makes: it writes
// down those that have come, and that all have.
func (w *World) follow() {
	for _, r := range w.open() {
		if meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionProvisioned) {
			continue
		}
		all, delegated := true, false
		nodes := slices.Clone(r.Status.Nodes)
		for _, part := range r.Spec.Nodes {
			if w.Groups[part.NodeGroup].promise == nil {
				continue
			}
			came := w.mirror.Came(r, part.NodeGroup)
			all, delegated = all && len(came) >= int(part.Count), true
			for k := range nodes {
				if nodes[k].NodeGroup == part.NodeGroup {
					nodes[k].Instances = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(nodes[k].Instances), came...))))
				}
			}
		}
		switch {
		case !delegated || len(nodes) == 0: // not asked for yet
		case all:
			w.patch(r, nodes, condition(v1alpha1.ConditionProvisioned, true, v1alpha1.ReasonLaunched, fmt.Sprintf("%d instances exist", r.Spec.TotalNodes())))
		case !slices.EqualFunc(nodes, r.Status.Nodes, func(x, y v1alpha1.NodeStatus) bool { return slices.Equal(x.Instances, y.Instances) }):
			w.patch(r, nodes)
		}
	}
}
