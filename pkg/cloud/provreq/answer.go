package provreq

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// Reasons that Cluster Autoscaler gives.
const (
	capacityIsNotFound   = "CapacityIsNotFound"   // of Provisioned being False: it tries again later
	failedToCreatePods   = "FailedToCreatePods"   // of Failed: the templates are of no use to it
	failedToBookCapacity = "FailedToBookCapacity" // likewise, later
)

// standing says what has become of a request: nil while it may still be met, also when it is called
// provisioned. Cluster Autoscaler would try again where it found no capacity, after a minute and then
// less and less often; the gang moves on instead.
func standing(r *v1.ProvisioningRequest) error {
	for _, kind := range []string{v1.Failed, v1.CapacityRevoked, v1.BookingExpired} {
		c := meta.FindStatusCondition(r.Status.Conditions, kind)
		if c == nil || c.Status != metav1.ConditionTrue {
			continue
		}
		policy := cloud.ErrInsufficientCapacity
		if c.Reason == failedToCreatePods || c.Reason == failedToBookCapacity {
			policy = cloud.ErrRejected
		}
		return said(c, policy)
	}
	c := meta.FindStatusCondition(r.Status.Conditions, v1.Provisioned)
	if c != nil && c.Status == metav1.ConditionFalse && c.Reason == capacityIsNotFound {
		return said(c, cloud.ErrInsufficientCapacity)
	}
	return nil
}

// said is an answer in Cluster Autoscaler's own words.
func said(c *metav1.Condition, policy error) error {
	return fmt.Errorf("%w: %s is %s, %s: %s", policy, c.Type, c.Status, c.Reason, c.Message)
}

// wrap gives an error of the API server the policy that follows from it; nil stays nil. One that has a
// policy keeps it.
func wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsTooManyRequests(err):
		return fmt.Errorf("%s: %w: %w", what, cloud.ErrThrottled, err)
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w: %w", what, cloud.ErrRejected, err)
	case policed(err):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, cloud.ErrUnknownOutcome, err)
}

func splitIntent(r cloud.LaunchRequest) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(r.Intent, "/")
	if !ok || r.Group.Delegation == nil {
		return "", "", fmt.Errorf("it has no CapacityRequest, or its group has no provisioning class: %w", cloud.ErrRejected)
	}
	return namespace, name, nil
}

// policed says whether an error wraps one of cloud's already.
func policed(err error) bool {
	for _, policy := range []error{cloud.ErrStale, cloud.ErrUnknownOutcome, cloud.ErrRejected, cloud.ErrThrottled} {
		if errors.Is(err, policy) {
			return true
		}
	}
	return false
}
