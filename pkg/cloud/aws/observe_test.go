package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/cloud"
)

func observeOne(t *testing.T, p *Provider, g cloud.GroupConfig) cloud.Group {
	t.Helper()
	got, err := p.Observe(context.Background(), []cloud.GroupConfig{g})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Name != g.Name {
		t.Fatalf("got %+v", got)
	}
	return got[0]
}

func TestObserveInstances(t *testing.T) {
	c := newClock()
	f := (&fakeAPI{}).world(group("g5-a", astypes.LifecycleStateInService, astypes.LifecycleStatePendingWait,
		astypes.LifecycleStateTerminatingProceed, astypes.LifecycleStateTerminated, astypes.LifecycleStateWarmedStopped,
		astypes.LifecycleStateDetaching, astypes.LifecycleStateStandby))
	launched := c.now.Add(-time.Hour)
	f.describeInstances = func(in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		if diff := cmp.Diff([]string{"i-a", "i-b", "i-c", "i-f", "i-g"}, in.Filters[0].Values); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
		return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: []ec2types.Instance{{
			InstanceId: ptr("i-a"), LaunchTime: &launched, Tags: []ec2types.Tag{newTag("Name", "x"), newTag("capmgr.io/intent", "team-a/train-1")},
		}}}}}, nil
	}
	got := observeOne(t, f.provider(t, c), configOf("g5-a"))
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	young := func(id string, terminating bool) cloud.Instance {
		return cloud.Instance{ID: id, ProviderID: "aws:///us-east-1a/" + id, Zone: "us-east-1a", Terminating: terminating, Launched: c.now}
	}
	want := []cloud.Instance{
		{ID: "i-a", ProviderID: "aws:///us-east-1a/i-a", Zone: "us-east-1a", InService: true, Launched: launched, Intent: "team-a/train-1"},
		young("i-b", false), young("i-c", true), young("i-f", true), young("i-g", false),
	}
	if diff := cmp.Diff(want, got.Instances); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
	if got.Zone != "us-east-1a" || got.CapacityType != onDemand || got.InstanceType != "g5.xlarge" || got.LaunchVersion != "lt-1:7" ||
		got.Min != 0 || got.Max != 16 || got.Desired != 7 || got.PricePerHour != 1.006 || got.Shape.GPUs != 1 {
		t.Errorf("got %+v", got)
	}
}

// One bad group must not hide the others.
func TestObserveRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		change  func(*astypes.AutoScalingGroup)
		foreign bool
		want    string // "" means usable
	}{
		"plain":             {change: func(*astypes.AutoScalingGroup) {}},
		"of another scaler": {change: func(g *astypes.AutoScalingGroup) { *g = tagged(*g, foreignTag, "true") }, want: "remove the tag"},
		"shared on purpose": {change: func(g *astypes.AutoScalingGroup) { *g = tagged(*g, foreignTag, "true") }, foreign: true},
		"being deleted":     {change: func(g *astypes.AutoScalingGroup) { g.Status = ptr("Delete in progress") }, want: "being deleted"},
		"missing":           {change: func(g *astypes.AutoScalingGroup) { g.AutoScalingGroupName = ptr("other") }, want: `"bad" does not exist in us-east-1: create it`},
		"launch configuration": {change: func(g *astypes.AutoScalingGroup) {
			g.LaunchTemplate, g.LaunchConfigurationName = nil, ptr("old")
		}, want: "give it a launch template"},
		"no template":       {change: func(g *astypes.AutoScalingGroup) { g.LaunchTemplate = nil }, want: "no launch template"},
		"counts vcpus":      {change: func(g *astypes.AutoScalingGroup) { g.DesiredCapacityType = ptr("vcpu") }, want: "not machines"},
		"two types":         {change: mixed(nil, "g5.xlarge", "g5.2xlarge"), want: "one group per type"},
		"one type twice":    {change: mixed(nil, "g5.xlarge", "g5.xlarge")},
		"spot and not":      {change: mixed(&astypes.InstancesDistribution{OnDemandPercentageAboveBaseCapacity: ptr(int32(50))}, "g5.xlarge"), want: "one group of each"},
		"spot above a base": {change: mixed(&astypes.InstancesDistribution{OnDemandBaseCapacity: ptr(int32(1)), OnDemandPercentageAboveBaseCapacity: ptr(int32(0))}, "g5.xlarge"), want: "one group of each"},
		"by attributes": {change: func(g *astypes.AutoScalingGroup) {
			mixed(nil, "")(g)
			g.MixedInstancesPolicy.LaunchTemplate.Overrides[0] = astypes.LaunchTemplateOverrides{InstanceRequirements: &astypes.InstanceRequirements{}}
		}, want: "name one type"},
		"weighted": {change: func(g *astypes.AutoScalingGroup) {
			mixed(nil, "g5.xlarge")(g)
			g.MixedInstancesPolicy.LaunchTemplate.Overrides[0].WeightedCapacity = ptr("4")
		}, want: "remove the weight"},
		"unreadable taint": {change: func(g *astypes.AutoScalingGroup) { *g = tagged(*g, taintTagPrefix+"nvidia.com/gpu", "true") }, want: "value:NoSchedule"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := group("bad")
			tc.change(&bad)
			p := (&fakeAPI{}).world(bad, group("good")).provider(t, newClock())
			got, err := p.Observe(context.Background(), []cloud.GroupConfig{{Name: "b", CloudName: "bad", AllowForeign: tc.foreign}, configOf("good")})
			if err != nil {
				t.Fatal(err)
			}
			if got[1].Err != nil || got[1].InstanceType != "g5.xlarge" {
				t.Errorf("the good group: %+v", got[1])
			}
			if tc.want == "" {
				if got[0].Err != nil {
					t.Errorf("refused: %v", got[0].Err)
				}
				return
			}
			if !errors.Is(got[0].Err, cloud.ErrRejected) || !strings.Contains(got[0].Err.Error(), tc.want) || !strings.Contains(got[0].Err.Error(), "group b") {
				t.Errorf("error %v, want a rejection with %q", got[0].Err, tc.want)
			}
		})
	}
}

func mixed(d *astypes.InstancesDistribution, types ...string) func(*astypes.AutoScalingGroup) {
	return func(g *astypes.AutoScalingGroup) {
		lt := &astypes.LaunchTemplate{LaunchTemplateSpecification: g.LaunchTemplate}
		for _, name := range types {
			lt.Overrides = append(lt.Overrides, astypes.LaunchTemplateOverrides{InstanceType: &name})
		}
		g.LaunchTemplate, g.MixedInstancesPolicy = nil, &astypes.MixedInstancesPolicy{LaunchTemplate: lt, InstancesDistribution: d}
	}
}

func TestRecipeSources(t *testing.T) {
	spotOnly := &astypes.InstancesDistribution{OnDemandPercentageAboveBaseCapacity: ptr(int32(0))}
	for name, tc := range map[string]struct {
		change  func(*astypes.AutoScalingGroup)
		managed *nodegroup
		want    recipe
		reads   int // of the template
	}{
		"template":                     {func(*astypes.AutoScalingGroup) {}, nil, recipe{"g5.xlarge", onDemand, "lt-1:7"}, 1},
		"policy tells all":             {mixed(spotOnly, "g5.2xlarge"), nil, recipe{"g5.2xlarge", spot, "lt-1:7"}, 0},
		"policy without types":         {mixed(nil), nil, recipe{"g5.xlarge", onDemand, "lt-1:7"}, 1},
		"managed":                      {func(*astypes.AutoScalingGroup) {}, &nodegroup{instanceTypes: []string{"g5.4xlarge"}, capacityType: spot}, recipe{"g5.4xlarge", spot, "lt-1:7"}, 0},
		"alias is resolved":            {func(g *astypes.AutoScalingGroup) { mixed(nil, "g5.2xlarge")(g); latest(g) }, nil, recipe{"g5.2xlarge", onDemand, "lt-1:7"}, 1},
		"no version means the default": {func(g *astypes.AutoScalingGroup) { g.LaunchTemplate.Version = nil }, nil, recipe{"g5.xlarge", onDemand, "lt-1:7"}, 1},
		"by name": {func(g *astypes.AutoScalingGroup) {
			g.LaunchTemplate.LaunchTemplateId, g.LaunchTemplate.LaunchTemplateName = nil, ptr("ray")
		}, nil, recipe{"g5.xlarge", onDemand, "ray:7"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asg := group("g5-a")
			tc.change(&asg)
			f, reads := (&fakeAPI{}).world(), 0
			f.describeTemplates = func(in *ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
				reads++
				if (in.LaunchTemplateId == nil) == (in.LaunchTemplateName == nil) {
					t.Error("AWS wants either the id or the name")
				}
				return templateOf(7, "g5.xlarge"), nil
			}
			got, err := f.provider(t, newClock()).recipeOf(context.Background(), &asg, tc.managed)
			if err != nil || got != tc.want || reads != tc.reads {
				t.Errorf("got %+v after %d reads, %v; want %+v after %d", got, reads, err, tc.want, tc.reads)
			}
		})
	}
}

func latest(g *astypes.AutoScalingGroup) {
	g.MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.Version = ptr("$Latest")
}

func TestObserveManagedGroup(t *testing.T) {
	c := newClock()
	asg := tagged(group("eks-g5"), nodegroupNameTag, "g5", nodegroupClusterTag, "ray",
		labelTagPrefix+"team", "tags", labelTagPrefix+"disk", "nvme", taintTagPrefix+"nvidia.com/gpu", "present:NoSchedule", taintTagPrefix+"a", ":NoExecute")
	asg.AvailabilityZones = []string{"us-east-1a", "us-east-1b"}
	f, reads := (&fakeAPI{}).world(asg), 0
	var fail error
	f.describeNodegroup = func(_ *eks.DescribeNodegroupInput) (*eks.DescribeNodegroupOutput, error) {
		reads++
		if fail != nil {
			return nil, fail
		}
		return &eks.DescribeNodegroupOutput{Nodegroup: &ekstypes.Nodegroup{
			CapacityType: ekstypes.CapacityTypesSpot, InstanceTypes: []string{"g5.12xlarge"}, AmiType: ekstypes.AMITypesAl2023X8664Nvidia,
			Labels: map[string]string{"team": "eks", "node.kubernetes.io/instance-type": "forged"},
			Taints: []ekstypes.Taint{{Key: ptr("nvidia.com/gpu"), Value: ptr("true"), Effect: ekstypes.TaintEffectNoSchedule}},
		}}, nil
	}
	p := f.provider(t, c)
	got := observeOne(t, p, configOf("eks-g5"))
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	if got.Zone != "" || got.CapacityType != spot || got.InstanceType != "g5.12xlarge" || got.Shape.Pods != 250 {
		t.Errorf("got %+v", got)
	}
	wantLabels := map[string]string{
		"team": "eks", "disk": "nvme", "node.kubernetes.io/instance-type": "g5.12xlarge", "topology.kubernetes.io/region": "us-east-1",
		"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "k8s.amazonaws.com/accelerator": "nvidia-a10g", "nvidia.com/gpu.product": "NVIDIA-A10G",
		"eks.amazonaws.com/nodegroup": "g5", "eks.amazonaws.com/capacityType": "SPOT",
	}
	if diff := cmp.Diff(wantLabels, got.Shape.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	wantTaints := []cloud.Taint{{Key: "a", Effect: "NoExecute"}, {Key: "nvidia.com/gpu", Value: "true", Effect: "NoSchedule"}}
	if diff := cmp.Diff(wantTaints, got.Shape.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}

	observeOne(t, p, configOf("eks-g5"))
	if reads != 1 {
		t.Errorf("%d reads of the node group at once, want 1", reads)
	}
	c.now, fail = c.now.Add(nodegroupTTL), &smithy.GenericAPIError{Code: "ThrottlingException"}
	if got := observeOne(t, p, configOf("eks-g5")); got.Err != nil || reads != 2 {
		t.Errorf("after a throttle: %v, %d reads; the old answer should stand", got.Err, reads)
	}
	fail = errors.New("no credentials")
	if got := observeOne(t, p, configOf("eks-g5")); !errors.Is(got.Err, cloud.ErrRejected) {
		t.Errorf("after a refusal: %v", got.Err)
	}
}

func TestMachineTypeIsCachedForAnHour(t *testing.T) {
	c := newClock()
	f, reads := (&fakeAPI{}).world(group("g5-a"), group("g5-b")), 0
	describe := f.describeTypes
	f.describeTypes = func(in *ec2.DescribeInstanceTypesInput) (*ec2.DescribeInstanceTypesOutput, error) {
		reads++
		return describe(in)
	}
	p := f.provider(t, c)
	for _, tc := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {59 * time.Minute, 1}, {time.Minute, 2}} {
		c.now = c.now.Add(tc.after)
		if _, err := p.Observe(context.Background(), []cloud.GroupConfig{configOf("g5-a"), configOf("g5-b")}); err != nil {
			t.Fatal(err)
		}
		if reads != tc.want {
			t.Errorf("%v later: %d reads, want %d", tc.after, reads, tc.want)
		}
	}
}

func TestObservePages(t *testing.T) {
	const groups, each = 120, 4 // 480 instances
	f := (&fakeAPI{}).world()
	var nameCalls, idCalls []int
	f.describeGroups = func(in *autoscaling.DescribeAutoScalingGroupsInput) (*autoscaling.DescribeAutoScalingGroupsOutput, error) {
		// Two pages per call: the first half, then the rest.
		names, half := in.AutoScalingGroupNames, len(in.AutoScalingGroupNames)/2
		out := &autoscaling.DescribeAutoScalingGroupsOutput{}
		if in.NextToken == nil {
			nameCalls = append(nameCalls, len(names))
			names, out.NextToken = names[:half], ptr("more")
		} else {
			names = names[half:]
		}
		for _, name := range names {
			g := group(name)
			for i := range each {
				g.Instances = append(g.Instances, astypes.Instance{
					InstanceId: ptr(fmt.Sprintf("i-%s-%d", name, i)), AvailabilityZone: ptr("us-east-1a"), LifecycleState: astypes.LifecycleStateInService,
				})
			}
			out.AutoScalingGroups = append(out.AutoScalingGroups, g)
		}
		return out, nil
	}
	f.describeInstances = func(in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		if len(in.InstanceIds) > 0 {
			t.Error("asked by id: one unknown instance would fail the call")
		}
		ids, out := in.Filters[0].Values, &ec2.DescribeInstancesOutput{}
		if in.NextToken == nil {
			idCalls = append(idCalls, len(ids))
			ids, out.NextToken = ids[:len(ids)/2], ptr("more")
		} else {
			ids = ids[len(ids)/2:]
		}
		r := ec2types.Reservation{}
		for _, id := range ids {
			r.Instances = append(r.Instances, ec2types.Instance{InstanceId: &id, LaunchTime: ptr(time.Unix(1, 0))})
		}
		out.Reservations = []ec2types.Reservation{r}
		return out, nil
	}
	p := f.provider(t, newClock())
	var configs []cloud.GroupConfig
	for i := range groups {
		configs = append(configs, configOf(fmt.Sprintf("g%03d", i)))
	}
	got, err := p.Observe(context.Background(), configs)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{50, 50, 20}, nameCalls); diff != "" {
		t.Errorf("names per call (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{200, 200, 80}, idCalls); diff != "" {
		t.Errorf("instances per call (-want +got):\n%s", diff)
	}
	for i, g := range got {
		if g.Name != configs[i].Name || g.Err != nil || len(g.Instances) != each || !g.Instances[0].Launched.Equal(time.Unix(1, 0)) {
			t.Fatalf("group %d: %+v", i, g)
		}
	}
}

func TestObserveFailsWhole(t *testing.T) {
	f := (&fakeAPI{}).world(group("g5-a", astypes.LifecycleStateInService))
	f.describeInstances = func(*ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
		return nil, &smithy.GenericAPIError{Code: "RequestLimitExceeded"}
	}
	_, err := f.provider(t, newClock()).Observe(context.Background(), []cloud.GroupConfig{configOf("g5-a")})
	if !errors.Is(err, cloud.ErrThrottled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = f.provider(t, newClock()).Observe(ctx, []cloud.GroupConfig{configOf("g5-a")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The race detector is the judge: a provider is shared by reconcilers.
func TestObserveAtOnce(t *testing.T) {
	p := (&fakeAPI{}).world(group("g5-a", astypes.LifecycleStateInService)).provider(t, newClock())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := p.Observe(context.Background(), []cloud.GroupConfig{configOf("g5-a")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
