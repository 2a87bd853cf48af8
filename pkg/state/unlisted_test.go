package state_test

import (
	"testing"
	"time"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// What a purchase that is over brought counts until the cloud lists it, and not again once it has
// been listed and is gone: a gang would wait for nodes that were given back.
func TestInstancesThatWereListedAndAreGoneDoNotCome(t *testing.T) {
	m := newMirror()
	m.AssumeRequest(request("x", "g5-a", 1, ago(30*time.Second), came("g5-a", "i-1"),
		is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(30*time.Second)),
		is(v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, ago(20*time.Second))))
	members := func() int { return len(m.Snapshot(noon).NodeGroup("g5-a").Instances) }
	if got := members(); got != 1 {
		t.Errorf("launched half a minute ago and not listed yet: %d instances, want 1", got)
	}
	m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a", cloud.Instance{ID: "i-1", InService: true})})
	if got := members(); got != 1 {
		t.Errorf("listed: %d instances, want 1", got)
	}
	m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a")})
	if got := members(); got != 0 {
		t.Errorf("listed before, and gone: %d instances, want 0", got)
	}
}

// A purchase that ends because one of its machines was lost leaves the others in the group.
func TestInstancesOfAPurchaseThatLostOneCount(t *testing.T) {
	m := newMirror()
	m.AssumeRequest(request("x", "g5-a", 2, ago(30*time.Second), came("g5-a", "i-1", "i-2"),
		is(v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, ago(30*time.Second)),
		is(v1alpha1.ConditionFailed, v1alpha1.ReasonNodeLost, ago(20*time.Second)),
		is(v1alpha1.ConditionReleased, v1alpha1.ReasonNodeLost, ago(20*time.Second))))
	if got := len(m.Snapshot(noon).NodeGroup("g5-a").Instances); got != 2 {
		t.Errorf("launched half a minute ago and not listed yet: %d instances, want 2", got)
	}
}

// What a purchase that fell short brought costs until it is gone: the next rung is bought at the same moment.
func TestInstancesThatAreBeingReturnedCount(t *testing.T) {
	m := newMirror()
	r := request("x", "g5-a", 2, ago(30*time.Second), came("g5-a", "i-1"), is(v1alpha1.ConditionFailed, v1alpha1.ReasonPartialFill, ago(time.Second)))
	m.AssumeRequest(r)
	for _, listed := range []bool{false, true} {
		if listed {
			m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a", cloud.Instance{ID: "i-1", InService: true})})
		}
		got := m.Snapshot(noon).NodeGroup("g5-a").Instances
		if len(got) != 1 || got[0].State != snapshot.InstanceReturning || !got[0].Leaves() {
			t.Errorf("listed %v: %+v", listed, got)
		}
	}
	is(v1alpha1.ConditionReleased, v1alpha1.ReasonNodesReturned, noon)(r)
	m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a")})
	if got := m.Snapshot(noon).NodeGroup("g5-a").Instances; len(got) != 0 {
		t.Errorf("returned: %+v", got)
	}
}
