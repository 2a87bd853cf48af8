package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/cloud"
)

func request(count int) cloud.LaunchRequest {
	return cloud.LaunchRequest{Group: configOf("g5-a"), Count: count, Token: "tok", Intent: "team-a/train-1"}
}

// launches answers each call with everything it asked for, and remembers the calls.
func (f *fakeAPI) launches(calls *[]string) *fakeAPI {
	f.launch = func(in *autoscaling.LaunchInstancesInput) (*autoscaling.LaunchInstancesOutput, error) {
		*calls = append(*calls, fmt.Sprintf("%s %d %s %s %v", *in.AutoScalingGroupName, *in.RequestedCapacity, *in.ClientToken, in.RetryStrategy, in.AvailabilityZones))
		c := astypes.InstanceCollection{}
		for i := range *in.RequestedCapacity {
			c.InstanceIds = append(c.InstanceIds, fmt.Sprintf("i-%s-%d", *in.ClientToken, i))
		}
		return &autoscaling.LaunchInstancesOutput{Instances: []astypes.InstanceCollection{c}}, nil
	}
	f.createTags = func(*ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error) { return &ec2.CreateTagsOutput{}, nil }
	return f
}

func TestLaunchSplits(t *testing.T) {
	long := strings.Repeat("x", 64)
	digest := partToken(long, 1)
	if len(digest) > tokenMax || !strings.HasSuffix(digest, "-1") || digest == partToken(strings.Repeat("y", 64), 1) {
		t.Errorf("token of a part: %q", digest)
	}
	for name, tc := range map[string]struct {
		count int
		zone  string
		token string
		want  []string
	}{
		"one call":   {4, "", "tok", []string{"g5-a 4 tok none []"}},
		"full call":  {100, "", "tok", []string{"g5-a 100 tok none []"}},
		"zone":       {1, "us-east-1b", "tok", []string{"g5-a 1 tok none [us-east-1b]"}},
		"three":      {250, "", "tok", []string{"g5-a 100 tok-0 none []", "g5-a 100 tok-1 none []", "g5-a 50 tok-2 none []"}},
		"long token": {101, "", long, []string{"g5-a 100 " + partToken(long, 0) + " none []", "g5-a 1 " + digest + " none []"}},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			p := (&fakeAPI{}).launches(&calls).provider(t, newClock())
			r := request(tc.count)
			r.Zone, r.Token = tc.zone, tc.token
			ids, err := p.Launch(context.Background(), r)
			if err != nil || len(ids) != tc.count {
				t.Errorf("%d ids, %v", len(ids), err)
			}
			if diff := cmp.Diff(tc.want, calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLaunchStopsAtTheFirstShortPart(t *testing.T) {
	for name, tc := range map[string]struct {
		second func(*autoscaling.LaunchInstancesOutput) (*autoscaling.LaunchInstancesOutput, error)
		got    int
		policy error
	}{
		"partial": {func(out *autoscaling.LaunchInstancesOutput) (*autoscaling.LaunchInstancesOutput, error) {
			out.Instances[0].InstanceIds = out.Instances[0].InstanceIds[:30]
			out.Errors = []astypes.LaunchInstancesError{{ErrorCode: ptr("InsufficientInstanceCapacity"), ErrorMessage: ptr("none left")}}
			return out, nil
		}, 130, cloud.ErrInsufficientCapacity},
		"refused": {func(*autoscaling.LaunchInstancesOutput) (*autoscaling.LaunchInstancesOutput, error) {
			return nil, &smithy.GenericAPIError{Code: "VcpuLimitExceeded", Message: "64"}
		}, 100, cloud.ErrQuota},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			f := (&fakeAPI{}).launches(&calls)
			all := f.launch
			f.launch = func(in *autoscaling.LaunchInstancesInput) (*autoscaling.LaunchInstancesOutput, error) {
				out, err := all(in)
				if len(calls) == 2 {
					return tc.second(out)
				}
				return out, err
			}
			ids, err := f.provider(t, newClock()).Launch(context.Background(), request(250))
			s, ok := errors.AsType[*cloud.Shortfall](err)
			if !ok || s.Asked != 250 || s.Got != tc.got || len(ids) != tc.got || !errors.Is(err, tc.policy) || s.Detail == "" {
				t.Errorf("%d ids, %v", len(ids), err)
			}
			if len(calls) != 2 {
				t.Errorf("%d calls, want 2", len(calls))
			}
		})
	}
}

func TestWhyPartial(t *testing.T) {
	for name, tc := range map[string]struct {
		codes []string
		want  error
	}{
		"silence":               {nil, cloud.ErrInsufficientCapacity},
		"capacity":              {[]string{"UnfulfillableCapacity"}, cloud.ErrInsufficientCapacity},
		"unsupported in zone":   {[]string{"Unsupported"}, cloud.ErrInsufficientCapacity},
		"fault of AWS":          {[]string{"InternalError"}, cloud.ErrInsufficientCapacity},
		"quota beats capacity":  {[]string{"InsufficientInstanceCapacity", "VcpuLimitExceeded"}, cloud.ErrQuota},
		"permission beats both": {[]string{"VcpuLimitExceeded", "UnauthorizedOperation", "UnfulfillableCapacity"}, cloud.ErrRejected},
		"throttled":             {[]string{"RequestLimitExceeded"}, cloud.ErrThrottled},
		"unheard of":            {[]string{"NewCode"}, cloud.ErrRejected},
	} {
		var errs []astypes.LaunchInstancesError
		for _, c := range tc.codes {
			errs = append(errs, astypes.LaunchInstancesError{ErrorCode: &c, ErrorMessage: ptr("words")})
		}
		if got := whyPartial(errs); !errors.Is(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, errors.Unwrap(got), tc.want)
		}
	}
}

func TestLaunchRefusesBadRequests(t *testing.T) {
	for name, change := range map[string]func(*cloud.LaunchRequest){
		"nothing":     func(r *cloud.LaunchRequest) { r.Count = 0 },
		"no token":    func(r *cloud.LaunchRequest) { r.Token = "" },
		"long token":  func(r *cloud.LaunchRequest) { r.Token = strings.Repeat("x", 65) },
		"odd token":   func(r *cloud.LaunchRequest) { r.Token = "größe" },
		"long intent": func(r *cloud.LaunchRequest) { r.Intent = strings.Repeat("x", 257) },
	} {
		r := request(4)
		change(&r)
		if _, err := (&fakeAPI{}).provider(t, newClock()).Launch(context.Background(), r); !errors.Is(err, cloud.ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLaunchTags(t *testing.T) {
	var calls []string
	f := (&fakeAPI{}).launches(&calls)
	got := map[string]string{}
	f.createTags = func(in *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error) {
		if diff := cmp.Diff([]string{"i-tok-0", "i-tok-1"}, in.Resources); diff != "" {
			t.Errorf("tagged (-want +got):\n%s", diff)
		}
		for _, tag := range in.Tags {
			got[*tag.Key] = *tag.Value
		}
		return nil, &smithy.GenericAPIError{Code: "UnauthorizedOperation"}
	}
	p := f.provider(t, newClock())
	var untagged []string
	p.opts.OnTagFailure = func(group string, ids []string, err error) {
		if group != "g5-a" || !errors.Is(err, cloud.ErrRejected) {
			t.Errorf("group %s: %v", group, err)
		}
		untagged = ids
	}
	ids, err := p.Launch(context.Background(), request(2))
	if err != nil || len(ids) != 2 {
		t.Errorf("a failed tag lost the machines: %v, %v", ids, err)
	}
	if diff := cmp.Diff(ids, untagged); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
	want := map[string]string{"capmgr.io/managed": "true", "capmgr.io/intent": "team-a/train-1", "capmgr.io/cluster": "ray"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

// Nothing was sent, so no policy applies: the caller gave up by itself.
func TestLaunchCancelledBeforehand(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := (&fakeAPI{}).provider(t, newClock()).Launch(ctx, request(1))
	if !errors.Is(err, context.Canceled) || errors.Is(err, cloud.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}
