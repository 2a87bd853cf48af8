package state_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// ago is a time before noon.
func ago(d time.Duration) time.Time { return noon.Add(-d) }

// configuration is two groups of one market, and one of another.
func configuration() *v1alpha1.Config {
	sixteen := int32(16)
	c := &v1alpha1.Config{}
	for _, name := range []string{"g5-a", "g5-a2", "g5-b"} {
		c.NodeGroups = append(c.NodeGroups, v1alpha1.NodeGroup{Name: name, Provider: v1alpha1.ProviderAWS,
			AWS: &v1alpha1.AWSNodeGroup{AutoScalingGroup: name}, MaxNodes: &sixteen})
	}
	v1alpha1.SetDefaults(c)
	return c
}

// market is a group as the cloud tells it.
func market(name, zone string, instances ...cloud.Instance) cloud.Group {
	return cloud.Group{Name: name, InstanceType: "g5.xlarge", Zone: zone, CapacityType: "on-demand", Max: 16, PricePerHour: 1.006,
		Shape: cloud.Shape{MilliCPU: 3920, Memory: 14 << 30, GPUs: 1, Pods: 110}, Instances: instances}
}

func newMirror() *state.Mirror {
	m := state.New(configuration())
	m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a"), market("g5-a2", "us-east-1a"), market("g5-b", "us-east-1b")})
	return m
}

// request is a purchase of count nodes of a group.
func request(name, group string, count int32, at time.Time, change ...func(*v1alpha1.CapacityRequest)) *v1alpha1.CapacityRequest {
	r := &v1alpha1.CapacityRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(at)},
		Spec: v1alpha1.CapacityRequestSpec{
			Gang:  v1alpha1.GangReference{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "train", UID: "train"},
			Queue: "team-a", Attempt: 1, Nodes: []v1alpha1.NodeRequest{{NodeGroup: group, Count: count, ClientToken: name}}}}
	for _, f := range change {
		f(r)
	}
	return r
}

// is adds a condition that is true since a time.
func is(condition, reason string, at time.Time) func(*v1alpha1.CapacityRequest) {
	return func(r *v1alpha1.CapacityRequest) {
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{
			Type: condition, Status: metav1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(at)})
	}
}

// came says which instances a purchase brought.
func came(group string, ids ...string) func(*v1alpha1.CapacityRequest) {
	return func(r *v1alpha1.CapacityRequest) {
		r.Status.Nodes = append(r.Status.Nodes, v1alpha1.NodeStatus{NodeGroup: group, Instances: ids})
	}
}

func TestGrowthIsReadFromCapacityRequests(t *testing.T) {
	cases := map[string]struct {
		reason string
		mirror func(*state.Mirror)
		want   []snapshot.Growth
	}{
		"Open": {
			"a purchase whose answer is awaited counts in full",
			func(m *state.Mirror) { m.AssumeRequest(request("x", "g5-a", 3, ago(time.Minute))) },
			[]snapshot.Growth{{At: ago(59 * time.Second), Nodes: 3}},
		},
		"OpenForLong": {
			"the cloud has not answered for an hour, and may launch at any moment",
			func(m *state.Mirror) { m.AssumeRequest(request("x", "g5-a", 3, ago(2*time.Hour))) },
			[]snapshot.Growth{{At: ago(time.Hour - time.Second), Nodes: 3}},
		},
		"Slow": {
			"what counts is when the nodes were launched",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 3, ago(61*time.Minute), is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(50*time.Minute))))
			},
			[]snapshot.Growth{{At: ago(50*time.Minute - time.Second), Nodes: 3}},
		},
		"Old": {
			"an hour has passed",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 3, ago(61*time.Minute), is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(61*time.Minute))))
			},
			nil,
		},
		"Refused": {
			"nothing was bought, so nothing grew: a cloud without capacity must not use up the hour",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 3, ago(time.Minute), is(v1alpha1.ConditionFailed, v1alpha1.ReasonInsufficientCapacity, noon)))
			},
			nil,
		},
		"PartialFill": {
			"what came was bought, though it was given back; it came when the purchase was given up, at the latest",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 3, ago(time.Minute), came("g5-a", "i-1", "i-2"),
					is(v1alpha1.ConditionFailed, v1alpha1.ReasonPartialFill, ago(30*time.Second))))
			},
			[]snapshot.Growth{{At: ago(29 * time.Second), Nodes: 2}},
		},
		"NeverUsable": {
			"incident never-fits: nodes that came and served nobody are what the limit is for",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 3, ago(31*time.Minute), came("g5-a", "i-1", "i-2", "i-3"),
					is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(30*time.Minute)),
					is(v1alpha1.ConditionFailed, v1alpha1.ReasonNodeDidNotFit, ago(20*time.Minute))))
			},
			[]snapshot.Growth{{At: ago(30*time.Minute - time.Second), Nodes: 3}},
		},
		"OwnerDeleted": {
			"the request went with its RayCluster; the nodes were bought all the same",
			func(m *state.Mirror) {
				r := request("x", "g5-a", 3, ago(time.Minute))
				m.AssumeRequest(r)
				m.CapacityRequests().OnDelete(r)
			},
			[]snapshot.Growth{{At: ago(59 * time.Second), Nodes: 3}},
		},
		"OwnerDeletedBeforeTheRestart": {
			"the tag on the machine remembers",
			func(m *state.Mirror) {
				m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a",
					cloud.Instance{ID: "i-1", Launched: ago(5 * time.Minute), Intent: "default/gone"},
					cloud.Instance{ID: "i-2", Launched: ago(5 * time.Minute)})})
			},
			[]snapshot.Growth{{At: ago(5 * time.Minute), Nodes: 1}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			tc.mirror(m)
			if diff := cmp.Diff(tc.want, m.Snapshot(noon).Grown); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
