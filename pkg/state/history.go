package state

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// pastMemory is how long a CapacityRequest that was deleted is remembered. It goes with its owner,
// but the nodes that it bought were bought, and what the cloud answered is still true.
const pastMemory = 2 * time.Hour

// recall lists what has been bought, as far as it is remembered. CapacityRequests are durable: what
// is derived from them alone survives a restart, and every process that reads them sees the same.
func (b *builder) recall() {
	maps.DeleteFunc(b.m.past, func(_ types.UID, r *v1alpha1.CapacityRequest) bool {
		return b.s.Now.Sub(r.CreationTimestamp.Time) > pastMemory
	})
	b.history = slices.AppendSeq(slices.Collect(maps.Values(b.m.requests)), maps.Values(b.m.past))
	slices.SortFunc(b.history, func(x, y *v1alpha1.CapacityRequest) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace),
			cmp.Compare(x.Name, y.Name), cmp.Compare(x.UID, y.UID))
	})
}

// grown counts what was bought lately, for the limit on growth. A purchase whose outcome is open
// counts in full; one that the cloud refused, with what came of it. Machines that carry the tag of a
// purchase that nobody remembers count as well.
func (b *builder) grown() {
	known := map[string]bool{}
	for _, r := range b.history {
		known[r.Namespace+"/"+r.Name] = true
	}
	for _, p := range b.purchases() {
		known[p.Request] = true
		b.s.Grown = append(b.s.Grown, snapshot.Growth{At: p.At, Nodes: p.Nodes})
	}
	for _, g := range b.m.groups {
		for _, i := range g.Instances {
			if i.Intent != "" && !known[i.Intent] && b.s.Now.Sub(i.Launched) < snapshot.GrowthWindow {
				b.s.Grown = append(b.s.Grown, snapshot.Growth{At: i.Launched, Nodes: 1})
			}
		}
	}
	slices.SortFunc(b.s.Grown, func(x, y snapshot.Growth) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Nodes, y.Nodes))
	})
}

// refused says that the cloud did not deliver what a request asked for.
func refused(r *v1alpha1.CapacityRequest) bool {
	c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionFailed)
	return c != nil && slices.Contains([]string{v1alpha1.ReasonInsufficientCapacity, v1alpha1.ReasonPartialFill,
		v1alpha1.ReasonQuotaExceeded, v1alpha1.ReasonProviderRefused, v1alpha1.ReasonThrottled}, c.Reason)
}
