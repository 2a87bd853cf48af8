package fakeaws

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/google/go-cmp/cmp"
)

func TestDescribeGroupTellsWhatWasConfigured(t *testing.T) {
	h := start(t, func(c *Config) { c.Groups[0].ProtectNewInstances = true })
	id := h.mustLaunch("token", 1)[0]
	h.clock.Advance(10 * time.Second)

	g := h.group(gpuGroup)
	type view struct {
		Min, Max, Desired int32
		Zones, ZoneIDs    []string
		Subnet, Template  string
		Protects          bool
		Created           time.Time
		Tags              map[string]string
		Instance          types.Instance
	}
	got := view{
		Min: aws.ToInt32(g.MinSize), Max: aws.ToInt32(g.MaxSize), Desired: aws.ToInt32(g.DesiredCapacity),
		Zones: g.AvailabilityZones, ZoneIDs: g.AvailabilityZoneIds, Subnet: aws.ToString(g.VPCZoneIdentifier),
		Template: aws.ToString(g.LaunchTemplate.LaunchTemplateId), Protects: aws.ToBool(g.NewInstancesProtectedFromScaleIn),
		Created: aws.ToTime(g.CreatedTime), Tags: map[string]string{}, Instance: g.Instances[0],
	}
	for _, tag := range g.Tags {
		got.Tags[aws.ToString(tag.Key)] = fmt.Sprintf("%s of %s %s, propagated %v", aws.ToString(tag.Value),
			aws.ToString(tag.ResourceType), aws.ToString(tag.ResourceId), aws.ToBool(tag.PropagateAtLaunch))
	}
	want := view{
		Max: 8, Desired: 1, Zones: []string{"us-east-1a"}, ZoneIDs: []string{"use1-az1"}, Subnet: "subnet-us-east-1a",
		Template: "lt-g5-xlarge-a", Protects: true, Created: epoch,
		Tags: map[string]string{
			"capmgr.io/cluster": "ray of auto-scaling-group g5-xlarge-a, propagated true",
			"capmgr.io/pool":    "gpu of auto-scaling-group g5-xlarge-a, propagated true",
		},
		Instance: types.Instance{
			InstanceId: aws.String(id), InstanceType: aws.String("g5.xlarge"), AvailabilityZone: aws.String("us-east-1a"),
			AvailabilityZoneId: aws.String("use1-az1"), LifecycleState: types.LifecycleStateInService, HealthStatus: aws.String("Healthy"),
			ProtectedFromScaleIn: aws.Bool(true),
			LaunchTemplate:       &types.LaunchTemplateSpecification{LaunchTemplateId: aws.String("lt-g5-xlarge-a"), LaunchTemplateName: aws.String(gpuGroup), Version: aws.String("1")},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(types.Instance{}, types.LaunchTemplateSpecification{})); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
}

func TestDescribeGroupsFilters(t *testing.T) {
	filter := func(name string, values ...string) []types.Filter {
		return []types.Filter{{Name: aws.String(name), Values: values}}
	}
	cases := map[string]struct {
		names   []string
		filters []types.Filter
		want    []string
	}{
		"all":                  {want: []string{"cpu", gpuGroup, "spot"}},
		"by name":              {names: []string{"spot", "cpu", "unknown"}, want: []string{"cpu", "spot"}},
		"by tag":               {filters: filter("tag:capmgr.io/cluster", "other", "ray"), want: []string{gpuGroup}},
		"by another tag value": {filters: filter("tag:capmgr.io/cluster", "other")},
		"by tag key":           {filters: filter("tag-key", "eks:nodegroup-name"), want: []string{"cpu", "spot"}},
		"by tag value":         {filters: filter("tag-value", "spot-nodes"), want: []string{"spot"}},
		"filters are a conjunction": {
			filters: append(filter("tag-key", "eks:nodegroup-name"), filter("tag:eks:nodegroup-name", "cpu-nodes")...),
			want:    []string{"cpu"}},
	}
	h := start(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out, err := h.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: c.names, Filters: c.filters})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range out.AutoScalingGroups {
				got = append(got, aws.ToString(g.AutoScalingGroupName))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
	_, err := h.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{Filters: filter("colour", "red")})
	wantCode(t, err, "ValidationError")
}

func TestDescribeGroupsPages(t *testing.T) {
	h := start(t)
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(h.asg, &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(2)})
	var got [][]string
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range out.AutoScalingGroups {
			names = append(names, aws.ToString(g.AutoScalingGroupName))
		}
		got = append(got, names)
	}
	if diff := cmp.Diff([][]string{{"cpu", gpuGroup}, {"spot"}}, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	_, err := h.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{NextToken: aws.String("made-up")})
	wantCode(t, err, "InvalidNextToken")
	_, err = h.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(101)})
	wantCode(t, err, "ValidationError")
}

func TestDescribeAutoScalingInstances(t *testing.T) {
	h := start(t)
	ids := h.mustLaunch("token", 2)
	out, err := h.asg.DescribeAutoScalingInstances(t.Context(), &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{ids[1], "i-unknown"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.AutoScalingInstances) != 1 {
		t.Fatalf("got %d instances, want 1", len(out.AutoScalingInstances))
	}
	got := out.AutoScalingInstances[0]
	if aws.ToString(got.InstanceId) != ids[1] || aws.ToString(got.AutoScalingGroupName) != gpuGroup ||
		aws.ToString(got.LifecycleState) != Pending || aws.ToString(got.InstanceType) != "g5.xlarge" ||
		aws.ToString(got.AvailabilityZone) != "us-east-1a" || aws.ToString(got.HealthStatus) != "HEALTHY" {
		t.Errorf("got instance %+v", got)
	}
	all, err := h.asg.DescribeAutoScalingInstances(t.Context(), &autoscaling.DescribeAutoScalingInstancesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.AutoScalingInstances) != 4 {
		t.Errorf("got %d instances of all groups, want 4", len(all.AutoScalingInstances))
	}
}

func TestScalingActivities(t *testing.T) {
	h := start(t)
	first := h.mustLaunch("first", 1)[0]
	h.clock.Advance(time.Minute)
	h.inject(Fault{Kind: InsufficientCapacity, Group: gpuGroup, Allow: 1})
	if _, err := h.launch("second", 2); err != nil {
		t.Fatal(err)
	}
	describe := func(in autoscaling.DescribeScalingActivitiesInput) []types.Activity {
		in.AutoScalingGroupName = aws.String(gpuGroup)
		out, err := h.asg.DescribeScalingActivities(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out.Activities
	}
	all := describe(autoscaling.DescribeScalingActivitiesInput{})
	var codes []types.ScalingActivityStatusCode
	for _, a := range all {
		codes = append(codes, a.StatusCode)
	}
	if diff := cmp.Diff([]types.ScalingActivityStatusCode{types.ScalingActivityStatusCodeFailed, types.ScalingActivityStatusCodePreInService, types.ScalingActivityStatusCodeSuccessful}, codes); diff != "" {
		t.Fatalf("status, newest first (-want +got):\n%s", diff)
	}
	if got, want := aws.ToString(all[2].Description), "Launching a new EC2 instance: "+first; got != want {
		t.Errorf("description %q, want %q", got, want)
	}
	if !aws.ToTime(all[2].StartTime).Equal(epoch) || !aws.ToTime(all[2].EndTime).Equal(epoch.Add(10*time.Second)) {
		t.Errorf("first launch from %v to %v", all[2].StartTime, all[2].EndTime)
	}
	if got := aws.ToString(all[0].StatusMessage); got == "" {
		t.Error("the failed activity does not say why")
	}
	late := describe(autoscaling.DescribeScalingActivitiesInput{Filters: []types.Filter{
		{Name: aws.String("StartTimeLowerBound"), Values: []string{epoch.Add(time.Second).Format(time.RFC3339)}}}})
	if len(late) != 2 {
		t.Errorf("got %d activities after the first second, want 2", len(late))
	}
	failed := describe(autoscaling.DescribeScalingActivitiesInput{Filters: []types.Filter{{Name: aws.String("Status"), Values: []string{"Failed"}}}})
	if len(failed) != 1 {
		t.Errorf("got %d failed activities, want 1", len(failed))
	}
	byID := describe(autoscaling.DescribeScalingActivitiesInput{ActivityIds: []string{aws.ToString(all[1].ActivityId)}})
	if len(byID) != 1 || aws.ToString(byID[0].ActivityId) != aws.ToString(all[1].ActivityId) {
		t.Errorf("got %+v by id", byID)
	}
	if got := describe(autoscaling.DescribeScalingActivitiesInput{MaxRecords: aws.Int32(2)}); len(got) != 2 {
		t.Errorf("got %d activities on a page of 2", len(got))
	}
	_, err := h.asg.DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("none")})
	wantCode(t, err, "ValidationError")
}

func TestTags(t *testing.T) {
	h := start(t)
	tag := func(key, value string) types.Tag {
		return types.Tag{Key: aws.String(key), Value: aws.String(value), ResourceId: aws.String(gpuGroup),
			ResourceType: aws.String("auto-scaling-group"), PropagateAtLaunch: aws.Bool(false)}
	}
	ctx := t.Context()
	if _, err := h.asg.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: []types.Tag{tag("owner", "one"), tag("capmgr.io/pool", "changed")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.asg.DeleteTags(ctx, &autoscaling.DeleteTagsInput{Tags: []types.Tag{tag("capmgr.io/cluster", "")}}); err != nil {
		t.Fatal(err)
	}
	out, err := h.asg.DescribeTags(ctx, &autoscaling.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("auto-scaling-group"), Values: []string{gpuGroup}}}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, d := range out.Tags {
		got[aws.ToString(d.Key)] = aws.ToString(d.Value)
	}
	if diff := cmp.Diff(map[string]string{"owner": "one", "capmgr.io/pool": "changed"}, got); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	wrong := tag("owner", "two")
	wrong.ResourceId = aws.String("none")
	_, err = h.asg.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: []types.Tag{tag("owner", "two"), wrong}})
	wantCode(t, err, "ValidationError")
	if out, err = h.asg.DescribeTags(ctx, &autoscaling.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("key"), Values: []string{"owner"}}}}); err != nil {
		t.Fatal(err)
	}
	if len(out.Tags) != 1 || aws.ToString(out.Tags[0].Value) != "one" {
		t.Errorf("a refused call changed the tags: %+v", out.Tags)
	}
}

func TestProtection(t *testing.T) {
	h := start(t)
	ids := h.mustLaunch("token", 2)
	_, err := h.asg.SetInstanceProtection(t.Context(), &autoscaling.SetInstanceProtectionInput{
		AutoScalingGroupName: aws.String(gpuGroup), InstanceIds: ids[1:], ProtectedFromScaleIn: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range h.group(gpuGroup).Instances {
		if want := aws.ToString(i.InstanceId) == ids[1]; aws.ToBool(i.ProtectedFromScaleIn) != want {
			t.Errorf("instance %s protected: %v, want %v", aws.ToString(i.InstanceId), aws.ToBool(i.ProtectedFromScaleIn), want)
		}
	}
	_, err = h.asg.SetInstanceProtection(t.Context(), &autoscaling.SetInstanceProtectionInput{
		AutoScalingGroupName: aws.String("spot"), InstanceIds: ids, ProtectedFromScaleIn: aws.Bool(true)})
	wantCode(t, err, "ValidationError")
}

func TestSuspendedProcesses(t *testing.T) {
	h := start(t)
	ctx := t.Context()
	if _, err := h.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String(gpuGroup), ScalingProcesses: []string{"Launch", "AZRebalance"}}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range h.group(gpuGroup).SuspendedProcesses {
		names = append(names, aws.ToString(s.ProcessName))
	}
	if diff := cmp.Diff([]string{"AZRebalance", "Launch"}, names); diff != "" {
		t.Errorf("suspended (-want +got):\n%s", diff)
	}
	if _, err := h.asg.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(gpuGroup), DesiredCapacity: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	if got := h.states(gpuGroup); len(got) != 0 {
		t.Errorf("launched %v while Launch is suspended", got)
	}
	if _, err := h.asg.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: aws.String(gpuGroup), ScalingProcesses: []string{"Launch"}}); err != nil {
		t.Fatal(err)
	}
	if got := h.states(gpuGroup); len(got) != 1 {
		t.Errorf("members %v after Launch was resumed, want one", got)
	}
	_, err := h.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String(gpuGroup), ScalingProcesses: []string{"Sleep"}})
	wantCode(t, err, "ValidationError")
}
