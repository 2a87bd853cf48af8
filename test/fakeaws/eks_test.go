package fakeaws

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestDescribeCluster(t *testing.T) {
	h := start(t, func(c *Config) { c.ClusterEndpoint = "https://127.0.0.1:6443" })
	out, err := h.eks.DescribeCluster(t.Context(), clusterInput("ray"))
	if err != nil {
		t.Fatal(err)
	}
	if c := out.Cluster; aws.ToString(c.Name) != "ray" || c.Status != types.ClusterStatusActive || aws.ToString(c.Endpoint) != "https://127.0.0.1:6443" || aws.ToString(c.Version) == "" {
		t.Errorf("cluster %+v", c)
	}
	_, err = h.eks.DescribeCluster(t.Context(), clusterInput("other"))
	wantCode(t, err, "ResourceNotFoundException")
	var typed *types.ResourceNotFoundException
	if !errors.As(err, &typed) {
		t.Errorf("error %T, want the typed one", err)
	}
}

func TestNodegroups(t *testing.T) {
	h := start(t, func(c *Config) {
		c.Groups[2].Labels = map[string]string{"pool": "spot"}
		c.Groups[2].Taints = []corev1.Taint{{Key: "spot", Value: "yes", Effect: corev1.TaintEffectPreferNoSchedule}}
		c.Groups[2].Tags = map[string]string{"owner": "one"}
		c.Groups[2].Desired = 1
	})
	pages, names := eks.NewListNodegroupsPaginator(h.eks, &eks.ListNodegroupsInput{ClusterName: aws.String("ray"), MaxResults: aws.Int32(1)}), [][]string{}
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, out.Nodegroups)
	}
	if diff := cmp.Diff([][]string{{"cpu-nodes"}, {"spot-nodes"}}, names); diff != "" {
		t.Errorf("node groups (-want +got):\n%s", diff)
	}
	out, err := h.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: aws.String("ray"), NodegroupName: aws.String("spot-nodes")})
	if err != nil {
		t.Fatal(err)
	}
	n := out.Nodegroup
	if aws.ToString(n.NodegroupName) != "spot-nodes" || n.Status != types.NodegroupStatusActive || n.CapacityType != types.CapacityTypesSpot ||
		len(n.InstanceTypes) != 1 || n.InstanceTypes[0] != "g5.12xlarge" || !aws.ToTime(n.CreatedAt).Equal(epoch) {
		t.Errorf("node group %+v", n)
	}
	size := n.ScalingConfig
	if got := [3]int32{aws.ToInt32(size.MinSize), aws.ToInt32(size.DesiredSize), aws.ToInt32(size.MaxSize)}; got != [3]int32{0, 1, 4} {
		t.Errorf("size is %v", got)
	}
	if diff := cmp.Diff(map[string]string{"pool": "spot"}, n.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"owner": "one"}, n.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if len(n.Taints) != 1 || aws.ToString(n.Taints[0].Key) != "spot" || n.Taints[0].Effect != types.TaintEffectPreferNoSchedule {
		t.Errorf("taints %+v", n.Taints)
	}
	if len(n.Resources.AutoScalingGroups) != 1 || aws.ToString(n.Resources.AutoScalingGroups[0].Name) != "spot" {
		t.Errorf("resources %+v", n.Resources)
	}
	_, err = h.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: aws.String("ray"), NodegroupName: aws.String("none")})
	wantCode(t, err, "ResourceNotFoundException")
	if c := h.calls("DescribeNodegroup"); c[0].Service != "eks" || c[0].Param("nodegroupName") != "spot-nodes" {
		t.Errorf("recorded %+v", c[0])
	}
}
