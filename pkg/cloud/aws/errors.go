package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// policies says what follows from an error code of EC2, Auto Scaling or EKS. The wire omits the
// "Fault" that the SDK's type names carry.
var policies = map[string]error{
	// No such machine there now.
	"InsufficientInstanceCapacity":      cloud.ErrInsufficientCapacity,
	"InsufficientHostCapacity":          cloud.ErrInsufficientCapacity,
	"InsufficientCapacity":              cloud.ErrInsufficientCapacity,
	"MaxSpotInstanceCountExceeded":      cloud.ErrInsufficientCapacity,
	"SpotMaxPriceTooLow":                cloud.ErrInsufficientCapacity,
	"UnfulfillableCapacity":             cloud.ErrInsufficientCapacity,
	"Unsupported":                       cloud.ErrInsufficientCapacity,
	"InsufficientFreeAddressesInSubnet": cloud.ErrInsufficientCapacity,
	"MaxFleetCountExceeded":             cloud.ErrInsufficientCapacity,
	"ReservationCapacityExceeded":       cloud.ErrInsufficientCapacity,

	// The account has no more room, in any zone.
	"VcpuLimitExceeded":     cloud.ErrQuota,
	"InstanceLimitExceeded": cloud.ErrQuota,
	"LimitExceeded":         cloud.ErrQuota,
	"VolumeLimitExceeded":   cloud.ErrQuota,

	// Not now; nothing was done.
	"ResourceContention":        cloud.ErrThrottled,
	"ScalingActivityInProgress": cloud.ErrThrottled,

	// The first call with this token still runs: the same token again will tell.
	"IdempotentCallInProgress": cloud.ErrUnknownOutcome,
	"RequestTimeout":           cloud.ErrUnknownOutcome,
	"RequestTimeoutException":  cloud.ErrUnknownOutcome,

	// A bug or a second writer.
	"IdempotentParameterMismatch": cloud.ErrRejected,
}

// classify wraps a failed call in the policy error that says what to do next.
func classify(err error) error {
	return fmt.Errorf("%w: %w", policyOf(err), err)
}

// policyOf errs towards ErrUnknownOutcome: acting again on a request that went through costs
// machines, looking again costs a read.
func policyOf(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if policy, known := codePolicy(api.ErrorCode(), api.ErrorMessage()); known {
			return policy
		}
	}
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		switch status := resp.HTTPStatusCode(); {
		case status == http.StatusTooManyRequests:
			return cloud.ErrThrottled
		case status >= 400 && status < 500:
			return cloud.ErrRejected
		}
		return cloud.ErrUnknownOutcome
	}
	if wasSent(err) {
		return cloud.ErrUnknownOutcome
	}
	return cloud.ErrRejected // it never left: credentials, endpoint or parameters
}

// codePolicy knows the codes that mean the same wherever they appear.
func codePolicy(code, message string) (policy error, known bool) { //nolint:revive // the error is what is asked for, not a failure
	if policy, ok := policies[code]; ok {
		return policy, true
	}
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return cloud.ErrThrottled, true
	}
	if code == "ValidationError" && mentions(message, "max size", "maxsize", "maximum size", "above max value", "maximum capacity") {
		return cloud.ErrQuota, true
	}
	return nil, false
}

// violatesMin recognises the answer to a termination that the group's minimum forbids; it has the
// same code as every other invalid request.
func violatesMin(message string) bool {
	return mentions(message, "min size", "minsize", "minimum", "below min")
}

func mentions(message string, parts ...string) bool {
	message = strings.ToLower(message)
	for _, s := range parts {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}

// wasSent says whether the request may have reached AWS although no answer came. A refused
// connection counts too: told apart it would gain nothing, and mistaken it would buy twice.
func wasSent(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*smithy.CanceledError](err); ok {
		return true
	}
	_, ok := errors.AsType[*smithy.DeserializationError](err)
	return ok
}
