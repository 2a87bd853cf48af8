package main

import (
	"strings"
	"testing"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// aGroup is a refused group with a member in every state.
func aGroup() (*snapshot.Snapshot, *snapshot.NodeGroup) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	g := &snapshot.NodeGroup{Name: "g5", Provider: "aws", InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: "on-demand", Min: 1, Max: 16,
		Price: 1_006_000, IdleAfter: 5 * time.Minute, ExpectedBootTime: 3 * time.Minute, BootsLearned: 5,
		BlockedUntil: noon.Add(90 * time.Second), BlockedBecause: "the cloud refused: insufficient capacity for on-demand g5.xlarge in us-east-1a",
		Instances: []snapshot.Instance{
			{ID: "i-1", Node: "n1", Launched: noon.Add(-time.Hour)},
			{ID: "i-2", Launched: noon.Add(-time.Minute)},
			{ID: "i-3", State: snapshot.InstanceTerminating, Launched: noon.Add(-time.Hour)},
			{ID: "i-4", Launched: noon.Add(-time.Minute), Orphan: "ml/gone"},
		}}
	return &snapshot.Snapshot{Now: noon, NodeGroups: []*snapshot.NodeGroup{g},
		Nodes: []*snapshot.Node{{Name: "n1", Usable: true, Pods: []*snapshot.Pod{
			{Gang: "ml/RayCluster/train/u"}, {Gang: "ml/RayCluster/train/u"}, {Resident: true, Namespace: "kube-system", Name: "proxy"}}}},
		Bookings: []*snapshot.Booking{{Gang: "ml/RayCluster/next/v", Created: noon.Add(-30 * time.Second),
			Nodes: []snapshot.BookedNodes{{Group: "g5", Count: 3, Instances: []string{"i-2"}}}}}}, g
}

func TestExplainNodeGroup(t *testing.T) {
	cases := map[string]struct {
		reason string
		change func(*snapshot.NodeGroup)
		want   []string
	}{
		"Refused": {"all that a decision knows of the group", func(*snapshot.NodeGroup) {}, []string{
			"nodegroup/g5: aws on-demand g5.xlarge in us-east-1a\n",
			"1 usable, 2 coming, 1 leaving; at least 1, at most 16.",
			"$1.006/h each, $3.018/h now.",
			"3m0s from launch to usable, the median of the last 5 purchases.",
			"insufficient capacity for on-demand g5.xlarge in us-east-1a; tried again at 12:01:30 UTC, in 1m30s.",
			"raycluster/ml/train", "bought for raycluster/ml/next", "nobody: launched for ml/gone, which is gone",
		}},
		"Delegated": {"another autoscaler makes and removes the nodes, and does not say of what kind they are bought", func(g *snapshot.NodeGroup) {
			g.Provider, g.Delegated, g.CapacityType, g.InstanceType, g.Zone, g.Min = "signal", true, "", "", "", 0
		}, []string{"nodegroup/g5: signal\n", "the autoscaler that made a node removes it.", "2 more asked for 30s ago for raycluster/ml/next"}},
		"Shared": {"a group that Cluster Autoscaler sizes is refused, and says so", func(g *snapshot.NodeGroup) {
			g.Unknown = `rejected: auto scaling group "g5" is tagged k8s.io/cluster-autoscaler/enabled: remove the tag, or allow sharing it for this group`
		}, []string{"Not used", "is tagged k8s.io/cluster-autoscaler/enabled"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, g := aGroup()
			tc.change(g)
			var out strings.Builder
			if err := explainNodeGroup(&out, s, "g5"); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s: no %q in\n%s", tc.reason, want, out.String())
				}
			}
		})
	}
}

func TestExplainAGroupThatThereIsNot(t *testing.T) {
	s, _ := aGroup()
	if err := explainNodeGroup(&strings.Builder{}, s, "g6"); err == nil || !strings.Contains(err.Error(), "there is g5") {
		t.Errorf("an unknown group: %v", err)
	}
}
