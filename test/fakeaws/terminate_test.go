package fakeaws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/google/go-cmp/cmp"
)

func (h *harness) terminate(decrement bool, ids ...string) (*autoscaling.TerminateInstanceInAutoScalingGroupOutput, error) {
	return h.asg.TerminateInstanceInAutoScalingGroup(h.t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		AutoScalingGroupName: aws.String(gpuGroup), InstanceIds: ids, ShouldDecrementDesiredCapacity: aws.Bool(decrement)})
}

func (h *harness) setDesired(name string, n int32) error {
	_, err := h.asg.SetDesiredCapacity(h.t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(name), DesiredCapacity: aws.Int32(n)})
	return err
}

func TestTerminateOneByName(t *testing.T) {
	h := start(t)
	ids := h.mustLaunch("token", 2)
	h.clock.Advance(time.Minute)
	out, err := h.asg.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: aws.String(ids[0]), ShouldDecrementDesiredCapacity: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	if out.Activity == nil || len(out.Activities) != 0 || out.Activity.StatusCode != types.ScalingActivityStatusCodeInProgress ||
		aws.ToString(out.Activity.Description) != "Terminating EC2 instance: "+ids[0] {
		t.Errorf("answer %+v", out)
	}
	if diff := cmp.Diff(map[string]string{ids[0]: Terminating, ids[1]: InService}, h.states(gpuGroup)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if got := h.desired(gpuGroup); got != 1 {
		t.Errorf("desired %d, want 1", got)
	}
	_, err = h.terminate(true, ids[0])
	wantCode(t, err, "ScalingActivityInProgress")
	h.clock.Advance(40 * time.Second)
	if diff := cmp.Diff(map[string]string{ids[1]: InService}, h.states(gpuGroup)); diff != "" {
		t.Errorf("states after the delay (-want +got):\n%s", diff)
	}
	_, err = h.terminate(true, ids[0])
	wantCode(t, err, "ValidationError")
	if got := h.desired(gpuGroup); got != 1 {
		t.Errorf("desired %d after refused terminations, want 1", got)
	}
}

func TestTerminateBatch(t *testing.T) {
	h := start(t)
	ids := h.mustLaunch("token", 3)
	_, err := h.terminate(true, ids[0], "i-unknown")
	wantCode(t, err, "ValidationError")
	_, err = h.terminate(true, ids[0], ids[0])
	wantCode(t, err, "ValidationError")
	if diff := cmp.Diff(map[string]string{ids[0]: Pending, ids[1]: Pending, ids[2]: Pending}, h.states(gpuGroup)); diff != "" {
		t.Errorf("a refused batch was carried out in part (-want +got):\n%s", diff)
	}
	out, err := h.terminate(true, ids[0], ids[2])
	if err != nil {
		t.Fatal(err)
	}
	if out.Activity != nil || len(out.Activities) != 2 || h.desired(gpuGroup) != 1 {
		t.Errorf("answer %+v, desired %d", out, h.desired(gpuGroup))
	}
	last := h.calls("TerminateInstanceInAutoScalingGroup")[2]
	if diff := cmp.Diff(map[string][]string{"AutoScalingGroupName": {gpuGroup}, "InstanceIds": {ids[0], ids[2]}, "ShouldDecrementDesiredCapacity": {"true"}}, last.Params); diff != "" {
		t.Errorf("recorded parameters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{ids[0], ids[2]}, last.InstanceIDs); diff != "" {
		t.Errorf("recorded instances (-want +got):\n%s", diff)
	}
	_, err = h.asg.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceIds: ids[1:2], ShouldDecrementDesiredCapacity: aws.Bool(true)})
	wantCode(t, err, "ValidationError")
}

func TestTerminateWithoutDecrementIsReplaced(t *testing.T) {
	h := start(t)
	id := h.mustLaunch("token", 1)[0]
	h.clock.Advance(time.Minute)
	if _, err := h.terminate(false, id); err != nil {
		t.Fatal(err)
	}
	got := h.states(gpuGroup)
	if len(got) != 2 || got[id] != Terminating || h.desired(gpuGroup) != 1 {
		t.Errorf("members %v, desired %d, want the old one and a new one", got, h.desired(gpuGroup))
	}
}

func TestTerminateBelowMin(t *testing.T) {
	h := start(t)
	var ids []string
	for id := range h.states("cpu") {
		ids = append(ids, id)
	}
	_, err := h.asg.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("cpu"), InstanceIds: ids, ShouldDecrementDesiredCapacity: aws.Bool(true)})
	wantCode(t, err, "ValidationError")
	if got := h.desired("cpu"); got != 2 {
		t.Errorf("desired %d, want 2", got)
	}
}

func TestLoweringDesiredKillsSomeInstance(t *testing.T) {
	killed := map[int]bool{}
	for seed := range int64(12) {
		h := start(t, func(c *Config) { c.Seed = seed })
		ids := h.mustLaunch("token", 3)
		h.clock.Advance(time.Minute)
		if err := h.setDesired(gpuGroup, 2); err != nil {
			t.Fatal(err)
		}
		states, down := h.states(gpuGroup), 0
		for n, id := range ids {
			if states[id] == Terminating {
				down++
				killed[n] = true
				if by := h.instances()[id].TerminatedBy; by != "SetDesiredCapacity" {
					t.Errorf("terminated by %q", by)
				}
			}
		}
		if down != 1 {
			t.Fatalf("states %v, want one terminating", states)
		}
	}
	if len(killed) != 3 {
		t.Errorf("only the instances at %v were ever chosen: the choice is not arbitrary", killed)
	}
}

func TestLoweringDesiredSparesTheProtected(t *testing.T) {
	h := start(t, func(c *Config) { c.Groups[0].ProtectNewInstances = true })
	h.mustLaunch("token", 2)
	if err := h.setDesired(gpuGroup, 0); err != nil {
		t.Fatal(err)
	}
	for id, state := range h.states(gpuGroup) {
		if state != Pending {
			t.Errorf("protected instance %s is %s", id, state)
		}
	}
}

// A shortage is tried again by the group itself, so an instance may arrive long after its caller has
// counted. Lowering the desired capacity by a count from before the arrival then kills a healthy one.
func TestLateArrival(t *testing.T) {
	h := start(t)
	fault := h.inject(Fault{Kind: InsufficientCapacity, Group: gpuGroup, Allow: 2})
	if err := h.setDesired(gpuGroup, 3); err != nil {
		t.Fatal(err)
	}
	if got := h.states(gpuGroup); len(got) != 2 || h.desired(gpuGroup) != 3 {
		t.Fatalf("members %v with desired %d, want 2 with 3", got, h.desired(gpuGroup))
	}
	if err := h.admin.Clear(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(defaultRetry)
	if got := h.states(gpuGroup); len(got) != 3 {
		t.Fatalf("members %v after the group tried again, want 3", got)
	}
	if err := h.setDesired(gpuGroup, 2); err != nil {
		t.Fatal(err)
	}
	down := 0
	for _, state := range h.states(gpuGroup) {
		if state == Terminating {
			down++
		}
	}
	if down != 1 {
		t.Errorf("%d instances terminate, want 1", down)
	}
}

func TestSetDesiredBounds(t *testing.T) {
	h := start(t)
	wantCode(t, h.setDesired("cpu", 4), "ValidationError")
	wantCode(t, h.setDesired("cpu", 0), "ValidationError")
	wantCode(t, h.setDesired("none", 1), "ValidationError")
	if got := h.desired("cpu"); got != 2 {
		t.Errorf("desired %d after refused calls, want 2", got)
	}
	if err := h.setDesired("cpu", 3); err != nil || len(h.states("cpu")) != 3 {
		t.Errorf("error %v, members %v, want 3", err, h.states("cpu"))
	}
}

func TestSpotInterruption(t *testing.T) {
	h := start(t, func(c *Config) { c.Groups[2].Desired = 1 })
	var id string
	for member := range h.states("spot") {
		id = member
	}
	h.clock.Advance(time.Minute)
	if err := h.admin.Interrupt(t.Context(), id, 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(2*time.Minute - time.Second)
	if got := h.states("spot"); got[id] != InService {
		t.Errorf("states %v before the notice is over", got)
	}
	h.clock.Advance(time.Second)
	if got := h.states("spot"); got[id] != Terminating || len(got) != 2 {
		t.Errorf("states %v after the notice, want a replacement too", got)
	}
	if by := h.instances()[id].TerminatedBy; by != "SpotInterruption" {
		t.Errorf("terminated by %q", by)
	}
	if err := h.admin.Interrupt(t.Context(), h.mustLaunch("token", 1)[0], 0); err == nil {
		t.Error("an on-demand instance was interrupted")
	}
}

func TestHardwareFailure(t *testing.T) {
	h := start(t)
	id := h.mustLaunch("token", 1)[0]
	if err := h.admin.Fail(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := h.states(gpuGroup); got[id] != Terminating || len(got) != 2 || h.desired(gpuGroup) != 1 {
		t.Errorf("states %v, desired %d, want a replacement", got, h.desired(gpuGroup))
	}
	if err := h.admin.Fail(t.Context(), id); err == nil {
		t.Error("a terminating instance failed")
	}
}

func TestSomeoneElseChangesTheGroup(t *testing.T) {
	h := start(t)
	two, four := 2, 4
	if err := h.admin.ChangeGroup(t.Context(), gpuGroup, GroupChange{Desired: &two, Max: &four}); err != nil {
		t.Fatal(err)
	}
	g := h.group(gpuGroup)
	if aws.ToInt32(g.MaxSize) != 4 || aws.ToInt32(g.DesiredCapacity) != 2 || len(g.Instances) != 2 {
		t.Errorf("group has max %d, desired %d, %d instances", *g.MaxSize, *g.DesiredCapacity, len(g.Instances))
	}
	nine := 9
	if err := h.admin.ChangeGroup(t.Context(), gpuGroup, GroupChange{Desired: &nine}); err == nil {
		t.Error("desired was set above max")
	}
	if got := len(h.calls("SetDesiredCapacity")); got != 0 {
		t.Errorf("%d calls recorded; somebody else's are not the caller's", got)
	}
}
