package aws

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/cloud"
)

type terminateInput = autoscaling.TerminateInstanceInAutoScalingGroupInput
type terminateOutput = autoscaling.TerminateInstanceInAutoScalingGroupOutput

func TestTerminateSkipsWhatIsLeaving(t *testing.T) {
	f := (&fakeAPI{}).world(group("g5-a", astypes.LifecycleStateInService, astypes.LifecycleStateTerminatingWait, astypes.LifecycleStatePending,
		astypes.LifecycleStateTerminated, astypes.LifecycleStateWarmedStopped, astypes.LifecycleStateInService))
	var ended []string
	f.terminate = func(in *terminateInput) (*terminateOutput, error) {
		if !*in.ShouldDecrementDesiredCapacity || *in.AutoScalingGroupName != "g5-a" || in.InstanceId != nil {
			t.Errorf("sent %+v", in)
		}
		ended = append(ended, in.InstanceIds...)
		return &terminateOutput{}, nil
	}
	p := f.provider(t, newClock())
	err := p.Terminate(context.Background(), configOf("g5-a"), []string{"i-e", "i-d", "i-c", "i-b", "i-a", "i-a", "i-gone"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"i-a", "i-c"}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	ended = nil
	for _, none := range [][]string{nil, {"i-gone"}, {"i-b", "i-d"}} {
		if err := p.Terminate(context.Background(), configOf("g5-a"), none); err != nil || ended != nil {
			t.Errorf("%v: %v, ended %v", none, err, ended)
		}
	}
}

func TestTerminateRefusesForeignAndMissingGroups(t *testing.T) {
	p := (&fakeAPI{}).world(tagged(group("g5-a", astypes.LifecycleStateInService), foreignTag, "")).provider(t, newClock())
	for _, name := range []string{"g5-a", "absent"} {
		if err := p.Terminate(context.Background(), configOf(name), []string{"i-a"}); !errors.Is(err, cloud.ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// crowd is a group of n instances; gone says which of them it no longer has.
func crowd(n int, gone map[string]bool) astypes.AutoScalingGroup {
	g := group("g5-a")
	for i := range n {
		if id := fmt.Sprintf("i-%03d", i); !gone[id] {
			g.Instances = append(g.Instances, astypes.Instance{InstanceId: &id, LifecycleState: astypes.LifecycleStateInService})
		}
	}
	return g
}

// An instance that goes between the read and the call fails the batch. What was accepted must not
// be sent twice although the group is slow to show it.
func TestTerminateReadsAgainAfterARefusal(t *testing.T) {
	gone := map[string]bool{}
	f := (&fakeAPI{}).world()
	f.describeGroups = func(*autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
		return &autoscaling.DescribeAutoScalingGroupsOutput{AutoScalingGroups: []astypes.AutoScalingGroup{crowd(150, gone)}}, nil
	}
	var batches []int
	f.terminate = func(in *terminateInput) (*terminateOutput, error) {
		batches = append(batches, len(in.InstanceIds))
		if len(batches) == 2 {
			gone["i-149"] = true
			return nil, &smithy.GenericAPIError{Code: "ValidationError", Message: "Instance Id not found - No managed instance found for instance ID: i-149"}
		}
		return &terminateOutput{}, nil
	}
	p := f.provider(t, newClock())
	var ids []string
	for _, i := range crowd(150, nil).Instances {
		ids = append(ids, *i.InstanceId)
	}
	if err := p.Terminate(context.Background(), configOf("g5-a"), ids); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{100, 50, 49}, batches); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}

func TestTerminateGivesUpWhenNothingWent(t *testing.T) {
	f := (&fakeAPI{}).world(group("g5-a", astypes.LifecycleStateInService))
	calls := 0
	f.terminate = func(*terminateInput) (*terminateOutput, error) {
		calls++
		return nil, &smithy.GenericAPIError{Code: "ValidationError", Message: "Terminating instance without replacement will violate group's min size constraint."}
	}
	err := f.provider(t, newClock()).Terminate(context.Background(), configOf("g5-a"), []string{"i-a"})
	if !errors.Is(err, cloud.ErrRejected) || !strings.Contains(err.Error(), "lower the minimum size") || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestTerminateReportsAFailedActivity(t *testing.T) {
	f := (&fakeAPI{}).world(group("g5-a", astypes.LifecycleStateInService))
	f.terminate = func(*terminateInput) (*terminateOutput, error) {
		return &terminateOutput{Activities: []astypes.Activity{{StatusCode: astypes.ScalingActivityStatusCodeFailed, StatusMessage: ptr("hook")}}}, nil
	}
	if err := f.provider(t, newClock()).Terminate(context.Background(), configOf("g5-a"), []string{"i-a"}); !errors.Is(err, cloud.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}

// The desired count has other writers; a write of it as a number would undo theirs.
func TestNoAbsoluteWrites(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, never := range []string{"SetDesiredCapacity", "UpdateAutoScalingGroup", "UpdateNodegroupConfig"} {
			if strings.Contains(string(text), never) {
				t.Errorf("%s mentions %s", name, never)
			}
		}
	}
}
