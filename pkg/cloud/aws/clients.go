package aws

import (
	"context"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
)

// The interfaces below are all that this package can do to an account. There is no way to write a
// desired count, and so none to lose another writer's update of it.

type groupReader interface {
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
}

type launcher interface {
	LaunchInstances(context.Context, *autoscaling.LaunchInstancesInput, ...func(*autoscaling.Options)) (*autoscaling.LaunchInstancesOutput, error)
}

type terminator interface {
	TerminateInstanceInAutoScalingGroup(context.Context, *autoscaling.TerminateInstanceInAutoScalingGroupInput, ...func(*autoscaling.Options)) (*autoscaling.TerminateInstanceInAutoScalingGroupOutput, error)
}

type instanceReader interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
}

type typeReader interface {
	DescribeInstanceTypes(context.Context, *ec2.DescribeInstanceTypesInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error)
}

type templateReader interface {
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput, ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
}

type tagger interface {
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
}

type nodegroupReader interface {
	DescribeNodegroup(context.Context, *eks.DescribeNodegroupInput, ...func(*eks.Options)) (*eks.DescribeNodegroupOutput, error)
}

type clients struct {
	groups     groupReader
	launch     launcher
	terminate  terminator
	instances  instanceReader
	types      typeReader
	templates  templateReader
	tags       tagger
	nodegroups nodegroupReader
}

func connect(cfg awssdk.Config, endpoint string) clients {
	var base *string
	if endpoint != "" {
		base = &endpoint
	}
	groups := autoscaling.NewFromConfig(cfg, func(o *autoscaling.Options) {
		if base != nil {
			o.BaseEndpoint = base
		}
	})
	machines := ec2.NewFromConfig(cfg, func(o *ec2.Options) {
		if base != nil {
			o.BaseEndpoint = base
		}
	})
	nodegroups := eks.NewFromConfig(cfg, func(o *eks.Options) {
		if base != nil {
			o.BaseEndpoint = base
		}
	})
	return clients{
		groups: groups, launch: groups, terminate: groups,
		instances: machines, types: machines, templates: machines, tags: machines,
		nodegroups: nodegroups,
	}
}

// sendOnce makes the SDK repeat a call only when AWS says that it did nothing (a throttle). Its
// usual repetition after a lost answer would end a machine's slot twice, since Terminate has no
// token, and would let a launch end in "throttled" although its first try had gone through.
func sendOnce(o *autoscaling.Options) {
	if r, ok := o.Retryer.(awssdk.RetryerV2); ok {
		o.Retryer = throttleRetryer{r}
	} else {
		o.Retryer = awssdk.NopRetryer{}
	}
}

type throttleRetryer struct{ awssdk.RetryerV2 }

// IsErrorRetryable accepts throttles alone.
func (throttleRetryer) IsErrorRetryable(err error) bool {
	return retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == awssdk.TrueTernary
}

// untilVisible repeats a call while EC2 does not know an instance that it has just launched.
func untilVisible(o *ec2.Options) {
	o.Retryer = retry.AddWithErrorCodes(o.Retryer, "InvalidInstanceID.NotFound")
}
