package fakeaws

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// harness is a server on a manual clock, seen through the real clients.
type harness struct {
	t      *testing.T
	clock  *ManualClock
	server *Server
	url    string
	admin  *Admin
	asg    *autoscaling.Client
	ec2    *ec2.Client
	eks    *eks.Client
}

const gpuGroup = "g5-xlarge-a"

func testConfig() Config {
	return Config{
		Region: "us-east-1", ClusterName: "ray",
		Delays: Delays{Launch: For(10 * time.Second), Ready: For(20 * time.Second), GPU: For(30 * time.Second), Terminate: For(40 * time.Second)},
		Groups: []GroupConfig{
			{Name: gpuGroup, InstanceType: "g5.xlarge", Zone: "us-east-1a", Max: 8,
				Tags:   map[string]string{"capmgr.io/cluster": "ray", "capmgr.io/pool": "gpu"},
				Labels: map[string]string{"pool": "gpu"},
				Taints: []corev1.Taint{{Key: gpuResource, Value: "present", Effect: corev1.TaintEffectNoSchedule}}},
			{Name: "cpu", InstanceType: "m5.large", Zone: "us-east-1b", Min: 1, Max: 3, Desired: 2, EKSNodegroup: "cpu-nodes"},
			{Name: "spot", InstanceType: "g5.12xlarge", Zone: "us-east-1c", Max: 4, CapacityType: Spot, EKSNodegroup: "spot-nodes"},
		},
	}
}

func start(t *testing.T, change ...func(*Config)) *harness {
	t.Helper()
	return startWith(t, nil, change...)
}

func startWith(t *testing.T, nodes Nodes, change ...func(*Config)) *harness {
	t.Helper()
	cfg := testConfig()
	for _, f := range change {
		f(&cfg)
	}
	clock := NewManualClock(epoch)
	server, err := New(cfg, Options{Nodes: nodes, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(server.Close)
	t.Cleanup(listening.Close)
	h := &harness{t: t, clock: clock, server: server, url: listening.URL, admin: NewAdmin(listening.URL)}
	h.connect(aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(listening.URL),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		// Retries are what a test asks for, one by one.
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	})
	return h
}

func (h *harness) connect(cfg aws.Config) {
	h.asg, h.ec2, h.eks = autoscaling.NewFromConfig(cfg), ec2.NewFromConfig(cfg), eks.NewFromConfig(cfg)
}

func (h *harness) launch(token string, n int32) (*autoscaling.LaunchInstancesOutput, error) {
	return h.asg.LaunchInstances(h.t.Context(), &autoscaling.LaunchInstancesInput{
		AutoScalingGroupName: aws.String(gpuGroup), ClientToken: aws.String(token), RequestedCapacity: aws.Int32(n),
		AvailabilityZones: []string{"us-east-1a"}, RetryStrategy: astypes.RetryStrategyNone,
	})
}

// mustLaunch launches n instances of the GPU group and returns their ids.
func (h *harness) mustLaunch(token string, n int32) []string {
	h.t.Helper()
	out, err := h.launch(token, n)
	if err != nil {
		h.t.Fatal(err)
	}
	if len(out.Instances) != 1 || len(out.Instances[0].InstanceIds) != int(n) || len(out.Errors) != 0 {
		h.t.Fatalf("launched %+v with errors %+v, want %d instances", out.Instances, out.Errors, n)
	}
	return out.Instances[0].InstanceIds
}

func (h *harness) group(name string) astypes.AutoScalingGroup {
	h.t.Helper()
	out, err := h.asg.DescribeAutoScalingGroups(h.t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		h.t.Fatal(err)
	}
	if len(out.AutoScalingGroups) != 1 {
		h.t.Fatalf("found %d groups named %s, want 1", len(out.AutoScalingGroups), name)
	}
	return out.AutoScalingGroups[0]
}

// states are the lifecycle states of a group's members by id.
func (h *harness) states(name string) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, i := range h.group(name).Instances {
		out[aws.ToString(i.InstanceId)] = string(i.LifecycleState)
	}
	return out
}

func (h *harness) desired(name string) int {
	h.t.Helper()
	return int(aws.ToInt32(h.group(name).DesiredCapacity))
}

func (h *harness) inject(f Fault) string {
	h.t.Helper()
	id, err := h.admin.Inject(h.t.Context(), f)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *harness) calls(operation string) []Call {
	h.t.Helper()
	all, err := h.admin.Calls(h.t.Context(), 0)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []Call
	for _, c := range all {
		if c.Operation == operation {
			out = append(out, c)
		}
	}
	return out
}

func (h *harness) instances() map[string]Instance {
	h.t.Helper()
	all, err := h.admin.Instances(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]Instance{}
	for _, i := range all {
		out[i.ID] = i
	}
	return out
}

// wantCode fails the test unless err carries this error code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got error %v, want code %s", err, code)
	}
	if api.ErrorCode() != code || api.ErrorMessage() == "" {
		t.Fatalf("got code %q with message %q, want code %q", api.ErrorCode(), api.ErrorMessage(), code)
	}
}

// eventually polls for what happens on another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not seen in time: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// ignoreMetadata leaves out what the client adds to an answer.
var ignoreMetadata = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ResultMetadata" }, cmp.Ignore())

func clusterInput(name string) *eks.DescribeClusterInput {
	return &eks.DescribeClusterInput{Name: aws.String(name)}
}
