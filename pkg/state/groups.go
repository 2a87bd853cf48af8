package state

import (
	"cmp"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// nodeGroups joins what the configuration wants with what the cloud says.
func (b *builder) nodeGroups() {
	for i := range b.m.config.NodeGroups {
		c := &b.m.config.NodeGroups[i]
		g := &snapshot.NodeGroup{
			Name: c.Name, Provider: string(c.Provider), Zone: c.Zone, Delegated: c.Delegated(), Min: int(c.MinNodes),
			ExpectedBootTime: c.ExpectedBootTime.Duration, ProvisionTimeout: c.ProvisionTimeout.Duration,
		}
		if c.MaxNodes != nil {
			g.Max = int(*c.MaxNodes)
		}
		if c.IdleAfter != nil {
			g.IdleAfter = c.IdleAfter.Duration
		}
		switch seen, ok := b.m.groups[c.Name]; {
		case !ok:
			g.Unknown = "the cloud has not been read yet"
		case seen.Err != nil:
			g.Unknown = seen.Err.Error()
		default:
			b.seen(g, c, seen)
		}
		b.refusal(g)
		b.learnedBoot(g)
		b.flaps(g)
		g.Rejects = b.m.rejections.away(scope{group: g.Name}, b.s.Now)
		b.s.NodeGroups = append(b.s.NodeGroups, g)
	}
	slices.SortFunc(b.s.NodeGroups, func(x, y *snapshot.NodeGroup) int { return cmp.Compare(x.Name, y.Name) })
}

func (b *builder) seen(g *snapshot.NodeGroup, c *v1alpha1.NodeGroup, seen cloud.Group) {
	g.InstanceType, g.CapacityType = seen.InstanceType, seen.CapacityType
	g.Zone = cmp.Or(c.Zone, seen.Zone)
	g.Desired = seen.Desired
	g.Min, g.Max = max(g.Min, seen.Min), min(g.Max, seen.Max)
	g.Price = snapshot.Dollars(math.Round(seen.PricePerHour * 1e6))
	if c.HourlyPrice != nil {
		g.Price = snapshot.Dollars(c.HourlyPrice.Micros())
	}
	for _, i := range seen.Instances {
		out := snapshot.Instance{ID: i.ID, Zone: i.Zone, State: snapshot.InstancePending, Launched: i.Launched, Orphan: b.orphan(i)}
		switch {
		case i.Terminating:
			out.State = snapshot.InstanceTerminating
		case b.returned[i.ID]:
			out.State = snapshot.InstanceReturning
		case i.InService:
			out.State = snapshot.InstanceRunning
		}
		g.Instances = append(g.Instances, out)
	}
	if !g.Delegated { // whose nodes are seen as they are; see delegates
		b.unlisted(g)
	}
	slices.SortFunc(g.Instances, func(x, y snapshot.Instance) int { return cmp.Compare(x.ID, y.ID) })
	learned := b.learned(c.Name, seen.LaunchVersion)
	g.Template, g.Learned = template(g, c, seen, learned), learned != nil
}

// listingLag is how long the cloud's listing may lag behind a launch's own answer.
const listingLag = time.Minute

// unlisted adds the instances that a purchase brought and the cloud does not list yet, where no booking
// counts them: they cost from their first second on. The purchase was over before, because the gang found
// other room or went, or one of them was lost; or it fell short, and they are about to be given back.
func (b *builder) unlisted(g *snapshot.NodeGroup) {
	for _, r := range b.history {
		at, state, counts := b.brought(r)
		if !counts {
			continue
		}
		for _, n := range r.Status.Nodes {
			for _, id := range n.Instances {
				listed := slices.ContainsFunc(g.Instances, func(i snapshot.Instance) bool { return i.ID == id })
				// One that was listed before is not late: it is gone.
				if n.NodeGroup == g.Name && !listed && !b.m.listed[id] {
					g.Instances = append(g.Instances, snapshot.Instance{ID: id, Zone: g.Zone, State: state, Launched: at})
				}
			}
		}
	}
}

// brought says whether instances of a request may be missing from the listing and count all the same, and
// as what.
func (b *builder) brought(r *v1alpha1.CapacityRequest) (at time.Time, as snapshot.InstanceState, counts bool) {
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionFailed); c != nil && refused(r) {
		return c.LastTransitionTime.Time, snapshot.InstanceReturning, !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReleased)
	}
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProvisioned)
	if c == nil { // over while another autoscaler was still making its part
		c = meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReleased)
	}
	if c == nil || c.Status != metav1.ConditionTrue || b.s.Now.Sub(c.LastTransitionTime.Time) > listingLag {
		return at, as, false
	}
	return c.LastTransitionTime.Time, snapshot.InstancePending, over(r) || b.m.requests[requestKey(r)] == nil
}

func requestKey(r *v1alpha1.CapacityRequest) types.NamespacedName {
	return types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
}

// returns are the instances of purchases that failed: the executor gives them back, and until the
// cloud shows them as leaving they must pass neither for room nor for nodes on their way, and still count.
func (b *builder) returns() {
	b.returned = map[string]bool{}
	for _, r := range b.m.requests {
		is := func(condition string) bool { return meta.IsStatusConditionTrue(r.Status.Conditions, condition) }
		if !is(v1alpha1.ConditionFailed) || is(v1alpha1.ConditionReleased) {
			continue
		}
		for _, n := range r.Status.Nodes {
			if g := b.m.GroupOf(n.NodeGroup); g != nil && g.Delegated() {
				continue // they stay, for whoever made them to remove
			}
			for _, id := range n.Instances {
				b.returned[id] = true
			}
		}
	}
}

// linkInstances tells each instance which node it became.
func (b *builder) linkInstances() {
	node := map[string]string{}
	for _, n := range b.s.Nodes {
		if n.InstanceID != "" {
			node[n.InstanceID] = n.Name
		}
	}
	for _, g := range b.s.NodeGroups {
		for k := range g.Instances {
			g.Instances[k].Node = node[g.Instances[k].ID]
		}
	}
}

// isDelegated says whether another autoscaler makes nodes of a request: they have come by the time that they
// count as provisioned.
func (b *builder) isDelegated(r *v1alpha1.CapacityRequest) bool {
	return slices.ContainsFunc(r.Spec.Nodes, func(n v1alpha1.NodeRequest) bool {
		g := b.m.GroupOf(n.NodeGroup)
		return g != nil && g.Delegated()
	})
}

// bookings are the CapacityRequests that are neither given up nor over.
func (b *builder) bookings() {
	for _, r := range b.m.requests {
		if over(r) || r.DeletionTimestamp != nil {
			continue
		}
		k := r.Spec.Gang
		bk := &snapshot.Booking{
			Gang:      gangID(r.Namespace, k.Kind, k.Name, string(k.UID)),
			Namespace: r.Namespace, Request: r.Name, Attempt: r.Spec.Attempt, Created: r.CreationTimestamp.Time,
			Queue: r.Spec.Queue, Warm: k.KeepsWarm(),
		}
		if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProvisioned); c != nil && c.Status == "True" && !b.isDelegated(r) {
			bk.Launched = c.LastTransitionTime.Time
		}
		for _, n := range r.Spec.Nodes {
			part := snapshot.BookedNodes{Group: n.NodeGroup, Count: int(n.Count)}
			for _, st := range r.Status.Nodes {
				if st.NodeGroup == n.NodeGroup {
					part.Instances = slices.Clone(st.Instances)
				}
			}
			part.Instances = append(part.Instances, b.m.claimed[partOf(r, n.NodeGroup)]...)
			// The cloud may list what was launched before the answer is written: an instance counts as
			// the booking's from the moment that it is seen, or it would count twice, and for anyone.
			for _, i := range b.m.groups[n.NodeGroup].Instances {
				if i.Intent == r.Namespace+"/"+r.Name {
					part.Instances = append(part.Instances, i.ID)
				}
			}
			slices.Sort(part.Instances)
			part.Instances = slices.Compact(part.Instances)
			bk.Nodes = append(bk.Nodes, part)
		}
		b.s.Bookings = append(b.s.Bookings, bk)
	}
	slices.SortFunc(b.s.Bookings, func(x, y *snapshot.Booking) int {
		return cmp.Or(cmp.Compare(x.Gang, y.Gang), cmp.Compare(x.Attempt, y.Attempt), cmp.Compare(x.Request, y.Request))
	})
}

func over(r *v1alpha1.CapacityRequest) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionFailed) ||
		meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReleased)
}

// Back-off for a (shape, group) pair whose node came and did not fit, or did not become usable in
// time: it doubles from unfitFirst to unfitMost with every further such node.
const (
	unfitFirst = 5 * time.Minute
	unfitMost  = time.Hour
)

// unfit reads from failed requests which shapes a group's nodes did not serve.
func (b *builder) unfit() {
	type pair struct{ group, shape string }
	type memory struct {
		times int
		last  time.Time
		late  bool
	}
	failed := map[pair]memory{}
	for _, r := range b.m.requests {
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionFailed)
		if c == nil || (c.Reason != v1alpha1.ReasonNodeDidNotFit && c.Reason != v1alpha1.ReasonProvisionTimeout) {
			continue
		}
		for _, n := range r.Spec.Nodes {
			p := pair{n.NodeGroup, r.Labels[v1alpha1.ShapeLabel]}
			f := failed[p]
			f.times++
			if c.LastTransitionTime.After(f.last) {
				f.last, f.late = c.LastTransitionTime.Time, c.Reason == v1alpha1.ReasonProvisionTimeout
			}
			failed[p] = f
		}
	}
	for _, g := range b.s.NodeGroups {
		for p, f := range failed {
			wait := unfitMost
			if f.times < 5 {
				wait = min(unfitMost, unfitFirst<<(f.times-1))
			}
			if p.group == g.Name && b.s.Now.Before(f.last.Add(wait)) {
				g.Unfit = append(g.Unfit, snapshot.Unfit{Shape: p.shape, Until: f.last.Add(wait), Late: f.late})
			}
		}
		slices.SortFunc(g.Unfit, func(x, y snapshot.Unfit) int { return cmp.Compare(x.Shape, y.Shape) })
	}
}
