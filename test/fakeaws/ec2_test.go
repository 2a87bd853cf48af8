package fakeaws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

func (h *harness) describe(in ec2.DescribeInstancesInput) []types.Instance {
	h.t.Helper()
	out, err := h.ec2.DescribeInstances(h.t.Context(), &in)
	if err != nil {
		h.t.Fatal(err)
	}
	var found []types.Instance
	for _, r := range out.Reservations {
		found = append(found, r.Instances...)
	}
	return found
}

func TestDescribeInstances(t *testing.T) {
	h := start(t, func(c *Config) { c.Groups[2].Desired = 1 })
	id := h.mustLaunch("token", 1)[0]
	if _, err := h.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("capmgr.io/intent"), Value: aws.String("abc")}}}); err != nil {
		t.Fatal(err)
	}
	states := func() types.InstanceStateName {
		return h.describe(ec2.DescribeInstancesInput{InstanceIds: []string{id}})[0].State.Name
	}
	if got := states(); got != types.InstanceStateNamePending {
		t.Errorf("state %s, want pending", got)
	}
	h.clock.Advance(10 * time.Second)
	i := h.describe(ec2.DescribeInstancesInput{InstanceIds: []string{id}})[0]
	if aws.ToString(i.InstanceId) != id || i.InstanceType != "g5.xlarge" || aws.ToString(i.Placement.AvailabilityZone) != "us-east-1a" ||
		i.State.Name != types.InstanceStateNameRunning || aws.ToInt32(i.State.Code) != 16 || !aws.ToTime(i.LaunchTime).Equal(epoch) ||
		aws.ToString(i.PrivateDnsName) != "ip-10-0-0-4.us-east-1.compute.internal" || i.InstanceLifecycle != "" {
		t.Errorf("instance %+v", i)
	}
	tags := map[string]string{}
	for _, tag := range i.Tags {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	if diff := cmp.Diff(map[string]string{"aws:autoscaling:groupName": gpuGroup, "capmgr.io/cluster": "ray", "capmgr.io/pool": "gpu", "capmgr.io/intent": "abc"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if _, err := h.terminate(true, id); err != nil {
		t.Fatal(err)
	}
	if got := states(); got != types.InstanceStateNameShuttingDown {
		t.Errorf("state %s, want shutting-down", got)
	}
	h.clock.Advance(40 * time.Second)
	if got := states(); got != types.InstanceStateNameTerminated {
		t.Errorf("state %s, want terminated", got)
	}
	h.clock.Advance(terminatedShown)
	_, err := h.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestDescribeInstancesFilters(t *testing.T) {
	h := start(t, func(c *Config) { c.Groups[2].Desired = 1 })
	id := h.mustLaunch("token", 2)[0]
	cases := map[string]struct {
		name   string
		values []string
		want   int
	}{
		"group tag":   {"tag:aws:autoscaling:groupName", []string{gpuGroup, "spot"}, 3},
		"unknown tag": {"tag:none", []string{""}, 0},
		"tag key":     {"tag-key", []string{"capmgr.io/pool"}, 2},
		"id":          {"instance-id", []string{id}, 1},
		"state":       {"instance-state-name", []string{"pending"}, 5},
		"type":        {"instance-type", []string{"m5.large"}, 2},
		"zone":        {"availability-zone", []string{"us-east-1c"}, 1},
		"spot":        {"instance-lifecycle", []string{"spot"}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := h.describe(ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String(c.name), Values: c.values}}})
			if len(got) != c.want {
				t.Errorf("found %d instances, want %d", len(got), c.want)
			}
		})
	}
	_, err := h.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("colour"), Values: []string{"red"}}}})
	wantCode(t, err, "InvalidParameterValue")

	pages, found := ec2.NewDescribeInstancesPaginator(h.ec2, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(2)}), 0
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found += len(out.Reservations)
	}
	if found != 5 {
		t.Errorf("pages held %d instances, want 5", found)
	}
	_, err = h.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{"i-none"}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	wantCode(t, err, "InvalidInstanceID.NotFound")
}

func TestDescribeInstanceTypes(t *testing.T) {
	h := start(t)
	out, err := h.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"g5.12xlarge", "m5.large"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.InstanceTypes) != 2 {
		t.Fatalf("got %d types, want 2", len(out.InstanceTypes))
	}
	gpu, cpu := out.InstanceTypes[0], out.InstanceTypes[1]
	if gpu.InstanceType != "g5.12xlarge" || aws.ToInt32(gpu.VCpuInfo.DefaultVCpus) != 48 || aws.ToInt64(gpu.MemoryInfo.SizeInMiB) != 192*1024 || aws.ToInt32(gpu.GpuInfo.TotalGpuMemoryInMiB) != 4*22888 {
		t.Errorf("g5.12xlarge is %+v", gpu)
	}
	device := gpu.GpuInfo.Gpus[0]
	if aws.ToString(device.Name) != "A10G" || aws.ToString(device.Manufacturer) != "NVIDIA" || aws.ToInt32(device.Count) != 4 || aws.ToInt32(device.MemoryInfo.SizeInMiB) != 22888 {
		t.Errorf("GPU is %+v", device)
	}
	if cpu.InstanceType != "m5.large" || cpu.GpuInfo != nil || aws.ToInt32(cpu.VCpuInfo.DefaultVCpus) != 2 || cpu.ProcessorInfo.SupportedArchitectures[0] != types.ArchitectureTypeX8664 {
		t.Errorf("m5.large is %+v", cpu)
	}
	_, err = h.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"p9.huge"}})
	wantCode(t, err, "InvalidInstanceType")
	one, err := h.ec2.DescribeInstanceTypes(t.Context(), &ec2.DescribeInstanceTypesInput{Filters: []types.Filter{{Name: aws.String("instance-type"), Values: []string{"g5.xlarge"}}}})
	if err != nil || len(one.InstanceTypes) != 1 {
		t.Errorf("filtered %+v, %v, want one type", one, err)
	}
}

func TestDescribeLaunchTemplateVersions(t *testing.T) {
	h := start(t)
	out, err := h.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: h.group(gpuGroup).LaunchTemplate.LaunchTemplateId, Versions: []string{"$Default"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.LaunchTemplateVersions) != 1 {
		t.Fatalf("got %d versions, want 1", len(out.LaunchTemplateVersions))
	}
	v := out.LaunchTemplateVersions[0]
	if v.LaunchTemplateData.InstanceType != "g5.xlarge" || aws.ToInt64(v.VersionNumber) != 1 || aws.ToString(v.LaunchTemplateName) != gpuGroup || aws.ToString(v.LaunchTemplateData.ImageId) == "" {
		t.Errorf("version %+v", v)
	}
	_, err = h.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: aws.String("lt-none")})
	wantCode(t, err, "InvalidLaunchTemplateId.NotFound")
}
