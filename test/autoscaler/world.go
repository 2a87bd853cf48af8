package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
	"k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// world is what one loop sees, and what it has promised in it.
type world struct {
	requests []v1.ProvisioningRequest // oldest first
	pods     []corev1.Pod             // by namespace and name
	nodes    []*place                 // those that are there, then those that are coming
}

// place is a node with the room that is left on it.
type place struct {
	node  *corev1.Node
	group *group // nil for nodes of no group of the autoscaler's
	free  corev1.ResourceList
	pods  []string // that run there or are to
}

func (a *Autoscaler) look(ctx context.Context) (*world, error) {
	w := &world{}
	requests := &v1.ProvisioningRequestList{}
	if err := a.client.List(ctx, requests); err != nil {
		return nil, fmt.Errorf("list ProvisioningRequests: %w", err)
	}
	w.requests = requests.Items
	slices.SortFunc(w.requests, func(x, y v1.ProvisioningRequest) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Name, y.Name))
	})
	pods, err := a.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	w.pods = pods.Items
	nodes, err := a.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	there := map[string]bool{}
	for k := range nodes.Items {
		n := &nodes.Items[k]
		there[n.Name] = true
		p := &place{node: n, group: a.groupOf(n.Labels), free: n.Status.Allocatable.DeepCopy()}
		if p.group != nil {
			delete(p.group.coming, n.Name)
			// As it will be once it is up: with its devices, without the taints of a boot.
			p.node = n.DeepCopy()
			p.node.Spec.Taints = slices.Clone(p.group.Taints)
			p.free = p.group.Allocatable.DeepCopy()
		}
		w.nodes = append(w.nodes, p)
	}
	for _, g := range a.groups {
		for name := range g.coming {
			w.nodes = append(w.nodes, &place{node: g.template(name), group: g, free: g.Allocatable.DeepCopy()})
		}
	}
	slices.SortFunc(w.nodes, func(x, y *place) int { return cmp.Compare(x.node.Name, y.node.Name) })
	for k := range w.pods {
		pod := &w.pods[k]
		on := pod.Spec.NodeName
		if !a.options.Karpenter {
			on = cmp.Or(on, pod.Status.NominatedNodeName)
		}
		for _, p := range w.nodes {
			if p.node.Name == on && there[on] {
				p.take(pod)
			}
		}
	}
	return w, nil
}

// groupOf is the group whose labels a node has. The caller holds the lock.
func (a *Autoscaler) groupOf(labels map[string]string) *group {
	for _, g := range a.groups {
		all := true
		for key, value := range g.Labels {
			all = all && labels[key] == value
		}
		if all {
			return g
		}
	}
	return nil
}

// fits says whether a pod may run on a node and has room there.
func (p *place) fits(pod *corev1.Pod) bool {
	if match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(p.node); err != nil || !match || p.node.Spec.Unschedulable {
		return false
	}
	if _, taint := corev1helpers.FindMatchingUntoleratedTaint(p.node.Spec.Taints, pod.Spec.Tolerations, func(t *corev1.Taint) bool {
		return t.Effect != corev1.TaintEffectPreferNoSchedule
	}); taint {
		return false
	}
	for name, want := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		if have := p.free[name]; have.Cmp(want) < 0 {
			return false
		}
	}
	return true
}

func (p *place) take(pod *corev1.Pod) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	for name, want := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		have := p.free[name]
		have.Sub(want)
		p.free[name] = have
	}
	p.pods = append(p.pods, pod.Namespace+"/"+pod.Name)
}

// place puts pods on nodes that are there or coming and returns those that found no room.
func (w *world) place(pods []*corev1.Pod) (left []*corev1.Pod) {
	for _, pod := range pods {
		k := slices.IndexFunc(w.nodes, func(p *place) bool { return p.fits(pod) })
		if k < 0 {
			left = append(left, pod)
			continue
		}
		w.nodes[k].take(pod)
	}
	return left
}

// grow finds the first group of which new nodes take all of some pods, and how many; nil: there is none.
func (a *Autoscaler) grow(w *world, pods []*corev1.Pod) (*group, int) {
	for _, g := range a.groups {
		have := 0
		for _, p := range w.nodes {
			if p.group == g {
				have++
			}
		}
		if n, all := g.open(pods); all && have+n <= g.Max {
			return g, n
		}
	}
	return nil, 0
}

// open counts the new nodes that pods need, and says whether they take all of them.
func (g *group) open(pods []*corev1.Pod) (n int, all bool) {
	fresh := &world{}
	for _, pod := range pods {
		if fresh.place([]*corev1.Pod{pod}) == nil {
			continue
		}
		p := &place{node: g.template("new"), group: g, free: g.Allocatable.DeepCopy()}
		if !p.fits(pod) {
			return 0, false
		}
		p.take(pod)
		fresh.nodes = append(fresh.nodes, p)
	}
	return len(fresh.nodes), true
}
