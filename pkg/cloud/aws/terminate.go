package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// terminateMax is how many instances one call may end.
const terminateMax = 100

// Terminate ends the named machines that the group still has. The call has no token, so the group
// is read first: a machine that is already leaving has had its slot taken away, and ending it again
// would take another.
func (p *Provider) Terminate(ctx context.Context, g cloud.GroupConfig, instances []string) error {
	if err := p.endAll(ctx, g, instances); err != nil {
		return fmt.Errorf("terminate %d of %s: %w", len(instances), g.Name, err)
	}
	return nil
}

// endAll tries again after a refusal as long as there are fewer machines left: one that went
// between the read and the call makes AWS refuse all of them.
func (p *Provider) endAll(ctx context.Context, g cloud.GroupConfig, instances []string) error {
	ended := map[string]bool{} // accepted here; a read may lag behind
	left, err := p.present(ctx, g, instances, ended)
	for err == nil && len(left) > 0 {
		refused := p.end(ctx, g, left, ended)
		if !errors.Is(refused, cloud.ErrRejected) {
			return refused
		}
		left = slices.DeleteFunc(left, func(id string) bool { return ended[id] })
		before := len(left)
		if left, err = p.present(ctx, g, instances, ended); err == nil && len(left) >= before {
			return refused // nothing went meanwhile: the refusal has another cause
		}
	}
	return err
}

// present reads the group and returns those of the instances that it has and that are not leaving.
func (p *Provider) present(ctx context.Context, g cloud.GroupConfig, instances []string, ended map[string]bool) ([]string, error) {
	if len(instances) == 0 {
		return nil, nil
	}
	found, err := p.autoScalingGroups(ctx, []cloud.GroupConfig{g})
	if err != nil {
		return nil, err
	}
	asg := found[g.CloudName]
	if err := p.usable(g, asg); err != nil {
		return nil, err
	}
	var left []string
	for _, i := range asg.Instances {
		id := value(i.InstanceId)
		if counts(i.LifecycleState) && !leaving(i.LifecycleState) && !ended[id] && slices.Contains(instances, id) {
			left = append(left, id)
		}
	}
	slices.Sort(left)
	return left, nil
}

// end sends the calls and notes in ended what AWS accepted.
func (p *Provider) end(ctx context.Context, g cloud.GroupConfig, ids []string, ended map[string]bool) error {
	decrement := true
	for some := range slices.Chunk(ids, terminateMax) {
		out, err := call(ctx, p.mutations, mutateTimeout, func(ctx context.Context) (*autoscaling.TerminateInstanceInAutoScalingGroupOutput, error) {
			return p.api.terminate.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{
				AutoScalingGroupName:           &g.CloudName,
				InstanceIds:                    some,
				ShouldDecrementDesiredCapacity: &decrement,
			}, sendOnce)
		})
		if err != nil {
			return terminateError(g, err)
		}
		for _, id := range some {
			ended[id] = true
		}
		if err := failedActivity(out.Activities); err != nil {
			return err
		}
	}
	return nil
}

// terminateError adds the remedy to a refusal that a person will meet sooner or later.
func terminateError(g cloud.GroupConfig, err error) error {
	if errors.Is(err, cloud.ErrRejected) && violatesMin(err.Error()) {
		return fmt.Errorf("%w: lower the minimum size of auto scaling group %q, or raise minNodes to match it", err, g.CloudName)
	}
	return err
}

// failedActivity finds a termination that was accepted and then failed. Whether the machine lives
// only another observation can tell.
func failedActivity(activities []astypes.Activity) error {
	for _, a := range activities {
		if a.StatusCode == astypes.ScalingActivityStatusCodeFailed || a.StatusCode == astypes.ScalingActivityStatusCodeCancelled {
			return fmt.Errorf("%w: activity %s: %s", cloud.ErrUnknownOutcome, a.StatusCode, value(a.StatusMessage))
		}
	}
	return nil
}
