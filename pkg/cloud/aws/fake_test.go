package aws

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"github.com/capmgr/capmgr/pkg/cloud"
)

func ptr[T any](v T) *T { return &v }

// fakeAPI is AWS as closures; a test sets those that it expects to be called.
type fakeAPI struct {
	describeGroups    func(*autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
	launch            func(*autoscaling.LaunchInstancesInput) (*autoscaling.LaunchInstancesOutput, error)
	terminate         func(*autoscaling.TerminateInstanceInAutoScalingGroupInput) (*autoscaling.TerminateInstanceInAutoScalingGroupOutput, error)
	describeInstances func(*ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error)
	describeTypes     func(*ec2.DescribeInstanceTypesInput) (*ec2.DescribeInstanceTypesOutput, error)
	describeTemplates func(*ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
	createTags        func(*ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error)
	describeNodegroup func(*eks.DescribeNodegroupInput) (*eks.DescribeNodegroupOutput, error)
}

var errUnexpected = errors.New("unexpected call")

func answer[I, O any](f func(I) (O, error), in I) (O, error) {
	if f == nil {
		var none O
		return none, errUnexpected
	}
	return f(in)
}

func (f *fakeAPI) DescribeAutoScalingGroups(_ context.Context, in *autoscaling.DescribeAutoScalingGroupsInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
	return answer(f.describeGroups, in)
}

func (f *fakeAPI) LaunchInstances(_ context.Context, in *autoscaling.LaunchInstancesInput, _ ...func(*autoscaling.Options)) (*autoscaling.LaunchInstancesOutput, error) {
	return answer(f.launch, in)
}

func (f *fakeAPI) TerminateInstanceInAutoScalingGroup(_ context.Context, in *autoscaling.TerminateInstanceInAutoScalingGroupInput, _ ...func(*autoscaling.Options)) (*autoscaling.TerminateInstanceInAutoScalingGroupOutput, error) {
	return answer(f.terminate, in)
}

func (f *fakeAPI) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	return answer(f.describeInstances, in)
}

func (f *fakeAPI) DescribeInstanceTypes(_ context.Context, in *ec2.DescribeInstanceTypesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error) {
	return answer(f.describeTypes, in)
}

func (f *fakeAPI) DescribeLaunchTemplateVersions(_ context.Context, in *ec2.DescribeLaunchTemplateVersionsInput, _ ...func(*ec2.Options)) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
	return answer(f.describeTemplates, in)
}

func (f *fakeAPI) CreateTags(_ context.Context, in *ec2.CreateTagsInput, _ ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	return answer(f.createTags, in)
}

func (f *fakeAPI) DescribeNodegroup(_ context.Context, in *eks.DescribeNodegroupInput, _ ...func(*eks.Options)) (*eks.DescribeNodegroupOutput, error) {
	return answer(f.describeNodegroup, in)
}

// clock is the tests' time.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{now: time.Date(2026, 7, 20, 12, 0, 0, 0, time.UTC)} }

func (f *fakeAPI) provider(t *testing.T, c *clock) *Provider {
	t.Helper()
	return newProvider(clients{groups: f, launch: f, terminate: f, instances: f, types: f, templates: f, tags: f, nodegroups: f},
		Options{Region: "us-east-1", ClusterName: "ray", Now: c.Now})
}

// world answers the reads of Observe from these groups.
func (f *fakeAPI) world(groups ...astypes.AutoScalingGroup) *fakeAPI {
	f.describeGroups = func(in *autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
		out := &autoscaling.DescribeAutoScalingGroupsOutput{}
		for _, name := range in.AutoScalingGroupNames {
			for _, g := range groups {
				if *g.AutoScalingGroupName == name {
					out.AutoScalingGroups = append(out.AutoScalingGroups, g)
				}
			}
		}
		return out, nil
	}
	f.describeInstances = func(*ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		return &ec2.DescribeInstancesOutput{}, nil
	}
	f.describeTypes = func(in *ec2.DescribeInstanceTypesInput) (*ec2.DescribeInstanceTypesOutput, error) {
		for _, row := range g5Rows {
			if row.name == string(in.InstanceTypes[0]) {
				return &ec2.DescribeInstanceTypesOutput{InstanceTypes: []ec2types.InstanceTypeInfo{row.info()}}, nil
			}
		}
		return nil, errUnexpected
	}
	f.describeTemplates = func(*ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
		return templateOf(7, "g5.xlarge"), nil
	}
	return f
}

func templateOf(number int64, instanceType string) *ec2.DescribeLaunchTemplateVersionsOutput {
	return &ec2.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: []ec2types.LaunchTemplateVersion{{
		VersionNumber:      &number,
		LaunchTemplateData: &ec2types.ResponseLaunchTemplateData{InstanceType: ec2types.InstanceType(instanceType)},
	}}}
}

// group is an auto scaling group of g5.xlarge in one zone, with instances in the given states.
func group(name string, states ...astypes.LifecycleState) astypes.AutoScalingGroup {
	g := astypes.AutoScalingGroup{
		AutoScalingGroupName: &name,
		AvailabilityZones:    []string{"us-east-1a"},
		MinSize:              ptr(int32(0)), MaxSize: ptr(int32(16)), DesiredCapacity: ptr(int32(len(states))),
		LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: ptr("lt-1"), Version: ptr("7")},
	}
	for i, s := range states {
		g.Instances = append(g.Instances, astypes.Instance{
			InstanceId: ptr("i-" + string(rune('a'+i))), AvailabilityZone: ptr("us-east-1a"), LifecycleState: s,
		})
	}
	return g
}

func tagged(g astypes.AutoScalingGroup, keysAndValues ...string) astypes.AutoScalingGroup {
	for i := 0; i < len(keysAndValues); i += 2 {
		g.Tags = append(g.Tags, astypes.TagDescription{Key: &keysAndValues[i], Value: &keysAndValues[i+1]})
	}
	return g
}

func configOf(name string) cloud.GroupConfig {
	return cloud.GroupConfig{Name: name, CloudName: name}
}
