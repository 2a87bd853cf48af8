package scaling

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Releases names the instances to give back, and says when the next one falls due (zero: never by
// time alone). wanted tells which nodes the decision uses, by node name or instance ID.
//
// A node goes when it has been idle for its group's idleAfter and nothing is booked on it; an
// instance that is no node, or one that takes no pods, also not before the provision timeout. The group's
// minimum stays. Nodes outside the configured groups, and those that another autoscaler made, are never
// named.
func Releases(s *snapshot.Snapshot, wanted func(name string) bool) (steps []plan.TerminateNode, next time.Time) {
	for _, g := range s.NodeGroups {
		if g.Unknown != "" || g.Delegated {
			continue
		}
		spare := -g.Min
		for _, i := range g.Instances {
			if !i.Leaves() {
				spare++
			}
		}
		for _, i := range g.Instances {
			if spare <= 0 {
				break
			}
			if i.Leaves() || wanted(i.ID) || (i.Node != "" && wanted(i.Node)) {
				continue
			}
			because, due := releasable(s, g, i)
			if because == "" {
				if !due.IsZero() && (next.IsZero() || due.Before(next)) {
					next = due
				}
				continue
			}
			steps = append(steps, plan.TerminateNode{Group: g.Name, Instance: i.ID, Node: i.Node, Because: because})
			spare--
		}
	}
	return steps, next
}

// orphanGrace is how long an instance whose purchase is gone may take to become a node that others can
// use. Nobody waits for it, but it is paid for already, and most boots are shorter.
const orphanGrace = 5 * time.Minute

// releasable says why an instance may go now, or when it may if nothing changes.
func releasable(s *snapshot.Snapshot, g *snapshot.NodeGroup, i snapshot.Instance) (because string, due time.Time) {
	if inBooking(s, i.ID) {
		return "", time.Time{}
	}
	var n *snapshot.Node
	if i.Node != "" {
		n = s.Node(i.Node)
	}
	switch {
	case n == nil:
		return absent(s, g, i)
	case n.IdleSince.IsZero() || busy(n) != "":
		return "", time.Time{}
	case !n.Usable && !n.Cordoned && !n.Draining:
		return down(s, g, i, n)
	}
	if due := n.IdleSince.Add(g.IdleAfter); s.Now.Before(due) {
		return "", due
	}
	return fmt.Sprintf("idle for %s", g.IdleAfter), time.Time{}
}

// absent is releasable for an instance that is no node.
func absent(s *snapshot.Snapshot, g *snapshot.NodeGroup, i snapshot.Instance) (because string, due time.Time) {
	orphaned := i.Launched.Add(orphanGrace)
	switch {
	case i.Launched.IsZero():
		return "", time.Time{}
	case i.Orphan != "" && !s.Now.Before(orphaned):
		return fmt.Sprintf("launched for %s, which is no more, and not a node after %s", i.Orphan, orphanGrace), time.Time{}
	case i.Orphan != "" && orphanGrace < g.ProvisionTimeout:
		return "", orphaned
	case overdue(s, g, i):
		return fmt.Sprintf("not usable within %s of its launch", g.ProvisionTimeout), time.Time{}
	}
	return "", i.Launched.Add(g.ProvisionTimeout + time.Second)
}

// down is releasable for a node that takes no pods. It may boot; or it worked, and is out of order for
// a moment: so it has both the time of a boot and that of an idle node.
func down(s *snapshot.Snapshot, g *snapshot.NodeGroup, i snapshot.Instance, n *snapshot.Node) (because string, due time.Time) {
	idle := n.IdleSince.Add(g.IdleAfter)
	switch {
	case i.Launched.IsZero():
		return "", time.Time{}
	case !overdue(s, g, i):
		return "", later(idle, i.Launched.Add(g.ProvisionTimeout+time.Second))
	case s.Now.Before(idle):
		return "", idle
	}
	why := n.NotUsable
	if why == "" {
		why = "it takes no pods"
	}
	return fmt.Sprintf("idle for %s and not usable: %s", g.IdleAfter, why), time.Time{}
}

// busy says what keeps a node from being given back, or "".
func busy(n *snapshot.Node) string {
	if n.Protected != "" {
		return n.Protected
	}
	for _, p := range n.Pods {
		if !p.Resident {
			return "pod " + p.Namespace + "/" + p.Name + " runs there"
		}
		if p.Protected != "" {
			return "pod " + p.Namespace + "/" + p.Name + ": " + p.Protected
		}
	}
	return ""
}
