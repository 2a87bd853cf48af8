package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
)

// OpenRequests lists the CapacityRequests that the executor still owes something: a launch that is
// not recorded as done, or the return of what came of a failed one. The oldest come first.
func (m *Mirror) OpenRequests() []*v1alpha1.CapacityRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	var open []*v1alpha1.CapacityRequest
	for _, r := range m.requests {
		is := func(condition string) bool { return meta.IsStatusConditionTrue(r.Status.Conditions, condition) }
		if !is(v1alpha1.ConditionReleased) && (is(v1alpha1.ConditionFailed) || !is(v1alpha1.ConditionProvisioned)) {
			open = append(open, r)
		}
	}
	slices.SortFunc(open, func(x, y *v1alpha1.CapacityRequest) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return open
}

// Request returns the latest known version of a CapacityRequest, or nil.
func (m *Mirror) Request(namespace, name string) *v1alpha1.CapacityRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests[types.NamespacedName{Namespace: namespace, Name: name}]
}

// Queue returns the latest known version of a queue, or nil.
func (m *Mirror) Queue(name string) *queuev2.Queue {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queues[name]
}

// NodeOf names the node that an instance has become by now, or "". The last part of a provider ID is the
// instance's.
func (m *Mirror) NodeOf(instance string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, n := range m.nodes {
		if strings.HasSuffix(n.Spec.ProviderID, "/"+instance) {
			return name
		}
	}
	return ""
}

// Unbindable says why a pod cannot be bound to a node by what is known right now, which may be
// newer than what a plan was made from; "" when it can.
func (m *Mirror) Unbindable(uid types.UID, node string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	switch {
	case p == nil:
		return "the pod is gone"
	case p.object.DeletionTimestamp != nil:
		return "the pod is being deleted"
	case p.object.Spec.NodeName != "" || m.assumed[uid] != "":
		return "the pod is already bound"
	}
	n := m.nodes[node]
	switch {
	case n == nil:
		return "the node is gone"
	case n.DeletionTimestamp != nil || n.Spec.Unschedulable || hasTaint(n, v1alpha1.DrainingTaint) || m.draining[node]:
		return "the node takes no more pods"
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return "the node is not Ready any more"
		}
	}
	return ""
}

// Forget takes back AssumeBound, for a bind that did not happen.
func (m *Mirror) Forget(uid types.UID) {
	m.note(func() {
		delete(m.assumed, uid)
		if p := m.pods[uid]; p != nil {
			m.kept.units[keyOf(p)] = true
		}
	})
}

// DrainingNodes lists the nodes that carry capmgr's draining taint, by name.
func (m *Mirror) DrainingNodes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name, n := range m.nodes {
		if hasTaint(n, v1alpha1.DrainingTaint) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// GroupOf returns the configured group of that name, or nil.
func (m *Mirror) GroupOf(name string) *v1alpha1.NodeGroup {
	for i := range m.config.NodeGroups {
		if m.config.NodeGroups[i].Name == name {
			return &m.config.NodeGroups[i]
		}
	}
	return nil
}

// String names the mirror's size for logs.
func (m *Mirror) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d pods, %d nodes, %d queues, %d RayClusters", len(m.pods), len(m.nodes), len(m.queues), len(m.clusters))
}
