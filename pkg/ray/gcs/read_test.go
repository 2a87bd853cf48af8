package gcs

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

var update = flag.Bool("update", false, "write what the vectors are read as")

// TestVectors reads what real Rays said; make test-ray records them.
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.binpb")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) {
			wire, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var reply autoscalerpb.GetClusterStatusReply
			if err := proto.Unmarshal(wire, &reply); err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(Read(&reply), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, "binpb") + "json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("read otherwise than before (-want +got):\n%s", diff)
			}
		})
	}
}

func bundle(resources map[string]float64, constraints ...*autoscalerpb.PlacementConstraint) *autoscalerpb.ResourceRequest {
	return &autoscalerpb.ResourceRequest{ResourcesBundle: resources, PlacementConstraints: constraints}
}

func gpu(n int64) demand.Shape {
	return demand.Shape{Resources: snapshot.Resources{MilliGPU: 1000 * n}}
}

func TestGangs(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123"
	apart := &autoscalerpb.PlacementConstraint{AntiAffinity: &autoscalerpb.AntiAffinityConstraint{LabelName: "_PG_" + id}}
	together := &autoscalerpb.PlacementConstraint{Affinity: &autoscalerpb.AffinityConstraint{LabelName: "_PG_" + id}}
	one := func(c ...*autoscalerpb.PlacementConstraint) []*autoscalerpb.ResourceRequest {
		return []*autoscalerpb.ResourceRequest{bundle(map[string]float64{"GPU": 1}, c...), bundle(map[string]float64{"GPU": 1}, c...)}
	}
	selector := func(r ...*autoscalerpb.ResourceRequest) *autoscalerpb.BundleSelector {
		return &autoscalerpb.BundleSelector{ResourceRequests: r}
	}
	pair := []demand.Shape{gpu(1), gpu(1)}
	cases := map[string]struct {
		in   *autoscalerpb.GangResourceRequest
		want []demand.Gang
	}{
		"Older":       {&autoscalerpb.GangResourceRequest{Requests: one()}, []demand.Gang{{Bundles: pair}}},
		"Newer":       {&autoscalerpb.GangResourceRequest{BundleSelectors: []*autoscalerpb.BundleSelector{selector(one()...)}}, []demand.Gang{{Bundles: pair}}},
		"ListedTwice": {&autoscalerpb.GangResourceRequest{Requests: one(), BundleSelectors: []*autoscalerpb.BundleSelector{selector(one()...)}}, []demand.Gang{{Bundles: pair}}},
		"Fallbacks": {
			&autoscalerpb.GangResourceRequest{BundleSelectors: []*autoscalerpb.BundleSelector{selector(one()...), selector(bundle(map[string]float64{"CPU": 9}))}},
			[]demand.Gang{{Bundles: pair}},
		},
		"EmptySelector": {&autoscalerpb.GangResourceRequest{Requests: one(), BundleSelectors: []*autoscalerpb.BundleSelector{selector()}}, []demand.Gang{{Bundles: pair}}},
		"Empty":         {&autoscalerpb.GangResourceRequest{Details: "placed already"}, nil},
		"Spread":        {&autoscalerpb.GangResourceRequest{Requests: one(apart)}, []demand.Gang{{ID: id, Bundles: pair, Spread: true}}},
		"Together":      {&autoscalerpb.GangResourceRequest{Requests: one(together)}, []demand.Gang{{ID: id, Bundles: pair, Together: true}}},
		"IDInDetails":   {&autoscalerpb.GangResourceRequest{Requests: one(), Details: id + ":PACK|PENDING"}, []demand.Gang{{ID: id, Bundles: pair}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := Read(&autoscalerpb.GetClusterStatusReply{ClusterResourceState: &autoscalerpb.ClusterResourceState{
				PendingGangResourceRequests: []*autoscalerpb.GangResourceRequest{c.in},
			}})
			if diff := cmp.Diff(c.want, got.Gangs); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestShapes(t *testing.T) {
	const hex = "0123456789abcdef0123456789abcdef0123"
	cases := map[string]struct {
		in   map[string]float64
		want []demand.Loose
	}{
		"Fractions":   {map[string]float64{"GPU": 0.3, "CPU": 0.0001}, []demand.Loose{{Shape: demand.Shape{Resources: snapshot.Resources{MilliGPU: 300, MilliCPU: 1}}, Count: 2}}},
		"Bytes":       {map[string]float64{"memory": 4096, "object_store_memory": 1e9}, []demand.Loose{{Shape: demand.Shape{Resources: snapshot.Resources{Memory: 4096}}, Count: 2}}},
		"Model":       {map[string]float64{"GPU": 1, "accelerator_type:A10G": 0.001}, []demand.Loose{{Shape: demand.Shape{Resources: gpu(1).Resources, Accelerator: "A10G"}, Count: 2}}},
		"OwnNode":     {map[string]float64{"GPU": 1, "node:10.0.0.7": 0.001}, []demand.Loose{{Shape: gpu(1), Count: 2}}},
		"InsideGroup": {map[string]float64{"GPU": 1, "GPU_group_0_" + hex: 1}, nil},
		"Wildcard":    {map[string]float64{"CPU_group_" + hex: 1, "bundle_group_" + hex: 0.001}, nil},
		"UsersOwn":    {map[string]float64{"my_group_of_five": 1}, []demand.Loose{{Shape: demand.Shape{Custom: []demand.Custom{{Name: "my_group_of_five", Milli: 1000}}}, Count: 2}}},
		"Absurd":      {map[string]float64{"GPU": 1, "a": math.NaN(), "b": -1}, []demand.Loose{{Shape: gpu(1), Count: 2}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			// The same shape in two rows is one.
			row := &autoscalerpb.ResourceRequestByCount{Request: bundle(c.in), Count: 1}
			got := Read(&autoscalerpb.GetClusterStatusReply{ClusterResourceState: &autoscalerpb.ClusterResourceState{
				PendingResourceRequests: []*autoscalerpb.ResourceRequestByCount{row, row, {Request: bundle(c.in), Count: -1}},
			}})
			if diff := cmp.Diff(c.want, got.Loose); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Ray keeps the values of a selector in a set: two tasks that ask for the same are listed in two ways.
func TestSelectorsOfOneMeaningAreOne(t *testing.T) {
	row := func(values ...string) *autoscalerpb.ResourceRequestByCount {
		r := bundle(map[string]float64{"CPU": 1})
		r.LabelSelectors = []*autoscalerpb.LabelSelector{{LabelConstraints: []*autoscalerpb.LabelSelectorConstraint{{
			LabelKey: "zone", Operator: autoscalerpb.LabelSelectorOperator_LABEL_OPERATOR_IN, LabelValues: values}}}}
		return &autoscalerpb.ResourceRequestByCount{Request: r, Count: 1}
	}
	got := Read(&autoscalerpb.GetClusterStatusReply{ClusterResourceState: &autoscalerpb.ClusterResourceState{
		PendingResourceRequests: []*autoscalerpb.ResourceRequestByCount{row("a", "b"), row("b", "a")},
	}})
	want := []demand.Loose{{Count: 2, Shape: demand.Shape{
		Resources: snapshot.Resources{MilliCPU: 1000}, Selector: []demand.Selector{{Key: "zone", Values: []string{"a", "b"}}}}}}
	if diff := cmp.Diff(want, got.Loose); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDeadNodesAreLeftOut(t *testing.T) {
	node := func(pod string, s autoscalerpb.NodeStatus) *autoscalerpb.NodeState {
		return &autoscalerpb.NodeState{NodeId: bytes.Repeat([]byte{1}, nodeIDLength), InstanceId: pod, Status: s}
	}
	got := Read(&autoscalerpb.GetClusterStatusReply{ClusterResourceState: &autoscalerpb.ClusterResourceState{NodeStates: []*autoscalerpb.NodeState{
		node("d", autoscalerpb.NodeStatus_DEAD), node("c", 99), node("b", autoscalerpb.NodeStatus_DRAINING), node("a", autoscalerpb.NodeStatus_IDLE),
	}}})
	var seen []string
	for _, n := range got.Nodes {
		seen = append(seen, n.Pod+" "+string(n.Status))
	}
	if diff := cmp.Diff([]string{"a Idle", "b Draining", "c Unknown"}, seen); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzRead holds that no head can make the reader fall over.
func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.binpb")
	for _, file := range files {
		wire, _ := os.ReadFile(file)
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var reply autoscalerpb.GetClusterStatusReply
		if proto.Unmarshal(wire, &reply) != nil {
			return
		}
		for _, l := range Read(&reply).Loose {
			if l.Count <= 0 || l.Shape.Shortfall() {
				t.Errorf("read as %+v", l)
			}
		}
	})
}
