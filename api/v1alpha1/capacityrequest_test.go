package v1alpha1

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

func TestCapacityRequestRoundTrip(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	want := &CapacityRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: "capmgr.io/v1alpha1", Kind: "CapacityRequest"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "raycluster-1"},
		Spec: CapacityRequestSpec{
			Gang:  GangReference{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "raycluster", UID: "u-1"},
			Queue: "team-a", Attempt: 1,
			Nodes:      []NodeRequest{{NodeGroup: "g5-xlarge-a", Count: 2, Zone: "us-east-1a", ClientToken: "abc"}},
			HourlyCost: (2 * 1_006_000 * MicroDollar).String(),
		},
		Status: CapacityRequestStatus{
			ObservedGeneration: 1,
			Conditions: []metav1.Condition{{
				Type: ConditionReady, Status: metav1.ConditionFalse, Reason: ReasonLaunched,
				LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_000, 0)),
			}},
			Nodes:      []NodeStatus{{NodeGroup: "g5-xlarge-a", Instances: []string{"i-1", "i-2"}}},
			ReadyNodes: 1, TotalNodes: 2, Summary: "g5-xlarge-a",
		},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, want.DeepCopy()); diff != "" {
		t.Errorf("the copy differs:\n%s", diff)
	}
}

func TestSpecForPeople(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes []NodeRequest
		total int32
		names string
	}{
		"None":   {},
		"One":    {nodes: []NodeRequest{{NodeGroup: "a", Count: 3}}, total: 3, names: "a"},
		"Sorted": {nodes: []NodeRequest{{NodeGroup: "b", Count: 1}, {NodeGroup: "a", Count: 2}}, total: 3, names: "a,b"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := CapacityRequestSpec{Nodes: tc.nodes}
			if got := spec.TotalNodes(); got != tc.total {
				t.Errorf("total %d, want %d", got, tc.total)
			}
			if got := spec.GroupNames(); got != tc.names {
				t.Errorf("names %q, want %q", got, tc.names)
			}
		})
	}
}

func TestReasonsAreValid(t *testing.T) {
	reasons := CapacityRequestReasons()
	for i, reason := range reasons {
		if !regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(reason) {
			t.Errorf("%q is no reason for a condition", reason)
		}
		if slices.Index(reasons, reason) != i {
			t.Errorf("%s is listed twice", reason)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"idleAfter", "maxNodes", "minNodes"}
	for in, want := range map[string]string{
		"maxNode": "maxNodes", "MAXNODES": "maxNodes", "idleafter": "idleAfter", "idle_after": "idleAfter",
		"": "", "x": "", "provider": "",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", in, got, want)
		}
	}
}
