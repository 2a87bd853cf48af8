package state

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// How long a market is left alone after the cloud refused: first, and at most after refusals in a
// row. Insufficient capacity comes and goes in minutes (Karpenter remembers it for three); quotas
// and permissions are changed by people.
const (
	capacityFirst, capacityMost = 3 * time.Minute, 30 * time.Minute
	throttleFirst, throttleMost = time.Minute, 10 * time.Minute
	personFirst, personMost     = 15 * time.Minute, time.Hour
	// rowEnds is how long after a refusal the next one is the first again.
	rowEnds = 2 * time.Hour
)

// market is what the cloud has or has not: an instance type in a zone, bought in one way. All
// groups of a market share what is known of it, and other markets learn nothing from it.
type market struct{ instanceType, zone, capacityType, group string }

// everyZone marks what holds in every zone of a region.
const everyZone = "*"

// memory is what is known of a market since the cloud last delivered from it.
type memory struct {
	refusal v1alpha1.Refusal // the latest
	times   int              // in a row
}

// marketOf is what a refusal speaks of. A quota holds in every zone. What the provider refuses for
// what it is, a launch template or a permission, is the group's own.
func marketOf(r *v1alpha1.Refusal, group string) market {
	switch {
	case r.InstanceType == "":
	case r.Reason == v1alpha1.ReasonInsufficientCapacity:
		return market{instanceType: r.InstanceType, zone: r.Zone, capacityType: r.CapacityType}
	case r.Reason == v1alpha1.ReasonQuotaExceeded:
		return market{instanceType: r.InstanceType, zone: everyZone, capacityType: r.CapacityType}
	}
	return market{group: group}
}

// marketsOf are the markets that a group belongs to, as marketOf names them.
func marketsOf(group, instanceType, zone, capacityType string) [3]market {
	return [3]market{
		{instanceType: instanceType, zone: zone, capacityType: capacityType},
		{instanceType: instanceType, zone: everyZone, capacityType: capacityType},
		{group: group},
	}
}

// refusals reads from CapacityRequests which markets the cloud refuses. Interrupted spot machines,
// lost nodes and throttled calls leave no refusal there: they say nothing of what can be bought.
func (b *builder) refusals() {
	b.markets = map[market]memory{}
	for _, r := range b.history { // oldest first
		for _, st := range r.Status.Nodes {
			if st.Refusal == nil {
				continue
			}
			k := marketOf(st.Refusal, st.NodeGroup)
			m := b.markets[k]
			switch {
			case m.times == 0 || st.Refusal.At.Sub(m.refusal.At.Time) > rowEnds:
				m.times = 1
			case r.CreationTimestamp.After(m.refusal.At.Time):
				m.times++ // it was tried again; those that were asked for together are one refusal
			}
			if m.refusal.At.Before(&st.Refusal.At) {
				m.refusal = *st.Refusal
			}
			b.markets[k] = m
		}
	}
	for _, r := range b.history {
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProvisioned)
		if c == nil || c.Status != "True" {
			continue
		}
		for _, n := range r.Spec.Nodes {
			g := b.m.groups[n.NodeGroup]
			for _, k := range marketsOf(n.NodeGroup, g.InstanceType, b.m.zoneOf(n.NodeGroup), g.CapacityType) {
				if m, ok := b.markets[k]; ok && c.LastTransitionTime.After(m.refusal.At.Time) {
					delete(b.markets, k) // it delivered since
				}
			}
		}
	}
}

// refusal tells a group what is remembered of its markets: what holds longest.
func (b *builder) refusal(g *snapshot.NodeGroup) {
	for _, k := range marketsOf(g.Name, g.InstanceType, g.Zone, g.CapacityType) {
		m, ok := b.markets[k]
		if !ok {
			continue
		}
		if until := m.refusal.At.Add(m.wait()); b.s.Now.Before(until) && until.After(g.BlockedUntil) {
			who := "the cloud"
			if g.Delegated {
				who = "its autoscaler"
			}
			g.BlockedUntil, g.BlockedBecause = until, who+" refused: "+m.String()
		}
	}
}

// wait is how long the market is left alone after the latest refusal.
func (m memory) wait() time.Duration {
	first, most := personFirst, personMost
	switch m.refusal.Reason {
	case v1alpha1.ReasonInsufficientCapacity:
		first, most = capacityFirst, capacityMost
	case v1alpha1.ReasonThrottled:
		first, most = throttleFirst, throttleMost
	}
	const doublings = 10 // beyond both
	return min(most, first<<min(m.times-1, doublings))
}

// String is what the cloud refuses, for people.
func (m memory) String() string {
	text, what := "it rejected the request", m.refusal.CapacityType+" "+m.refusal.InstanceType
	switch m.refusal.Reason {
	case v1alpha1.ReasonInsufficientCapacity:
		text = "insufficient capacity"
		if m.refusal.InstanceType != "" { // another autoscaler does not say of what
			text += " for " + what
		}
		if m.refusal.Zone != "" {
			text += " in " + m.refusal.Zone
		}
	case v1alpha1.ReasonQuotaExceeded:
		text = "quota exceeded for " + what
	case v1alpha1.ReasonThrottled:
		text = "it took no more calls"
	}
	if m.times > 1 {
		text += fmt.Sprintf(", %d times in a row", m.times)
	}
	return text
}

// Market returns the instance type, zone and capacity type that a group's machines are bought as;
// "" for what is not known.
func (m *Mirror) Market(group string) (instanceType, zone, capacityType string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.groups[group]
	return g.InstanceType, m.zoneOf(group), g.CapacityType
}

// zoneOf is the configured zone of a group, else the cloud's. The caller holds the lock.
func (m *Mirror) zoneOf(group string) string {
	if c := m.GroupOf(group); c != nil && c.Zone != "" {
		return c.Zone
	}
	return m.groups[group].Zone
}
