package aws

import (
	"context"
	"slices"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

const (
	onDemand = "on-demand"
	spot     = "spot"
)

// recipe is what the next machine of a group will be made from.
type recipe struct {
	instanceType string
	capacityType string
	version      string // launch template and its number, "lt-0abc:7"
}

// recipeOf finds the one instance type and market of a group. It refuses groups that could answer
// a launch with different machines: a plan made for one shape would not hold on another.
func (p *Provider) recipeOf(ctx context.Context, asg *astypes.AutoScalingGroup, managed *nodegroup) (recipe, error) {
	name := value(asg.AutoScalingGroupName)
	if unit := value(asg.DesiredCapacityType); unit != "" && unit != "units" {
		return recipe{}, reject("auto scaling group %q counts %s, not machines: set its desired capacity type to units", name, unit)
	}
	var r recipe
	spec := asg.LaunchTemplate
	if mixed := asg.MixedInstancesPolicy; mixed != nil {
		var err error
		if spec, err = mixedRecipe(name, mixed, &r); err != nil {
			return recipe{}, err
		}
	}
	if managed != nil && r.instanceType == "" && len(managed.instanceTypes) == 1 {
		r.instanceType = managed.instanceTypes[0]
	}
	if managed != nil && r.capacityType == "" {
		r.capacityType = managed.capacityType
	}
	if spec == nil {
		return recipe{}, reject("auto scaling group %q has no launch template: give it one", name)
	}
	return p.fromTemplate(ctx, name, spec, r)
}

// mixedRecipe reads a mixed instances policy into r and returns the launch template that it uses.
func mixedRecipe(name string, mixed *astypes.MixedInstancesPolicy, r *recipe) (*astypes.LaunchTemplateSpecification, error) {
	var spec *astypes.LaunchTemplateSpecification
	var types []string
	if lt := mixed.LaunchTemplate; lt != nil {
		spec = lt.LaunchTemplateSpecification
		for _, o := range lt.Overrides {
			if o.InstanceRequirements != nil {
				return nil, reject("auto scaling group %q selects instance types by attributes: name one type", name)
			}
			if w := value(o.WeightedCapacity); w != "" && w != "1" {
				return nil, reject("auto scaling group %q weighs %s as %s units: remove the weight", name, value(o.InstanceType), w)
			}
			if o.LaunchTemplateSpecification != nil {
				spec = o.LaunchTemplateSpecification
			}
			if o.InstanceType != nil {
				types = append(types, *o.InstanceType)
			}
		}
	}
	slices.Sort(types)
	if types = slices.Compact(types); len(types) > 1 {
		return nil, reject("auto scaling group %q mixes instance types %v: make one group per type", name, types)
	}
	if len(types) == 1 {
		r.instanceType = types[0]
	}
	var err error
	r.capacityType, err = market(name, mixed.InstancesDistribution)
	return spec, err
}

// market tells spot from on-demand; absent fields mean all on-demand, as in AWS.
func market(name string, d *astypes.InstancesDistribution) (string, error) {
	if d == nil || d.OnDemandPercentageAboveBaseCapacity == nil || *d.OnDemandPercentageAboveBaseCapacity == 100 {
		return onDemand, nil
	}
	if *d.OnDemandPercentageAboveBaseCapacity == 0 && value(d.OnDemandBaseCapacity) == 0 {
		return spot, nil
	}
	return "", reject("auto scaling group %q mixes on-demand and spot: make one group of each", name)
}
