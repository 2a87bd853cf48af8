package state

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// Scheduled is the condition PodScheduled of a pod; nil when it has none.
func Scheduled(p *corev1.Pod) *corev1.PodCondition {
	for k := range p.Status.Conditions {
		if p.Status.Conditions[k].Type == corev1.PodScheduled {
			return &p.Status.Conditions[k]
		}
	}
	return nil
}

// shown says whether a pod that waits carries what other autoscalers look at: the reason for which
// they make nodes, or a node that is to be its.
func shown(p *pod) bool {
	c := Scheduled(p.object)
	return p.ours && waits(p.object) && (p.object.Status.NominatedNodeName != "" ||
		c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable)
}

func waits(p *corev1.Pod) bool { return p.Spec.NodeName == "" && p.DeletionTimestamp == nil }

// Shown lists the pods of capmgr's that wait and that other autoscalers make nodes for, as they are
// marked now, whoever marked them. What capmgr has just bound does not wait.
func (m *Mirror) Shown() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*corev1.Pod
	for uid := range m.shown {
		if m.assumed[uid] == "" {
			out = append(out, m.pods[uid].object)
		}
	}
	return byName(out)
}

// Waiting lists the pods of a gang that wait, by the UID of its owner. What capmgr has just bound does
// not.
func (m *Mirror) Waiting(owner types.UID) []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.kept.unit[owner]
	if u == nil {
		return nil
	}
	var out []*corev1.Pod
	for _, p := range u.pods {
		if p.ours && waits(p.object) && m.assumed[p.object.UID] == "" {
			out = append(out, p.object)
		}
	}
	return byName(out)
}

func byName(pods []*corev1.Pod) []*corev1.Pod {
	slices.SortFunc(pods, func(x, y *corev1.Pod) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return pods
}

// Pod returns the latest known version of a pod that waits to be bound, or nil.
func (m *Mirror) Pod(uid types.UID) *corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[uid]
	if p == nil || !waits(p.object) || m.assumed[uid] != "" {
		return nil
	}
	return p.object
}

// Knows says whether a pod is there that has not finished.
func (m *Mirror) Knows(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pods[uid] != nil
}

// Signals says whether a group is grown by whoever makes nodes for pods that are marked for it.
func (m *Mirror) Signals() bool {
	return slices.ContainsFunc(m.config.NodeGroups, func(g v1alpha1.NodeGroup) bool { return g.Provider == v1alpha1.ProviderSignal })
}

// Intents maps the nodes that carry IntentAnnotation to what it says.
func (m *Mirror) Intents() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.intents)
}

// Node returns the latest known version of a node, or nil.
func (m *Mirror) Node(name string) *corev1.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[name]
}
