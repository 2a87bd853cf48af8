package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// wire is a server of the few operations that a test needs, in AWS's own formats.
type wire struct {
	*httptest.Server
	mu    sync.Mutex
	calls []url.Values
	// answers is by operation; each call takes the first answer, the last one stays.
	answers map[string][]http.HandlerFunc
}

func newWire(t *testing.T, answers map[string][]http.HandlerFunc) *wire {
	t.Helper()
	w := &wire{answers: answers}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Form.Get("Action") == "" {
		r.Form.Set("Action", r.URL.Path) // EKS names the operation by its path
	}
	w.mu.Lock()
	w.calls = append(w.calls, r.Form)
	all := w.answers[r.Form.Get("Action")]
	if len(all) > 1 {
		w.answers[r.Form.Get("Action")] = all[1:]
	}
	w.mu.Unlock()
	if len(all) == 0 {
		http.Error(rw, "no such operation: "+r.Form.Get("Action"), http.StatusNotFound)
		return
	}
	all[0](rw, r)
}

// of returns the calls of one operation.
func (w *wire) of(action string) []url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []url.Values
	for _, c := range w.calls {
		if c.Get("Action") == action {
			out = append(out, c)
		}
	}
	return out
}

func (w *wire) provider(credentials awssdk.CredentialsProviderFunc) *Provider {
	if credentials == nil {
		credentials = func(context.Context) (awssdk.Credentials, error) {
			return awssdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}
	}
	cfg := awssdk.Config{
		Region: "us-east-1", Credentials: credentials,
		Retryer: func() awssdk.Retryer { // as in production, without the waits
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 5, time.Millisecond })
		},
	}
	return newProvider(connect(cfg, w.URL), Options{Region: cfg.Region, ClusterName: "ray"})
}

func body(status int, text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(status)
		_, _ = rw.Write([]byte(text))
	}
}

// refusal is an error as Auto Scaling writes it, ec2Refusal as EC2 does.
func refusal(status int, code, message string) http.HandlerFunc {
	return body(status, fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r</RequestId></ErrorResponse>`, code, message))
}

func ec2Refusal(code string) http.HandlerFunc {
	return body(400, fmt.Sprintf(`<Response><Errors><Error><Code>%s</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>`, code))
}

func cut(rw http.ResponseWriter, _ *http.Request) {
	conn, _, err := rw.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func launched(errs string, ids ...string) http.HandlerFunc {
	var members strings.Builder
	for _, id := range ids {
		members.WriteString("<member>" + id + "</member>")
	}
	return body(200, `<LaunchInstancesResponse><LaunchInstancesResult><AutoScalingGroupName>g5-a</AutoScalingGroupName><ClientToken>tok</ClientToken>`+
		`<Instances><member><InstanceType>g5.xlarge</InstanceType><AvailabilityZone>us-east-1a</AvailabilityZone><MarketType>OnDemand</MarketType><InstanceIds>`+members.String()+`</InstanceIds></member></Instances>`+
		`<Errors>`+errs+`</Errors></LaunchInstancesResult></LaunchInstancesResponse>`)
}

func launchError(code, message string) string {
	return "<member><ErrorCode>" + code + "</ErrorCode><ErrorMessage>" + message + "</ErrorMessage><InstanceType>g5.xlarge</InstanceType></member>"
}

var tagsAnswer = []http.HandlerFunc{body(200, `<CreateTagsResponse><return>true</return></CreateTagsResponse>`)}

func TestWireLaunchErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   error
		calls  int // 1: the SDK must not repeat
		code   string
	}{
		"capacity":                     {refusal(400, "InsufficientInstanceCapacity", "m"), cloud.ErrInsufficientCapacity, 1, "InsufficientInstanceCapacity"},
		"capacity as a server fault":   {refusal(500, "InsufficientInstanceCapacity", "m"), cloud.ErrInsufficientCapacity, 1, "InsufficientInstanceCapacity"},
		"quota":                        {refusal(400, "VcpuLimitExceeded", "m"), cloud.ErrQuota, 1, "VcpuLimitExceeded"},
		"maximum size":                 {refusal(400, "ValidationError", "would raise the desired capacity above the max size 2"), cloud.ErrQuota, 1, "ValidationError"},
		"throttled":                    {refusal(400, "Throttling", "Rate exceeded"), cloud.ErrThrottled, 5, "Throttling"},
		"throttled like EC2":           {refusal(503, "RequestLimitExceeded", "m"), cloud.ErrThrottled, 5, "RequestLimitExceeded"},
		"contention":                   {refusal(400, "ResourceContention", "m"), cloud.ErrThrottled, 1, "ResourceContention"},
		"still in progress":            {refusal(400, "IdempotentCallInProgress", "m"), cloud.ErrUnknownOutcome, 1, "IdempotentCallInProgress"},
		"token of another launch":      {refusal(400, "IdempotentParameterMismatch", "m"), cloud.ErrRejected, 1, "IdempotentParameterMismatch"},
		"permission":                   {refusal(403, "AccessDenied", "m"), cloud.ErrRejected, 1, "AccessDenied"},
		"unknown group":                {refusal(400, "ValidationError", "AutoScalingGroup name not found - null"), cloud.ErrRejected, 1, "ValidationError"},
		"server fault after who knows": {refusal(500, "InternalFailure", "m"), cloud.ErrUnknownOutcome, 1, "InternalFailure"},
		"unavailable":                  {refusal(503, "ServiceUnavailable", "m"), cloud.ErrUnknownOutcome, 1, "ServiceUnavailable"},
		"a proxy's page":               {body(502, "<html>bad gateway</html>"), cloud.ErrUnknownOutcome, 1, ""},
		"connection cut":               {cut, cloud.ErrUnknownOutcome, 1, ""},
		"answer cut":                   {body(200, "<LaunchInstancesResponse><LaunchInstancesResult><Instances><member><InstanceIds><member>i-1"), cloud.ErrUnknownOutcome, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, map[string][]http.HandlerFunc{"LaunchInstances": {tc.answer}})
			ids, err := w.provider(nil).Launch(context.Background(), request(4))
			if !errors.Is(err, tc.want) || len(ids) != 0 {
				t.Errorf("%v, %v; want %v", ids, err, tc.want)
			}
			if policyIn(err) != tc.want { //nolint:errorlint // this very one, and no other beside it
				t.Errorf("the error also means %v: %v", policyIn(err), err)
			}
			if !strings.HasPrefix(fmt.Sprint(err), "launch 4 of g5-a: ") {
				t.Errorf("unclear: %v", err)
			}
			if api, ok := errors.AsType[smithy.APIError](err); tc.code != "" && (!ok || api.ErrorCode() != tc.code) {
				t.Errorf("AWS's own error is lost: %v", err)
			}
			if got := len(w.of("LaunchInstances")); got != tc.calls {
				t.Errorf("%d calls, want %d", got, tc.calls)
			}
			if got := len(w.of("CreateTags")); got != 0 {
				t.Errorf("%d tag calls without an instance", got)
			}
		})
	}
}

func TestWireLaunchTimesOut(t *testing.T) {
	hold := make(chan struct{})
	w := newWire(t, map[string][]http.HandlerFunc{"LaunchInstances": {func(http.ResponseWriter, *http.Request) { <-hold }}})
	defer close(hold)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := w.provider(nil).Launch(ctx, request(1))
	if !errors.Is(err, cloud.ErrUnknownOutcome) || len(w.of("LaunchInstances")) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestWireLaunchWithoutCredentials(t *testing.T) {
	w := newWire(t, nil)
	_, err := w.provider(func(context.Context) (awssdk.Credentials, error) {
		return awssdk.Credentials{}, errors.New("token file is empty")
	}).Launch(context.Background(), request(1))
	if !errors.Is(err, cloud.ErrRejected) || errors.Is(err, cloud.ErrUnknownOutcome) || len(w.calls) != 0 {
		t.Errorf("%d calls, %v", len(w.calls), err)
	}
}

func TestWireLaunchForm(t *testing.T) {
	w := newWire(t, map[string][]http.HandlerFunc{
		"LaunchInstances": {refusal(400, "Throttling", "Rate exceeded"), launched("", "i-1", "i-2")},
		"CreateTags":      {ec2Refusal("InvalidInstanceID.NotFound"), tagsAnswer[0]}, // EC2 is slow to know its own
	})
	r := request(2)
	r.Zone = "us-east-1a"
	p := w.provider(nil)
	p.opts.OnTagFailure = func(_ string, _ []string, err error) { t.Errorf("tag: %v", err) }
	ids, err := p.Launch(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"i-1", "i-2"}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	calls := w.of("LaunchInstances")
	want := url.Values{
		"Action": {"LaunchInstances"}, "Version": {"2011-01-01"}, "AutoScalingGroupName": {"g5-a"}, "ClientToken": {"tok"},
		"RequestedCapacity": {"2"}, "RetryStrategy": {"none"}, "AvailabilityZones.member.1": {"us-east-1a"},
	}
	for _, got := range calls {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("form (-want +got):\n%s", diff)
		}
	}
	if len(calls) != 2 || len(w.of("CreateTags")) != 2 {
		t.Errorf("%d launches, %d tag calls; want 2 and 2", len(calls), len(w.of("CreateTags")))
	}
}

func TestWireLaunchPartial(t *testing.T) {
	w := newWire(t, map[string][]http.HandlerFunc{
		"LaunchInstances": {launched(launchError("InsufficientInstanceCapacity", "no g5.xlarge in us-east-1a"), "i-1", "i-2")},
		"CreateTags":      tagsAnswer,
	})
	ids, err := w.provider(nil).Launch(context.Background(), request(4))
	if diff := cmp.Diff([]string{"i-1", "i-2"}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	want := cloud.Shortfall{
		Group: "g5-a", Asked: 4, Got: 2, Err: cloud.ErrInsufficientCapacity,
		Detail: "InsufficientInstanceCapacity: no g5.xlarge in us-east-1a",
	}
	got, ok := errors.AsType[*cloud.Shortfall](err)
	if !ok || *got != want {
		t.Errorf("got %v, want %v", err, &want)
	}
	// What came is tagged too: it is to be found should the manager die before it gives it back.
	if tags := w.of("CreateTags"); len(tags) != 1 || tags[0].Get("ResourceId.2") != "i-2" {
		t.Errorf("tags %v", tags)
	}
}

func describedGroup(tags string, instances ...string) http.HandlerFunc {
	var members strings.Builder
	for _, id := range instances {
		members.WriteString("<member><InstanceId>" + id + "</InstanceId><AvailabilityZone>us-east-1a</AvailabilityZone><LifecycleState>InService</LifecycleState></member>")
	}
	return body(200, `<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>`+
		`<AutoScalingGroupName>g5-a</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>8</MaxSize><DesiredCapacity>2</DesiredCapacity>`+
		`<AvailabilityZones><member>us-east-1a</member></AvailabilityZones>`+
		`<LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>$Latest</Version></LaunchTemplate>`+
		`<Tags>`+tags+`</Tags><Instances>`+members.String()+`</Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>`)
}

func TestWireTerminate(t *testing.T) {
	const accepted = `<TerminateInstanceInAutoScalingGroupResponse><TerminateInstanceInAutoScalingGroupResult><Activities><member><StatusCode>InProgress</StatusCode></member></Activities></TerminateInstanceInAutoScalingGroupResult></TerminateInstanceInAutoScalingGroupResponse>`
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   error
		calls  int
		says   string
	}{
		"accepted":       {body(200, accepted), nil, 1, ""},
		"minimum":        {refusal(400, "ValidationError", "Currently, desiredSize equals minSize (1). Terminating instance without replacement will violate group's min size constraint."), cloud.ErrRejected, 1, `lower the minimum size of auto scaling group "g5-a"`},
		"busy":           {refusal(400, "ScalingActivityInProgress", "m"), cloud.ErrThrottled, 1, ""},
		"throttled":      {refusal(400, "Throttling", "m"), cloud.ErrThrottled, 5, ""},
		"connection cut": {cut, cloud.ErrUnknownOutcome, 1, ""}, // repeated, it could cost a second slot
		"server fault":   {refusal(500, "InternalFailure", "m"), cloud.ErrUnknownOutcome, 1, ""},
		"permission":     {refusal(403, "AccessDenied", "m"), cloud.ErrRejected, 1, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			const op = "TerminateInstanceInAutoScalingGroup"
			w := newWire(t, map[string][]http.HandlerFunc{"DescribeAutoScalingGroups": {describedGroup("", "i-1", "i-2")}, op: {tc.answer}})
			err := w.provider(nil).Terminate(context.Background(), configOf("g5-a"), []string{"i-2"})
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "terminate 1 of g5-a: ") || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("unclear: %v", err)
			}
			calls := w.of(op)
			if len(calls) != tc.calls {
				t.Fatalf("%d calls, want %d", len(calls), tc.calls)
			}
			want := url.Values{
				"Action": {op}, "Version": {"2011-01-01"}, "AutoScalingGroupName": {"g5-a"},
				"InstanceIds.member.1": {"i-2"}, "ShouldDecrementDesiredCapacity": {"true"},
			}
			if diff := cmp.Diff(want, calls[0]); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWireObserve(t *testing.T) {
	xmlTag := func(k, v string) string { return "<member><Key>" + k + "</Key><Value>" + v + "</Value></member>" }
	w := newWire(t, map[string][]http.HandlerFunc{
		"DescribeAutoScalingGroups": {describedGroup(xmlTag(nodegroupNameTag, "g5")+xmlTag(nodegroupClusterTag, "ray"), "i-1")},
		"DescribeInstances": {body(200, `<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>`+
			`<launchTime>2026-07-20T11:00:00.000Z</launchTime><tagSet><item><key>capmgr.io/intent</key><value>team-a/train-1</value></item></tagSet></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`)},
		"DescribeInstanceTypes": {body(200, `<DescribeInstanceTypesResponse><instanceTypeSet><item><instanceType>g5.xlarge</instanceType>`+
			`<vCpuInfo><defaultVCpus>4</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>16384</sizeInMiB></memoryInfo>`+
			`<processorInfo><supportedArchitectures><item>x86_64</item></supportedArchitectures></processorInfo>`+
			`<gpuInfo><gpus><item><name>A10G</name><manufacturer>NVIDIA</manufacturer><count>1</count></item></gpus></gpuInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>`)},
		"DescribeLaunchTemplateVersions": {body(200, `<DescribeLaunchTemplateVersionsResponse><launchTemplateVersionSet><item><versionNumber>9</versionNumber>`+
			`<launchTemplateData><instanceType>g5.xlarge</instanceType></launchTemplateData></item></launchTemplateVersionSet></DescribeLaunchTemplateVersionsResponse>`)},
		"/clusters/ray/node-groups/g5": {body(200, `{"nodegroup":{"nodegroupName":"g5","capacityType":"ON_DEMAND","labels":{"pool":"g5"},"taints":[{"key":"nvidia.com/gpu","effect":"NO_SCHEDULE"}]}}`)},
	})
	got := observeOne(t, w.provider(nil), configOf("g5-a"))
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	want := cloud.Group{
		Name: "g5-a", InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: "on-demand", Min: 1, Max: 8, Desired: 2,
		PricePerHour: 1.006, LaunchVersion: "lt-1:9",
		Shape: cloud.Shape{
			MilliCPU: 3920, Memory: 14162 << 20, GPUs: 1, GPUModel: "A10G", Pods: 58,
			Labels: map[string]string{
				"pool": "g5", "eks.amazonaws.com/nodegroup": "g5", "eks.amazonaws.com/capacityType": "ON_DEMAND",
				"node.kubernetes.io/instance-type": "g5.xlarge", "topology.kubernetes.io/zone": "us-east-1a", "topology.kubernetes.io/region": "us-east-1",
				"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "k8s.amazonaws.com/accelerator": "nvidia-a10g", "nvidia.com/gpu.product": "NVIDIA-A10G",
			},
			Taints: []cloud.Taint{{Key: "nvidia.com/gpu", Effect: "NoSchedule"}},
		},
		Instances: []cloud.Instance{{
			ID: "i-1", ProviderID: "aws:///us-east-1a/i-1", Zone: "us-east-1a", InService: true,
			Launched: time.Date(2026, 7, 20, 11, 0, 0, 0, time.UTC), Intent: "team-a/train-1",
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
}

// Reads have no effect, so the SDK repeats them as it likes.
func TestWireReadsAreRepeated(t *testing.T) {
	w := newWire(t, map[string][]http.HandlerFunc{"DescribeAutoScalingGroups": {cut, refusal(500, "InternalFailure", "m"), describedGroup("")}})
	err := w.provider(nil).Terminate(context.Background(), configOf("g5-a"), []string{"i-gone"})
	if err != nil || len(w.of("DescribeAutoScalingGroups")) != 3 {
		t.Errorf("%d calls, %v", len(w.calls), err)
	}
}
