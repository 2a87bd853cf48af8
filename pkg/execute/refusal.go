package execute

import (
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/state"
)

// Refusal is what the cloud's answer to a launch says of the market that was asked, for the memory that
// all groups of it share.
func Refusal(m *state.Mirror, group string, err error, at time.Time) *v1alpha1.Refusal {
	out := &v1alpha1.Refusal{Reason: refusalReason(err), At: metav1.NewTime(at)}
	if g := m.GroupOf(group); g == nil || !g.Delegated() { // why another autoscaler has none, it does not say: perhaps a bound of its own
		out.InstanceType, out.Zone, out.CapacityType = m.Market(group)
	}
	return out
}

// FailureReason is the reason with which a purchase fails, from the errors of its launches.
func FailureReason(err error) string {
	var short *cloud.Shortfall
	if errors.As(err, &short) && short.Got > 0 {
		return v1alpha1.ReasonPartialFill
	}
	return refusalReason(err)
}

func refusalReason(err error) string {
	switch {
	case errors.Is(err, cloud.ErrInsufficientCapacity):
		return v1alpha1.ReasonInsufficientCapacity
	case errors.Is(err, cloud.ErrQuota):
		return v1alpha1.ReasonQuotaExceeded
	case errors.Is(err, cloud.ErrThrottled):
		return v1alpha1.ReasonThrottled
	case errors.Is(err, cloud.ErrStale):
		return v1alpha1.ReasonPodsReplaced
	}
	return v1alpha1.ReasonProviderRefused
}
