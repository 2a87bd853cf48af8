package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

const (
	launchMax = 100 // instances per LaunchInstances call
	tokenMax  = 64  // characters of a client token
)

// Launch asks for r.Count machines and tags those that came. More than 100 are asked for in parts,
// each with a token derived from r.Token; after the first part that falls short the others are not
// asked for, since a gang that cannot be whole should not cost more.
//
// A failed tag is no failed launch: the machines are returned and Options.OnTagFailure hears of it.
func (p *Provider) Launch(ctx context.Context, r cloud.LaunchRequest) ([]string, error) {
	if err := checkLaunch(r); err != nil {
		return nil, fmt.Errorf("launch %d of %s: %w", r.Count, r.Group.Name, err)
	}
	var ids []string
	var err error
	for _, part := range split(r) {
		var got []string
		got, err = p.launchPart(ctx, part)
		ids = append(ids, got...)
		if err != nil {
			err = shortfall(r, len(ids), err)
			break
		}
	}
	p.tagInstances(ctx, r, ids)
	return ids, err
}

// checkLaunch refuses what AWS would misread: without a token the SDK invents one, and a launch
// that is repeated after a crash would then buy again.
func checkLaunch(r cloud.LaunchRequest) error {
	switch {
	case r.Count < 1:
		return reject("count must be at least 1")
	case r.Token == "" || len(r.Token) > tokenMax:
		return reject("token %q must have 1 to %d characters", r.Token, tokenMax)
	case strings.ContainsFunc(r.Token, func(c rune) bool { return c < ' ' || c > '~' }):
		return reject("token %q must be printable ASCII", r.Token)
	case len(r.Intent) > tagValueMax:
		return reject("intent %q has more than the %d characters of a tag", r.Intent, tagValueMax)
	}
	return nil
}

// split depends on nothing but the request, so that a repeated request repeats each part.
func split(r cloud.LaunchRequest) []cloud.LaunchRequest {
	if r.Count <= launchMax {
		return []cloud.LaunchRequest{r}
	}
	var parts []cloud.LaunchRequest
	for left, n := r.Count, 0; left > 0; left, n = left-launchMax, n+1 {
		part := r
		part.Count = min(left, launchMax)
		part.Token = partToken(r.Token, n)
		parts = append(parts, part)
	}
	return parts
}

// partToken is token-n, or a digest of the token and n where that would be too long.
func partToken(token string, n int) string {
	suffix := "-" + strconv.Itoa(n)
	if len(token)+len(suffix) <= tokenMax {
		return token + suffix
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])[:tokenMax-len(suffix)] + suffix
}

// launchPart returns what came; when that is less than asked, a *partial says why.
func (p *Provider) launchPart(ctx context.Context, r cloud.LaunchRequest) ([]string, error) {
	count := int32(r.Count) //nolint:gosec // at most launchMax
	in := &autoscaling.LaunchInstancesInput{
		AutoScalingGroupName: &r.Group.CloudName,
		ClientToken:          &r.Token,
		RequestedCapacity:    &count,
		// Any other strategy raises the desired count and buys later, when nobody waits any more.
		RetryStrategy: astypes.RetryStrategyNone,
	}
	if r.Zone != "" {
		in.AvailabilityZones = []string{r.Zone}
	}
	out, err := call(ctx, p.mutations, mutateTimeout, func(ctx context.Context) (*autoscaling.LaunchInstancesOutput, error) {
		return p.api.launch.LaunchInstances(ctx, in, sendOnce)
	})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, c := range out.Instances {
		ids = append(ids, c.InstanceIds...)
	}
	if len(ids) < r.Count {
		return ids, whyPartial(out.Errors)
	}
	return ids, nil
}

// partial is the reason in an answer that was itself a success.
type partial struct {
	policy error
	detail string
}

func (e *partial) Error() string { return e.detail }
func (e *partial) Unwrap() error { return e.policy }

// shortfall makes the caller's error. A call that failed outright before anything came stays an
// ordinary error, whose chain still holds AWS's own.
func shortfall(r cloud.LaunchRequest, got int, err error) error {
	s := &cloud.Shortfall{Group: r.Group.Name, Asked: r.Count, Got: got}
	if why, ok := errors.AsType[*partial](err); ok {
		s.Err, s.Detail = why.policy, why.detail
		return s
	}
	if got == 0 {
		return fmt.Errorf("launch %d of %s: %w", r.Count, r.Group.Name, err)
	}
	s.Err, s.Detail = policyIn(err), err.Error()
	return s
}

// whyPartial picks the policy that most limits what may be tried next, and keeps all the words.
func whyPartial(errs []astypes.LaunchInstancesError) error {
	why := &partial{policy: cloud.ErrInsufficientCapacity, detail: "no reason given"}
	var words []string
	var policies []error
	for _, e := range errs {
		words = append(words, value(e.ErrorCode)+": "+value(e.ErrorMessage))
		policies = append(policies, launchErrorPolicy(value(e.ErrorCode), value(e.ErrorMessage)))
	}
	if len(errs) > 0 {
		slices.Sort(words)
		why.detail = strings.Join(slices.Compact(words), "; ")
		why.policy = policyIn(errors.Join(policies...))
	}
	return why
}

// launchErrorPolicy reads a code inside an answer. There a fault of AWS's own is final for this
// token, and the gang is best served elsewhere, as with missing capacity.
func launchErrorPolicy(code, message string) error {
	switch code {
	case "InternalError", "InternalFailure", "ServerInternal", "ServiceUnavailable", "Unavailable":
		return cloud.ErrInsufficientCapacity
	}
	if policy, ok := codePolicy(code, message); ok {
		return policy
	}
	return cloud.ErrRejected
}

// policyIn finds the policy that an error wraps, the most limiting first.
func policyIn(err error) error {
	for _, policy := range []error{cloud.ErrUnknownOutcome, cloud.ErrRejected, cloud.ErrQuota, cloud.ErrInsufficientCapacity, cloud.ErrThrottled} {
		if errors.Is(err, policy) {
			return policy
		}
	}
	return err
}
