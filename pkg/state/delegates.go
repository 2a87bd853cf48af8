package state

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// groupByLabels is the delegated group that a node is of, or "". Whoever else makes nodes has no
// listing that capmgr could ask: labels are all there is, and the mirror sees them before any listing
// would. Of two groups, the first in the configuration has the node.
func (m *Mirror) groupByLabels(n *corev1.Node) string {
	for i := range m.config.NodeGroups {
		if g := &m.config.NodeGroups[i]; g.Delegated() && has(n.Labels, g.NodeSelector()) {
			return g.Name
		}
	}
	return ""
}

func has(labels, selector map[string]string) bool {
	for key, value := range selector {
		if got, there := labels[key]; !there || got != value {
			return false
		}
	}
	return len(selector) > 0
}

// leavingTaints are on nodes that another autoscaler is removing.
var leavingTaints = []string{"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"}

// leaving names the taint by which another autoscaler says that it is removing a node, or "".
func leaving(n *corev1.Node) string {
	for _, key := range leavingTaints {
		if hasTaint(n, key) {
			return key
		}
	}
	return ""
}

// part is what one group delivers of a CapacityRequest.
type part struct{ namespace, request, group string }

func partOf(r *v1alpha1.CapacityRequest, group string) part { return part{r.Namespace, r.Name, group} }

// delegates lists the nodes of delegated groups as the groups' instances, and says whose they are.
func (b *builder) delegates() {
	b.m.claimed = map[part][]string{}
	for _, g := range b.s.NodeGroups {
		if !g.Delegated {
			continue
		}
		var members []*snapshot.Node
		for _, n := range b.s.Nodes {
			if n.Group == g.Name {
				members = append(members, n)
			}
		}
		asked := b.claim(g.Name, members)
		for _, n := range members {
			i := snapshot.Instance{ID: n.Name, Zone: n.Zone, Node: n.Name, State: snapshot.InstanceRunning, Launched: n.Object.CreationTimestamp.Time}
			if n.Object.DeletionTimestamp != nil || leaving(n.Object) != "" {
				i.State = snapshot.InstanceTerminating
			}
			if at, ok := asked[n.Name]; ok {
				// The gang has waited since then: that is what a boot takes, and how late it is.
				i.Launched = at
			}
			g.Instances = append(g.Instances, i)
		}
	}
}

// claim gives the nodes of a delegated group to the open purchases that asked for them, and returns
// since when each was asked for. What a purchase has written down is its own and stays so; of the
// rest, a node that came after a purchase was made is its own if it lacks one, the oldest purchase
// first. A node that others work on was made for them. All of it follows from objects that last: a
// restart changes nothing.
func (b *builder) claim(group string, members []*snapshot.Node) map[string]time.Time {
	asked, written := map[string]time.Time{}, map[string]bool{}
	for _, r := range b.history {
		for _, st := range r.Status.Nodes {
			if st.NodeGroup != group {
				continue
			}
			for _, name := range st.Instances {
				written[name] = true
				if !over(r) {
					asked[name] = r.CreationTimestamp.Time
				}
			}
		}
	}
	unclaimed := slices.DeleteFunc(slices.Clone(members), func(n *snapshot.Node) bool { return written[n.Name] || leaving(n.Object) != "" })
	slices.SortFunc(unclaimed, byAge)
	for _, r := range b.history { // oldest first
		k := slices.IndexFunc(r.Spec.Nodes, func(n v1alpha1.NodeRequest) bool { return n.NodeGroup == group })
		if k < 0 || over(r) || r.DeletionTimestamp != nil || b.m.requests[requestKey(r)] != r {
			continue
		}
		var own []*snapshot.Node
		for _, n := range members {
			if slices.ContainsFunc(r.Status.Nodes, func(st v1alpha1.NodeStatus) bool {
				return st.NodeGroup == group && slices.Contains(st.Instances, n.Name)
			}) {
				own = append(own, n)
			}
		}
		lacks := int(r.Spec.Nodes[k].Count) - writtenOf(r, group)
		gang := gangID(r.Namespace, r.Spec.Gang.Kind, r.Spec.Gang.Name, string(r.Spec.Gang.UID))
		unclaimed = slices.DeleteFunc(unclaimed, func(n *snapshot.Node) bool {
			if lacks <= 0 || n.Object.CreationTimestamp.Before(&r.CreationTimestamp) || worksFor(n, gang) {
				return false
			}
			lacks--
			own = append(own, n)
			asked[n.Name] = r.CreationTimestamp.Time
			return true
		})
		slices.SortFunc(own, byAge)
		for _, n := range own {
			p := partOf(r, group)
			b.m.claimed[p] = append(b.m.claimed[p], n.Name)
		}
	}
	return asked
}

func byAge(x, y *snapshot.Node) int {
	return cmp.Or(x.Object.CreationTimestamp.Compare(y.Object.CreationTimestamp.Time), cmp.Compare(x.Name, y.Name))
}

// writtenOf counts the nodes of a group that a request's status names, those that are gone too: a
// node that was lost is not replaced behind the back of the gang that had it.
func writtenOf(r *v1alpha1.CapacityRequest, group string) int {
	for _, st := range r.Status.Nodes {
		if st.NodeGroup == group {
			return len(st.Instances)
		}
	}
	return 0
}

// worksFor says whether somebody else than a gang works on a node.
func worksFor(n *snapshot.Node, gang snapshot.GangID) bool {
	return slices.ContainsFunc(n.Pods, func(p *snapshot.Pod) bool { return !p.Resident && p.Gang != gang })
}

// Ask is the part of an open purchase that another autoscaler delivers.
type Ask struct {
	Request *v1alpha1.CapacityRequest
	Part    v1alpha1.NodeRequest
	Group   *v1alpha1.NodeGroup
	Came    []string // the nodes that came for it and are there, in the order in which they came
}

// Asks lists what other autoscalers have been asked for and is not over, oldest first, as of the last
// snapshot.
func (m *Mirror) Asks() []Ask {
	if !slices.ContainsFunc(m.config.NodeGroups, func(g v1alpha1.NodeGroup) bool { return g.Delegated() }) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Ask
	for _, r := range m.requests {
		if over(r) || r.DeletionTimestamp != nil {
			continue
		}
		for _, n := range r.Spec.Nodes {
			if g := m.GroupOf(n.NodeGroup); g != nil && g.Delegated() {
				out = append(out, Ask{r, n, g, m.came(r, n.NodeGroup)})
			}
		}
	}
	slices.SortFunc(out, func(x, y Ask) int {
		return cmp.Or(x.Request.CreationTimestamp.Compare(y.Request.CreationTimestamp.Time), cmp.Compare(x.Request.Namespace, y.Request.Namespace),
			cmp.Compare(x.Request.Name, y.Request.Name), cmp.Compare(x.Part.NodeGroup, y.Part.NodeGroup))
	})
	return out
}

// Came lists the nodes of a group that came for a purchase and are there, in the order in which they
// came, as of the last snapshot.
func (m *Mirror) Came(r *v1alpha1.CapacityRequest, group string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.came(r, group))
}

// came is what has been written down, until a snapshot tells more. The caller holds the lock.
func (m *Mirror) came(r *v1alpha1.CapacityRequest, group string) []string {
	if m.claimed != nil {
		return m.claimed[partOf(r, group)]
	}
	var there []string
	for _, st := range r.Status.Nodes {
		for _, name := range st.Instances {
			if st.NodeGroup == group && m.nodes[name] != nil {
				there = append(there, name)
			}
		}
	}
	return there
}
