package state

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// SpentRequests lists the CapacityRequests that kept capacity warm, are over, and that nothing is
// read from any more. A gang's go with the gang; these would stay for as long as their Queue. The
// latest of each stays: it counts the attempts, and an attempt's token must never be used twice.
func (m *Mirror) SpentRequests(now time.Time) []*v1alpha1.CapacityRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	latest := map[string]int32{}
	for _, r := range m.requests {
		uid := string(r.Spec.Gang.UID)
		latest[uid] = max(latest[uid], r.Spec.Attempt)
	}
	var spent []*v1alpha1.CapacityRequest
	for _, r := range m.requests {
		if r.Spec.Gang.KeepsWarm() && r.Spec.Attempt < latest[string(r.Spec.Gang.UID)] && r.DeletionTimestamp == nil &&
			meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReleased) &&
			now.Sub(r.CreationTimestamp.Time) > pastMemory {
			spent = append(spent, r)
		}
	}
	slices.SortFunc(spent, func(x, y *v1alpha1.CapacityRequest) int { return int(x.Spec.Attempt - y.Spec.Attempt) })
	return spent
}
