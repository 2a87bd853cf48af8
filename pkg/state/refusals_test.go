package state_test

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// refused says what the cloud answered for g5.xlarge in us-east-1a, and ends the purchase.
func refused(group, reason string, at time.Time) func(*v1alpha1.CapacityRequest) {
	return func(r *v1alpha1.CapacityRequest) {
		r.Status.Nodes = append(r.Status.Nodes, v1alpha1.NodeStatus{NodeGroup: group, Refusal: &v1alpha1.Refusal{
			Reason: reason, InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: "on-demand", At: metav1.NewTime(at)}})
		is(v1alpha1.ConditionFailed, reason, at)(r)
	}
}

func TestFailureMemory(t *testing.T) {
	const ice, quota, rejected = v1alpha1.ReasonInsufficientCapacity, v1alpha1.ReasonQuotaExceeded, v1alpha1.ReasonProviderRefused
	type blocked map[string]time.Duration // by group: for how long after noon
	cases := map[string]struct {
		reason string
		mirror func(*state.Mirror)
		want   blocked
	}{
		"InsufficientCapacity": {
			"three minutes, for every group of the type, zone and capacity type, and for no other",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(time.Minute), refused("g5-a", ice, noon)))
			},
			blocked{"g5-a": 3 * time.Minute, "g5-a2": 3 * time.Minute},
		},
		"Over": {
			"capacity comes and goes in minutes",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(4*time.Minute), refused("g5-a", ice, ago(3*time.Minute))))
			},
			nil,
		},
		"Repeated": {
			"tried again after the memory ended, and refused again: twice as long",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(5*time.Minute), refused("g5-a", ice, ago(5*time.Minute))))
				m.AssumeRequest(request("y", "g5-a2", 2, ago(time.Minute), refused("g5-a2", ice, noon)))
			},
			blocked{"g5-a": 6 * time.Minute, "g5-a2": 6 * time.Minute},
		},
		"AskedTogether": {
			"two gangs asked before either was refused: one lack of capacity, not two",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(time.Minute), refused("g5-a", ice, ago(time.Second))))
				m.AssumeRequest(request("y", "g5-a", 2, ago(time.Minute), refused("g5-a", ice, noon)))
			},
			blocked{"g5-a": 3 * time.Minute, "g5-a2": 3 * time.Minute},
		},
		"DeliveredSince": {
			"another group of the market delivered: it is forgotten",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(2*time.Minute), refused("g5-a", ice, ago(2*time.Minute))))
				m.AssumeRequest(request("y", "g5-a2", 1, ago(time.Minute), is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(time.Second))))
			},
			nil,
		},
		"Quota": {
			"people change quotas, and other zones have the same",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(time.Minute), refused("g5-a", quota, noon)))
			},
			blocked{"g5-a": 15 * time.Minute, "g5-a2": 15 * time.Minute, "g5-b": 15 * time.Minute},
		},
		"Rejected": {
			"a bad launch template is the group's own; its neighbours of the same type are sound",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(time.Minute), refused("g5-a", rejected, noon)))
			},
			blocked{"g5-a": 15 * time.Minute},
		},
		"SpotInterruption": {
			"a node that was taken away says nothing of what can be bought",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "g5-a", 2, ago(time.Minute), came("g5-a", "i-1", "i-2"),
					is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(30*time.Second)), is(v1alpha1.ConditionFailed, v1alpha1.ReasonNodeLost, noon)))
			},
			nil,
		},
		"OwnerDeleted": {
			"the RayCluster went, the lack of capacity did not",
			func(m *state.Mirror) {
				r := request("x", "g5-a", 2, ago(time.Minute), refused("g5-a", ice, noon))
				m.AssumeRequest(r)
				m.CapacityRequests().OnDelete(r)
			},
			blocked{"g5-a": 3 * time.Minute, "g5-a2": 3 * time.Minute},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			tc.mirror(m)
			for _, g := range m.Snapshot(noon).NodeGroups {
				got := time.Duration(0)
				if !g.BlockedUntil.IsZero() {
					got = g.BlockedUntil.Sub(noon)
				}
				if got != tc.want[g.Name] {
					t.Errorf("%s: %s is blocked for %s (%s), want %s", tc.reason, g.Name, got, g.BlockedBecause, tc.want[g.Name])
				}
			}
		})
	}
}

func TestFailureMemoryGrowsToAMost(t *testing.T) {
	m := newMirror()
	at := ago(2 * time.Hour)
	var g *snapshot.NodeGroup
	var wait time.Duration
	for k := range 8 {
		name := string(rune('a' + k))
		m.AssumeRequest(request(name, "g5-a", 1, at, refused("g5-a", v1alpha1.ReasonInsufficientCapacity, at)))
		g = m.Snapshot(at).NodeGroup("g5-a")
		wait, at = g.BlockedUntil.Sub(at), g.BlockedUntil.Add(time.Second)
	}
	if wait != 30*time.Minute {
		t.Errorf("after 8 refusals in a row the market is left alone for %s", wait)
	}
	if want := "the cloud refused: insufficient capacity for on-demand g5.xlarge in us-east-1a, 8 times in a row"; g.BlockedBecause != want {
		t.Errorf("got %q, want %q", g.BlockedBecause, want)
	}
}

func TestASharedGroupIsRefusedWithItsReason(t *testing.T) {
	m := newMirror()
	m.SetGroups([]cloud.Group{{Name: "g5-a", Err: cloud.ErrRejected}})
	if g := m.Snapshot(noon).NodeGroup("g5-a"); g.Unknown == "" || g.Template != nil {
		t.Errorf("a group that must not be used is offered: %+v", g)
	}
}
