package state_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// took says how long the nodes of a purchase needed.
func took(group string, d time.Duration) func(*v1alpha1.CapacityRequest) {
	return func(r *v1alpha1.CapacityRequest) {
		r.Status.Nodes = append(r.Status.Nodes, v1alpha1.NodeStatus{NodeGroup: group, BootTime: &metav1.Duration{Duration: d}})
	}
}

func TestBootTimesAreLearned(t *testing.T) {
	purchase := func(m *state.Mirror, name string, age, boot time.Duration) *v1alpha1.CapacityRequest {
		r := request(name, "g5-a", 1, ago(age), took("g5-a", boot))
		m.AssumeRequest(r)
		return r
	}
	cases := map[string]struct {
		reason string
		mirror func(*state.Mirror)
		want   time.Duration
		boots  int
	}{
		"NothingKnown": {"the configuration's word until there is a better one", func(*state.Mirror) {}, 4 * time.Minute, 0},
		"One":          {"one boot is better than a guess", func(m *state.Mirror) { purchase(m, "x", time.Hour, 2*time.Minute) }, 2 * time.Minute, 1},
		"OneSlowPull": {
			"the median passes over it",
			func(m *state.Mirror) {
				purchase(m, "x", 3*time.Hour, 3*time.Minute)
				purchase(m, "y", 2*time.Hour, 14*time.Minute)
				purchase(m, "z", time.Hour, 3*time.Minute)
			},
			3 * time.Minute, 3,
		},
		"ANewImage": {
			"the last five count: a group that became slower is known to be after three",
			func(m *state.Mirror) {
				for k := range 9 {
					purchase(m, string(rune('a'+k)), time.Duration(20-k)*time.Hour, 2*time.Minute)
				}
				for k := range 3 {
					purchase(m, string(rune('x'+k)), time.Duration(5-k)*time.Hour, 6*time.Minute)
				}
			},
			6 * time.Minute, 5,
		},
		"OwnersDeleted": {
			"what was learned stays when the requests go",
			func(m *state.Mirror) {
				r := purchase(m, "x", 5*time.Hour, 2*time.Minute)
				m.Snapshot(ago(time.Hour))
				m.CapacityRequests().OnDelete(r)
				m.Snapshot(ago(time.Minute))
			},
			2 * time.Minute, 1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			tc.mirror(m)
			if g := m.Snapshot(noon).NodeGroup("g5-a"); g.ExpectedBootTime != tc.want || g.BootsLearned != tc.boots {
				t.Errorf("%s: %s from %d boots, want %s from %d", tc.reason, g.ExpectedBootTime, g.BootsLearned, tc.want, tc.boots)
			}
			if g := m.Snapshot(noon).NodeGroup("g5-b"); g.BootsLearned != 0 {
				t.Errorf("%s: another group learned from it", tc.reason)
			}
		})
	}
}

// machine is a node of g5-a, with or without its GPU advertised.
func machine(name string, gpu bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: "aws:///us-east-1a/i-" + name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("14Gi"),
		corev1.ResourcePods: resource.MustParse("110")}
	if gpu {
		n.Status.Allocatable[v1alpha1.GPUResource] = resource.MustParse("1")
	}
	return n
}

func TestABootEndsWhenTheGPUsAreAdvertised(t *testing.T) {
	m := newMirror()
	m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a", cloud.Instance{ID: "i-a", ProviderID: "aws:///us-east-1a/i-a", Launched: noon})})
	at := func(d time.Duration, n *corev1.Node) *snapshot.Node {
		m.Nodes().OnAdd(n, false)
		return m.Snapshot(noon.Add(d)).Node("a")
	}
	if n := at(2*time.Minute, machine("a", false)); !n.UsableSince.IsZero() {
		t.Error("incident gpu-late-advertise: Ready without its GPU is not usable")
	}
	if n := at(3*time.Minute, machine("a", true)); !n.UsableSince.Equal(noon.Add(3 * time.Minute)) {
		t.Errorf("usable since %s", n.UsableSince)
	}
	at(4*time.Minute, machine("a", false))
	if n := at(5*time.Minute, machine("a", true)); !n.UsableSince.Equal(noon.Add(3 * time.Minute)) {
		t.Errorf("a GPU that was away for a while made another boot: usable since %s", n.UsableSince)
	}
}

func TestABootThatNobodyWatchedTeachesNothing(t *testing.T) {
	m := newMirror()
	m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a", cloud.Instance{ID: "i-a", ProviderID: "aws:///us-east-1a/i-a", Launched: ago(time.Hour)})})
	m.Nodes().OnAdd(machine("a", true), true)
	if n := m.Snapshot(noon).Node("a"); !n.UsableSince.IsZero() {
		t.Errorf("a node that was there when the manager started passes for a boot of an hour: %s", n.UsableSince)
	}
}
