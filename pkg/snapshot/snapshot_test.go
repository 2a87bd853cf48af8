package snapshot_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestFreeIsWhatNobodyHolds(t *testing.T) {
	n := &snapshot.Node{
		Allocatable: snapshot.Resources{MilliCPU: 4000, Memory: 8 << 30, MilliGPU: 1000}, MaxPods: 3,
		Pods: []*snapshot.Pod{
			{Request: snapshot.Resources{MilliCPU: 500, Memory: 1 << 30}, Resident: true},
			{Request: snapshot.Resources{MilliCPU: 1000, Memory: 1 << 30, MilliGPU: 1000}, Terminating: true},
		},
	}
	want := snapshot.Resources{MilliCPU: 2500, Memory: 6 << 30}
	if diff := cmp.Diff(want, n.Free()); diff != "" {
		t.Errorf("daemons and pods that are still leaving hold room (-want +got):\n%s", diff)
	}
	if got := n.FreePods(); got != 1 {
		t.Errorf("a kubelet's places are held too: got %d free", got)
	}
}

func TestLookupsFindByNameOrSayNil(t *testing.T) {
	s := &snapshot.Snapshot{
		Nodes:      []*snapshot.Node{{Name: "a"}, {Name: "b"}},
		Queues:     []*snapshot.Queue{{Name: "q"}},
		NodeGroups: []*snapshot.NodeGroup{{Name: "g"}},
	}
	if s.Node("b") != s.Nodes[1] || s.Queue("q") != s.Queues[0] || s.NodeGroup("g") != s.NodeGroups[0] {
		t.Error("what is there is not found")
	}
	if s.Node("c") != nil || s.Queue("") != nil || s.NodeGroup("q") != nil {
		t.Error("something is found that is not there")
	}
}

func TestCountsAddUpOverGroups(t *testing.T) {
	g := &snapshot.Gang{Groups: []snapshot.Group{{Min: 1}, {Min: 0, Want: 8}, {Min: 4}}}
	if got := g.MinMember(); got != 5 {
		t.Errorf("the minimum of a gang is that of its groups: got %d", got)
	}
	b := &snapshot.Booking{Nodes: []snapshot.BookedNodes{{Count: 2, Instances: []string{"i-1"}}, {Count: 3}}}
	if got := b.Total(); got != 5 {
		t.Errorf("a booking promises the nodes of all its groups: got %d", got)
	}
}
