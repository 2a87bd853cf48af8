package state

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// nodes converts every node and keeps the idle times. A node's group is known from the cloud's
// membership list, never from a label: a kubelet labels itself. Only the nodes of delegated groups are
// in no list; see groupByLabels.
func (b *builder) nodes() {
	k := &b.m.kept
	if k.allNodes {
		for name := range b.m.nodes {
			k.nodes[name] = true
		}
		for _, n := range k.list {
			k.nodes[n.Name] = true
		}
	}
	for name := range k.copied {
		slices.SortFunc(k.onNode[name], func(x, y *snapshot.Pod) int { return cmp.Compare(x.UID, y.UID) })
	}
	var gone, made []*snapshot.Node
	type membership struct {
		group    string
		instance cloud.Instance
	}
	member := map[string]membership{} // by provider ID
	for name, g := range b.m.groups {
		for _, i := range g.Instances {
			member[i.ProviderID] = membership{name, i}
		}
	}
	for name := range k.nodes {
		if at, there := find(k.list, name, nodeName); there {
			gone = append(gone, k.list[at])
		}
		object := b.m.nodes[name]
		if object == nil {
			continue
		}
		in := member[object.Spec.ProviderID]
		if object.Spec.ProviderID == "" {
			in = membership{}
		}
		if in.group == "" {
			if group := b.m.groupByLabels(object); group != "" {
				in = membership{group, cloud.Instance{ID: name}}
			}
		}
		room, maxPods := fit.Allocatable(object)
		n := &snapshot.Node{
			Name: name, Group: in.group, InstanceID: in.instance.ID, Object: object,
			Class: fit.NodeClass(object), Zone: object.Labels[corev1.LabelTopologyZone],
			Allocatable: room, MaxPods: maxPods,
			Pods: k.onNode[name], Cordoned: object.Spec.Unschedulable,
			Draining:  hasTaint(object, v1alpha1.DrainingTaint) || b.m.draining[name],
			Protected: Protected(object),
		}
		keepAway(n, b.m.rejections.away(scope{node: name}, b.s.Now))
		n.NotUsable = b.notUsable(object, n)
		if in.instance.Terminating {
			n.NotUsable = "its instance is being terminated"
		}
		n.Usable = n.NotUsable == ""
		n.UsableSince = b.usableSince(n)
		n.IdleSince = b.idleSince(n)
		made = append(made, n)
	}
	k.list = merged(k.list, gone, made, nodeName)
	b.s.Nodes = k.list
	b.linkInstances()
	if len(made) > 0 {
		b.learnShapes()
	}
}

// idleSince starts the clock when the last pod that is not the node's own leaves, and anew when the
// node's boot is over: what boots is not idle yet. It goes on while a node is out of order. A restart
// starts it anew, because what ran before is not known.
func (b *builder) idleSince(n *snapshot.Node) (since time.Time) {
	if slices.ContainsFunc(n.Pods, func(p *snapshot.Pod) bool { return !p.Resident }) {
		delete(b.m.idle, n.Name)
		return since
	}
	if b.m.idle[n.Name].IsZero() || n.UsableSince.Equal(b.s.Now) {
		b.m.idle[n.Name] = b.s.Now
	}
	return b.m.idle[n.Name]
}

// bootTaints are on nodes that are still coming up, whatever the group's configuration says.
var bootTaints = []string{
	corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeNetworkUnavailable,
	"node.cloudprovider.kubernetes.io/uninitialized", "karpenter.sh/unregistered", v1alpha1.NotReadyTaint,
}

// bootTaintPrefixes are Cluster Autoscaler's names for the same thing.
var bootTaintPrefixes = []string{
	"startup-taint.cluster-autoscaler.kubernetes.io/", "ignore-taint.cluster-autoscaler.kubernetes.io/",
}

// notUsable says what a node still lacks before pods may be bound to it, or "".
func (b *builder) notUsable(object *corev1.Node, n *snapshot.Node) string {
	if object.DeletionTimestamp != nil {
		return "it is being deleted"
	}
	if !slices.ContainsFunc(object.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		return "it is not Ready"
	}
	if n.Cordoned {
		return "it is cordoned"
	}
	if key := leaving(object); key != "" {
		return "another autoscaler is removing it, says the taint " + key
	}
	if b.returned[n.InstanceID] {
		return "it is being given back"
	}
	start := bootTaints
	if g := b.m.GroupOf(n.Group); g != nil {
		start = append(slices.Clone(bootTaints), g.StartupTaints...)
	}
	for _, t := range object.Spec.Taints {
		if slices.Contains(start, t.Key) || slices.ContainsFunc(bootTaintPrefixes, func(p string) bool { return strings.HasPrefix(t.Key, p) }) {
			return "it still carries the start-up taint " + t.Key
		}
	}
	promised := b.m.groups[n.Group].Shape.GPUs * 1000
	if promised == 0 && labelledGPU(object) {
		promised = 1
	}
	if n.Allocatable.MilliGPU < promised {
		return "it advertises " + snapshot.GPUs(n.Allocatable.MilliGPU) + " and more are to come"
	}
	return ""
}

// labelledGPU says whether labels promise a device, for nodes outside the configured groups.
func labelledGPU(n *corev1.Node) bool {
	for _, key := range []string{"k8s.amazonaws.com/accelerator", "nvidia.com/gpu.product"} {
		if n.Labels[key] != "" {
			return true
		}
	}
	return false
}

func hasTaint(n *corev1.Node, key string) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
}

// Protected says why a node must not be taken away, by its own annotations; "" when they say nothing. What
// capmgr wrote to hold it does not count.
func Protected(n *corev1.Node) string {
	own := strings.Split(n.Annotations[v1alpha1.HoldsAnnotation], ",")
	for _, key := range []string{v1alpha1.DoNotDisruptAnnotation, v1alpha1.ScaleDownDisabledAnnotation} {
		if n.Annotations[key] == "true" && !slices.Contains(own, key) {
			return "annotation " + key
		}
	}
	return ""
}
