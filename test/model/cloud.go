package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Group is a node group as the cloud has it.
type Group struct {
	Name         string
	InstanceType string
	Zone         string
	CapacityType string
	Min, Max     int
	Shape        cloud.Shape
	PricePerHour float64

	LaunchVersion string // of the launch template

	Daemons corev1.ResourceList // what a DaemonSet takes on every node of the group; may be nil

	Refusal  error // what the cloud answers to a launch: one of cloud's errors; nil: it delivers
	Detail   string
	Spare    int   // instances that still come before Refusal is the answer
	Unread   error // why the group cannot be observed; nil when it can
	Unlisted int   // of the newest instances, how many the listing does not show yet

	Instances []*Instance

	serial  int
	bought  int // asked for with a token
	tokens  map[string][]string
	promise *cloud.GroupConfig // of a group that another autoscaler grows; nil for others
}

// Instance is one machine.
type Instance struct {
	ID         string
	ProviderID string
	Intent     string
	Launched   time.Time
	Node       string // the node that it became; "" while it boots
}

// Launch adds instances to a group, all at once or as many as the cloud has. The same token returns
// the same instances.
func (g *Group) Launch(now time.Time, count int, token, intent string) ([]string, error) {
	if ids, done := g.tokens[token]; done && token != "" {
		return ids, nil
	}
	if g.promise != nil { // whoever is asked answers for all of it, and makes it later
		if g.Refusal == nil {
			return nil, nil
		}
		return nil, &cloud.Shortfall{Group: g.Name, Asked: count, Detail: g.Detail, Err: g.Refusal}
	}
	got, err := count, error(nil)
	if g.Refusal != nil && count > g.Spare {
		got = g.Spare
		err = &cloud.Shortfall{Group: g.Name, Asked: count, Got: got, Detail: g.Detail, Err: g.Refusal}
	}
	if g.Refusal != nil {
		g.Spare -= got
	}
	if token != "" {
		g.bought += got
	}
	var ids []string
	for range got {
		g.serial++
		i := &Instance{ID: fmt.Sprintf("i-%s-%02d", g.Name, g.serial), Launched: now, Intent: intent}
		i.ProviderID = "aws:///" + g.Zone + "/" + i.ID
		g.Instances = append(g.Instances, i)
		ids = append(ids, i.ID)
	}
	if g.tokens == nil {
		g.tokens = map[string][]string{}
	}
	g.tokens[token] = ids
	return ids, err
}

// Bought is how many instances the manager has ever had launched.
func (g *Group) Bought() int { return g.bought }

// Instance finds an instance by ID, or nil.
func (g *Group) Instance(id string) *Instance {
	for _, i := range g.Instances {
		if i.ID == id {
			return i
		}
	}
	return nil
}

func (g *Group) forget(providerID string) {
	g.Instances = slices.DeleteFunc(g.Instances, func(i *Instance) bool { return i.ProviderID == providerID })
}

// observed is what the group's listing says.
func (g *Group) observed() cloud.Group {
	if g.Unread != nil {
		return cloud.Group{Name: g.Name, Err: g.Unread}
	}
	if g.promise != nil {
		return cloud.Promised([]cloud.GroupConfig{*g.promise})[0]
	}
	out := cloud.Group{
		Name: g.Name, InstanceType: g.InstanceType, Zone: g.Zone, CapacityType: g.CapacityType,
		Min: g.Min, Max: g.Max, Desired: len(g.Instances), Shape: g.Shape, PricePerHour: g.PricePerHour,
		LaunchVersion: g.LaunchVersion,
	}
	for _, i := range g.Instances[:max(0, len(g.Instances)-g.Unlisted)] {
		out.Instances = append(out.Instances, cloud.Instance{
			ID: i.ID, ProviderID: i.ProviderID, Zone: g.Zone, InService: i.Node != "", Launched: i.Launched, Intent: i.Intent})
	}
	return out
}

// observe shows the cloud to the mirror.
func (w *World) observe() {
	var all []cloud.Group
	for _, name := range sorted(w.Groups) {
		all = append(all, w.Groups[name].observed())
	}
	w.mirror.SetGroups(all)
}

// ChangeGroup changes a group in the cloud and lets the manager see it.
func (w *World) ChangeGroup(name string, change func(*Group)) error {
	g := w.Groups[name]
	if g == nil {
		return fmt.Errorf("change node group %s: there is none", name)
	}
	w.changes++
	change(g)
	w.observe()
	return nil
}

// Boot turns the oldest count instances of a group that have no node yet into Ready nodes that do
// not advertise GPUs. adjust may change what a node turns out to be; it may be nil.
func (w *World) Boot(group string, count int, adjust func(*corev1.Node)) ([]string, error) {
	g := w.Groups[group]
	if g == nil {
		return nil, fmt.Errorf("boot in node group %s: there is none", group)
	}
	if g.promise != nil {
		g.make(w, count)
	}
	var names []string
	for _, i := range g.Instances {
		if i.Node != "" || len(names) == count {
			continue
		}
		i.Node = strings.TrimPrefix(i.ID, "i-")
		n := g.node(i)
		if adjust != nil {
			adjust(n)
		}
		w.PutNode(n)
		w.startDaemons(g, n)
		names = append(names, n.Name)
	}
	if len(names) < count {
		return names, fmt.Errorf("boot %d in node group %s: only %d instances have no node", count, group, len(names))
	}
	w.observe()
	return names, nil
}

// node is what an instance registers as: everything but its GPUs.
func (g *Group) node(i *Instance) *corev1.Node {
	var taints []corev1.Taint
	for _, t := range g.Shape.Taints {
		taints = append(taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	n := fit.Template(i.Node, fit.Shape{
		InstanceType: g.InstanceType, Zone: g.Zone, Labels: g.Shape.Labels, Taints: taints,
		Allocatable: snapshot.Resources{MilliCPU: g.Shape.MilliCPU, Memory: g.Shape.Memory},
		MaxPods:     int(g.Shape.Pods),
	})
	n.UID = ""
	n.Spec.ProviderID = i.ProviderID
	return n
}

func (w *World) startDaemons(g *Group, n *corev1.Node) {
	if g.Daemons == nil {
		return
	}
	w.PutPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "daemon-" + n.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "daemon", UID: types.UID("daemonset"), Controller: yes()}}},
		Spec: corev1.PodSpec{NodeName: n.Name, Containers: []corev1.Container{{
			Name: "daemon", Resources: corev1.ResourceRequirements{Requests: g.Daemons}}}},
	})
}

// Advertise makes the device plugin of a node report the GPUs of its type, and takes the start-up
// taint off.
func (w *World) Advertise(node string) error {
	g := w.groupOf(node)
	if g == nil {
		return fmt.Errorf("advertise GPUs of node %s: it is of no node group", node)
	}
	return w.ChangeNode(node, func(n *corev1.Node) {
		setGPUs(n, g.Shape.GPUs)
		n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.NotReadyTaint })
	})
}

func setGPUs(n *corev1.Node, gpus int64) {
	if gpus == 0 {
		return
	}
	q := *resource.NewQuantity(gpus, resource.DecimalSI)
	n.Status.Capacity[v1alpha1.GPUResource] = q
	n.Status.Allocatable[v1alpha1.GPUResource] = q
}

// groupOf finds the group that a node's instance is a member of, or nil.
func (w *World) groupOf(node string) *Group {
	n := w.nodes[node]
	if n == nil {
		return nil
	}
	for _, name := range sorted(w.Groups) {
		for _, i := range w.Groups[name].Instances {
			if i.ProviderID == n.Spec.ProviderID {
				return w.Groups[name]
			}
		}
	}
	return nil
}
