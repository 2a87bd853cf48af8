package fakeaws

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestLaunchAnswers(t *testing.T) {
	h := start(t, func(c *Config) { c.Seed = 3; c.Groups[1].Desired, c.Groups[1].Min = 0, 0 })
	out, err := h.launch("token", 2)
	if err != nil {
		t.Fatal(err)
	}
	want := &autoscaling.LaunchInstancesOutput{
		AutoScalingGroupName: aws.String(gpuGroup), ClientToken: aws.String("token"),
		Instances: []types.InstanceCollection{{
			InstanceType: aws.String("g5.xlarge"), AvailabilityZone: aws.String("us-east-1a"), AvailabilityZoneId: aws.String("use1-az1"),
			MarketType: aws.String("on-demand"), SubnetId: aws.String("subnet-us-east-1a"),
			InstanceIds: []string{"i-00000000000300001", "i-00000000000300002"},
		}},
	}
	if diff := cmp.Diff(want, out, cmp.AllowUnexported(autoscaling.LaunchInstancesOutput{}, types.InstanceCollection{}),
		cmpopts.EquateEmpty(), ignoreMetadata); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if got := h.desired(gpuGroup); got != 2 {
		t.Errorf("desired %d after the launch, want 2", got)
	}
}

func TestLaunchTokenReplay(t *testing.T) {
	h := start(t)
	first := h.mustLaunch("token", 2)
	again := h.mustLaunch("token", 2)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("instances of the replay (-want +got):\n%s", diff)
	}
	if got := len(h.states(gpuGroup)); got != 2 {
		t.Errorf("%d members after a replay, want 2", got)
	}
	_, err := h.launch("token", 3)
	wantCode(t, err, "IdempotentParameterMismatch")
	var typed *types.IdempotentParameterMismatchError
	if !errors.As(err, &typed) {
		t.Errorf("error %T, want the typed one", err)
	}
	other := h.mustLaunch("other", 1)
	if other[0] == first[0] || len(h.states(gpuGroup)) != 3 {
		t.Errorf("a new token gave %v, members %v", other, h.states(gpuGroup))
	}
	calls := h.calls("LaunchInstances")
	if len(calls) != 4 || calls[0].Replayed || !calls[1].Replayed || calls[2].ErrorCode != "IdempotentParameterMismatch" || calls[3].Replayed {
		t.Errorf("recorded %+v", calls)
	}
}

func TestLaunchRefusals(t *testing.T) {
	launch := func(change func(*autoscaling.LaunchInstancesInput)) autoscaling.LaunchInstancesInput {
		in := autoscaling.LaunchInstancesInput{AutoScalingGroupName: aws.String(gpuGroup), ClientToken: aws.String("token"), RequestedCapacity: aws.Int32(1)}
		change(&in)
		return in
	}
	cases := map[string]autoscaling.LaunchInstancesInput{
		"above max":     launch(func(in *autoscaling.LaunchInstancesInput) { in.RequestedCapacity = aws.Int32(9) }),
		"nothing":       launch(func(in *autoscaling.LaunchInstancesInput) { in.RequestedCapacity = aws.Int32(0) }),
		"unknown group": launch(func(in *autoscaling.LaunchInstancesInput) { in.AutoScalingGroupName = aws.String("none") }),
		"wrong zone":    launch(func(in *autoscaling.LaunchInstancesInput) { in.AvailabilityZones = []string{"us-east-1b"} }),
		"wrong zone id": launch(func(in *autoscaling.LaunchInstancesInput) { in.AvailabilityZoneIds = []string{"use1-az2"} }),
		"wrong subnet":  launch(func(in *autoscaling.LaunchInstancesInput) { in.SubnetIds = []string{"subnet-1"} }),
		"wrong retry":   launch(func(in *autoscaling.LaunchInstancesInput) { in.RetryStrategy = "later" }),
	}
	h := start(t)
	for name, in := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := h.asg.LaunchInstances(t.Context(), &in)
			wantCode(t, err, "ValidationError")
		})
	}
	// A refused token was never used.
	if got := h.mustLaunch("token", 8); len(got) != 8 {
		t.Errorf("launched %d up to the max, want 8", len(got))
	}
}

func TestPartialFill(t *testing.T) {
	cases := map[string]struct {
		fault Fault
		code  string
		got   int
	}{
		"partial":            {Fault{Kind: InsufficientCapacity, Allow: 2}, "InsufficientInstanceCapacity", 2},
		"none":               {Fault{Kind: InsufficientCapacity, InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: OnDemand}, "InsufficientInstanceCapacity", 0},
		"own code":           {Fault{Kind: InsufficientCapacity, Code: "ReservationCapacityExceeded"}, "ReservationCapacityExceeded", 0},
		"quota":              {Fault{Kind: QuotaExceeded, Allow: 1}, "VcpuLimitExceeded", 1},
		"another zone":       {Fault{Kind: InsufficientCapacity, Zone: "us-east-1b"}, "", 4},
		"another type":       {Fault{Kind: InsufficientCapacity, InstanceType: "g5.2xlarge"}, "", 4},
		"another market":     {Fault{Kind: InsufficientCapacity, CapacityType: Spot}, "", 4},
		"begins later":       {Fault{Kind: InsufficientCapacity, After: For(time.Second)}, "", 4},
		"lasts, began at 0s": {Fault{Kind: InsufficientCapacity, Lasts: For(time.Second)}, "InsufficientInstanceCapacity", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			h.inject(c.fault)
			out, err := h.launch("token", 4)
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, i := range out.Instances {
				got += len(i.InstanceIds)
			}
			if got != c.got || h.desired(gpuGroup) != c.got || len(h.states(gpuGroup)) != c.got {
				t.Errorf("launched %d, desired %d, members %d, want %d each", got, h.desired(gpuGroup), len(h.states(gpuGroup)), c.got)
			}
			if c.code == "" {
				if len(out.Errors) != 0 {
					t.Errorf("errors %+v", out.Errors)
				}
				return
			}
			if len(out.Errors) != 1 {
				t.Fatalf("errors %+v, want one", out.Errors)
			}
			e := out.Errors[0]
			if aws.ToString(e.ErrorCode) != c.code || aws.ToString(e.ErrorMessage) == "" || aws.ToString(e.InstanceType) != "g5.xlarge" ||
				aws.ToString(e.AvailabilityZone) != "us-east-1a" || aws.ToString(e.MarketType) != OnDemand || aws.ToString(e.SubnetId) != "subnet-us-east-1a" {
				t.Errorf("error %+v, want code %s", e, c.code)
			}
			// Nothing stays pending, and the token's answer stays the same.
			h.clock.Advance(time.Hour)
			if len(h.states(gpuGroup)) != c.got {
				t.Errorf("%d members an hour later, want %d", len(h.states(gpuGroup)), c.got)
			}
			if again, err := h.launch("token", 4); err != nil || len(again.Errors) != 1 {
				t.Errorf("replay gave %+v, %v", again, err)
			}
		})
	}
}

func TestFaultWindowEnds(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: InsufficientCapacity, After: For(time.Minute), Lasts: For(time.Minute)})
	for at, want := range []int{1, 0, 1} {
		out, err := h.launch(fmt.Sprint("token-", at), 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Instances) != want {
			t.Errorf("minute %d: launched %d, want %d", at, len(out.Instances), want)
		}
		h.clock.Advance(time.Minute)
	}
}

func TestRetryWithGroupConfigurationArrivesLater(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: InsufficientCapacity, Allow: 1, Times: 1})
	_, err := h.asg.LaunchInstances(t.Context(), &autoscaling.LaunchInstancesInput{
		AutoScalingGroupName: aws.String(gpuGroup), ClientToken: aws.String("token"), RequestedCapacity: aws.Int32(3),
		RetryStrategy: types.RetryStrategyRetryWithGroupConfiguration,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.desired(gpuGroup); got != 3 || len(h.states(gpuGroup)) != 1 {
		t.Fatalf("desired %d with %d members, want 3 with 1", got, len(h.states(gpuGroup)))
	}
	h.clock.Advance(defaultRetry)
	if got := len(h.states(gpuGroup)); got != 3 {
		t.Errorf("%d members after the group tried again, want 3", got)
	}
}

func TestThrottleAndRetry(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: Throttle, Operation: "LaunchInstances", Times: 2})
	_, err := h.launch("token", 1)
	wantCode(t, err, "Throttling")
	if len(h.states(gpuGroup)) != 0 {
		t.Fatal("a throttled call launched something")
	}
	h.connect(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(h.url), Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		},
	})
	if got := len(h.mustLaunch("token", 1)); got != 1 || len(h.calls("LaunchInstances")) != 3 {
		t.Errorf("launched %d with %d calls, want 1 with 3", got, len(h.calls("LaunchInstances")))
	}
	h.inject(Fault{Kind: Throttle, Service: "ec2", Times: 1})
	if _, err := h.ec2.DescribeInstances(t.Context(), nil); err != nil {
		t.Errorf("EC2's throttling was not retried: %v", err)
	}
	h.inject(Fault{Kind: Throttle, Service: "eks", Times: 1})
	if _, err := h.eks.DescribeCluster(t.Context(), clusterInput("ray")); err != nil {
		t.Errorf("EKS's throttling was not retried: %v", err)
	}
}

func TestLostResponseThenReplay(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: LostResponse, Operation: "LaunchInstances", Times: 1})
	_, err := h.launch("token", 2)
	var api smithy.APIError
	if err == nil || errors.As(err, &api) {
		t.Fatalf("got error %v, want one of the connection", err)
	}
	if got := len(h.states(gpuGroup)); got != 2 {
		t.Fatalf("%d members after the lost answer, want 2: the call takes effect", got)
	}
	ids := h.mustLaunch("token", 2)
	if got := h.states(gpuGroup); len(got) != 2 || got[ids[0]] == "" || got[ids[1]] == "" || h.desired(gpuGroup) != 2 {
		t.Errorf("members %v, desired %d after the replay of %v", got, h.desired(gpuGroup), ids)
	}
	calls := h.calls("LaunchInstances")
	if len(calls) != 2 || !calls[0].Lost || calls[1].Lost || !calls[1].Replayed {
		t.Errorf("recorded %+v", calls)
	}
}

func TestSlowResponse(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: SlowResponse, Operation: "LaunchInstances", Delay: For(5 * time.Second)})
	answered := make(chan error, 1)
	go func() {
		_, err := h.launch("token", 1)
		answered <- err
	}()
	eventually(t, "the launch to take effect", func() bool { return len(h.states(gpuGroup)) == 1 })
	select {
	case err := <-answered:
		t.Fatalf("answered at once: %v", err)
	default:
	}
	// The handler's timer may not have been set yet, so the clock is moved until it was.
	eventually(t, "the answer", func() bool {
		h.clock.Advance(5 * time.Second)
		select {
		case err := <-answered:
			if err != nil {
				t.Error(err)
			}
			return true
		default:
			return false
		}
	})
}

func TestScriptedRefusal(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: Refuse, Operation: "LaunchInstances", Code: "IdempotentCallInProgress", Times: 1})
	_, err := h.launch("token", 1)
	var typed *types.IdempotentCallInProgressFault
	if !errors.As(err, &typed) {
		t.Fatalf("error %v, want the typed one", err)
	}
	h.mustLaunch("token", 1)
}

func TestUnknownAction(t *testing.T) {
	h := start(t)
	_, err := h.asg.DescribeWarmPool(t.Context(), &autoscaling.DescribeWarmPoolInput{AutoScalingGroupName: aws.String(gpuGroup)})
	wantCode(t, err, "InvalidAction")
	_, err = h.ec2.DescribeImages(t.Context(), nil)
	wantCode(t, err, "InvalidAction")
	_, err = h.eks.ListClusters(t.Context(), nil)
	wantCode(t, err, "UnknownOperationException")
}

func TestSignature(t *testing.T) {
	static := credentials.NewStaticCredentialsProvider("key", "secret", "")
	cases := map[string]struct {
		region      string
		credentials aws.CredentialsProvider
		code        string
	}{
		"none":         {"us-east-1", aws.AnonymousCredentials{}, "MissingAuthenticationToken"},
		"other region": {"eu-west-1", static, "SignatureDoesNotMatch"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			h.connect(aws.Config{Region: c.region, BaseEndpoint: aws.String(h.url), Credentials: c.credentials,
				Retryer: func() aws.Retryer { return aws.NopRetryer{} }})
			_, err := h.launch("token", 1)
			wantCode(t, err, c.code)
			_, err = h.ec2.DescribeInstances(t.Context(), nil)
			wantCode(t, err, c.code)
			_, err = h.eks.DescribeCluster(t.Context(), clusterInput("ray"))
			code := c.code
			if name == "none" {
				code += "Exception"
			}
			wantCode(t, err, code)
			if calls := h.calls("LaunchInstances"); len(calls) != 1 || calls[0].ErrorCode != c.code {
				t.Errorf("recorded %+v", calls)
			}
			if groups, err := h.admin.Groups(t.Context()); err != nil || groups[1].Desired != 0 {
				t.Errorf("groups %+v, %v after refused calls", groups, err)
			}
		})
	}
}

func TestMalformedSignature(t *testing.T) {
	h := start(t)
	for name, header := range map[string]string{"no scope": "AWS4-HMAC-SHA256 Credential=key", "other scheme": "Bearer abc"} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", header)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("status %d, want 403", resp.StatusCode)
			}
		})
	}
}
