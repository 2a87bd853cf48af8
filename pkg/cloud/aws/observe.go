package aws

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// namesPerCall is how many groups DescribeAutoScalingGroups takes by name.
const namesPerCall = 50

// Observe reads the groups in the order given. What concerns one group is that group's error; only
// a read that concerns all of them fails the whole observation.
func (p *Provider) Observe(ctx context.Context, groups []cloud.GroupConfig) ([]cloud.Group, error) {
	found, err := p.autoScalingGroups(ctx, groups)
	if err != nil {
		return nil, fmt.Errorf("observe %d node groups: %w", len(groups), err)
	}
	machines, err := p.machines(ctx, found)
	if err != nil {
		return nil, fmt.Errorf("observe the instances of %d node groups: %w", len(groups), err)
	}
	out := make([]cloud.Group, 0, len(groups))
	for _, g := range groups {
		seen, err := p.observeGroup(ctx, g, found[g.CloudName], machines)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("observe group %s: %w", g.Name, ctx.Err())
		}
		if err != nil {
			seen = cloud.Group{Err: fmt.Errorf("observe group %s: %w", g.Name, err)}
		}
		seen.Name = g.Name
		out = append(out, seen)
	}
	return out, nil
}

// autoScalingGroups reads the groups by name; those that do not exist are absent from the result.
func (p *Provider) autoScalingGroups(ctx context.Context, groups []cloud.GroupConfig) (map[string]*astypes.AutoScalingGroup, error) {
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		names = append(names, g.CloudName)
	}
	slices.Sort(names)
	found := make(map[string]*astypes.AutoScalingGroup, len(names))
	for some := range slices.Chunk(slices.Compact(names), namesPerCall) {
		pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(p.api.groups,
			&autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: some})
		for pages.HasMorePages() {
			page, err := call(ctx, p.describes, describeTimeout, func(ctx context.Context) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
				return pages.NextPage(ctx)
			})
			if err != nil {
				return nil, err
			}
			for i := range page.AutoScalingGroups {
				asg := &page.AutoScalingGroups[i]
				found[value(asg.AutoScalingGroupName)] = asg
			}
		}
	}
	return found, nil
}

func (p *Provider) observeGroup(ctx context.Context, g cloud.GroupConfig, asg *astypes.AutoScalingGroup, machines map[string]machine) (cloud.Group, error) {
	if err := p.usable(g, asg); err != nil {
		return cloud.Group{}, err
	}
	managed, err := p.nodegroupOf(ctx, asg)
	if err != nil {
		return cloud.Group{}, err
	}
	recipe, err := p.recipeOf(ctx, asg, managed)
	if err != nil {
		return cloud.Group{}, err
	}
	kind, err := p.machineType(ctx, recipe.instanceType)
	if err != nil {
		return cloud.Group{}, err
	}
	shape, err := p.shapeOf(asg, managed, recipe, kind)
	if err != nil {
		return cloud.Group{}, err
	}
	return cloud.Group{
		InstanceType:  recipe.instanceType,
		Zone:          zoneOf(asg),
		CapacityType:  recipe.capacityType,
		Min:           int(value(asg.MinSize)),
		Max:           int(value(asg.MaxSize)),
		Desired:       int(value(asg.DesiredCapacity)),
		Shape:         shape,
		PricePerHour:  p.pricePerHour(recipe.instanceType),
		Instances:     p.instancesOf(asg, machines),
		LaunchVersion: recipe.version,
	}, nil
}

// zoneOf is "" for a group that spans zones: it has no failure domain of its own, and each launch
// must then name a zone.
func zoneOf(asg *astypes.AutoScalingGroup) string {
	if len(asg.AvailabilityZones) == 1 {
		return asg.AvailabilityZones[0]
	}
	return ""
}

// value reads an optional field of the SDK; absent is zero.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
