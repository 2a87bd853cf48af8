package state_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// pool is the label that tells the nodes of group "asked".
const pool = "node-restriction.kubernetes.io/pool"

// delegating is a mirror of one group that another autoscaler grows.
func delegating() *state.Mirror {
	eight := int32(8)
	price := v1alpha1.Dollar
	c := &v1alpha1.Config{NodeGroups: []v1alpha1.NodeGroup{{
		Name: "asked", Provider: v1alpha1.ProviderProvisioningRequest, MaxNodes: &eight, HourlyPrice: &price,
		ProvisioningRequest: &v1alpha1.ProvisioningRequestNodeGroup{NodeSelector: map[string]string{pool: "asked"}},
		Capacity:            &v1alpha1.NodeCapacity{CPU: resource.MustParse("4"), Memory: resource.MustParse("16Gi"), GPUs: 1, Pods: 58},
	}}}
	v1alpha1.SetDefaults(c)
	m := state.New(c)
	m.SetGroups(cloud.Promised([]cloud.GroupConfig{state.GroupConfig(c.NodeGroups[0])}))
	return m
}

// made is a node that another autoscaler made some time ago, with its device or without.
func made(name string, age time.Duration, change ...func(*corev1.Node)) *corev1.Node {
	n := machine(name, true)
	n.Labels = map[string]string{pool: "asked"}
	n.CreationTimestamp = metav1.NewTime(ago(age))
	n.Spec.ProviderID = ""
	for _, f := range change {
		f(n)
	}
	return n
}

func TestNodesOfADelegatedGroupAreToldByLabels(t *testing.T) {
	m := delegating()
	m.Nodes().OnAdd(made("a", time.Minute), true)
	m.Nodes().OnAdd(made("other", time.Minute, func(n *corev1.Node) { n.Labels[pool] = "mine" }), true)
	m.Nodes().OnAdd(made("late", time.Minute, func(n *corev1.Node) { n.Status.Allocatable = nil }), true)
	s := m.Snapshot(noon)
	g := s.NodeGroup("asked")
	if !g.Delegated || g.Max != 8 || g.Unknown != "" || g.Price != 1_000_000 {
		t.Errorf("the group is %+v", g)
	}
	want := snapshot.Resources{MilliCPU: 4000, Memory: 16 << 30, MilliGPU: 1000}
	if g.Template.Allocatable != want || g.Template.Object.Labels[pool] != "asked" {
		t.Errorf("a node to come offers %v and carries %v", g.Template.Allocatable, g.Template.Object.Labels)
	}
	wantInstances := []snapshot.Instance{
		{ID: "a", Node: "a", State: snapshot.InstanceRunning, Launched: ago(time.Minute)},
		{ID: "late", Node: "late", State: snapshot.InstanceRunning, Launched: ago(time.Minute)},
	}
	if diff := cmp.Diff(wantInstances, g.Instances); diff != "" {
		t.Errorf("its instances (-want +got):\n%s", diff)
	}
	if n := s.Node("a"); n.Group != "asked" || n.InstanceID != "a" || !n.Usable {
		t.Errorf("node a is of group %q, usable %v: %s", n.Group, n.Usable, n.NotUsable)
	}
	if n := s.Node("late"); n.Usable {
		t.Error("a node without the device that the configuration promises is usable")
	}
	if n := s.Node("other"); n.Group != "" {
		t.Errorf("a node with another label is of group %q", n.Group)
	}
}

func TestANodeThatAnotherAutoscalerRemovesIsNoCapacity(t *testing.T) {
	for _, key := range []string{"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"} {
		m := delegating()
		m.Nodes().OnAdd(made("a", time.Minute, func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}
		}), true)
		s := m.Snapshot(noon)
		if s.Node("a").Usable || s.NodeGroup("asked").Instances[0].State != snapshot.InstanceTerminating {
			t.Errorf("a node with the taint %s is usable, or stays", key)
		}
	}
}

// busy is a pod of somebody else's on a node.
func busy(node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "on-" + node, UID: types.UID("on-" + node)},
		Spec: corev1.PodSpec{NodeName: node}}
}

func TestNodesBelongToTheOldestPurchaseThatLacksOne(t *testing.T) {
	const old, young = 3 * time.Minute, 2 * time.Minute
	cases := map[string]struct {
		reason string
		mirror func(*state.Mirror)
		want   map[string][]string // by purchase
	}{
		"OldestFirst": {
			"three nodes came for two purchases of two",
			func(m *state.Mirror) {
				m.AssumeRequest(request("young", "asked", 2, ago(young)))
				m.AssumeRequest(request("old", "asked", 2, ago(old)))
				for k, age := range []time.Duration{30 * time.Second, time.Minute, 45 * time.Second} {
					m.Nodes().OnAdd(made(fmt.Sprint("n", k), age), true)
				}
			},
			map[string][]string{"old": {"n1", "n2"}, "young": {"n0"}},
		},
		"BeforeTheyWereAskedFor": {
			"a node that was there has been made for somebody else",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "asked", 2, ago(young)))
				m.Nodes().OnAdd(made("was-there", old), true)
				m.Nodes().OnAdd(made("came", time.Minute), true)
			},
			map[string][]string{"x": {"came"}},
		},
		"MadeForOthers": {
			"somebody works there already",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "asked", 2, ago(young)))
				m.Nodes().OnAdd(made("theirs", time.Minute), true)
				m.Nodes().OnAdd(made("ours", time.Second), true)
				m.Pods().OnAdd(busy("theirs"), true)
			},
			map[string][]string{"x": {"ours"}},
		},
		"Written": {
			"what a purchase has written down stays its own, whoever is older",
			func(m *state.Mirror) {
				m.AssumeRequest(request("old", "asked", 1, ago(old)))
				m.AssumeRequest(request("young", "asked", 1, ago(young), came("asked", "a")))
				m.Nodes().OnAdd(made("a", time.Minute), true)
				m.Nodes().OnAdd(made("b", time.Second), true)
			},
			map[string][]string{"old": {"b"}, "young": {"a"}},
		},
		"Lost": {
			"a node that was lost is not replaced behind the gang's back: it is told",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "asked", 1, ago(old), came("asked", "gone")))
				m.Nodes().OnAdd(made("a", time.Minute), true)
			},
			map[string][]string{"x": {"gone"}},
		},
		"Over": {
			"a purchase that is over has nothing, and what it had is nobody's",
			func(m *state.Mirror) {
				m.AssumeRequest(request("over", "asked", 1, ago(old), came("asked", "a"), is(v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, noon)))
				m.AssumeRequest(request("young", "asked", 1, ago(young)))
				m.Nodes().OnAdd(made("a", time.Minute), true)
			},
			map[string][]string{"young": nil},
		},
		"OnItsWayOut": {
			"another autoscaler is removing it",
			func(m *state.Mirror) {
				m.AssumeRequest(request("x", "asked", 1, ago(young)))
				m.Nodes().OnAdd(made("a", time.Minute, func(n *corev1.Node) {
					n.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
				}), true)
			},
			map[string][]string{"x": nil},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := delegating()
			tc.mirror(m)
			s := m.Snapshot(noon)
			got := map[string][]string{}
			for _, b := range s.Bookings {
				got[b.Request] = b.Nodes[0].Instances
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestABootIsTimedFromWhenItWasAskedFor(t *testing.T) {
	m := delegating()
	m.AssumeRequest(request("x", "asked", 1, ago(5*time.Minute)))
	m.Nodes().OnAdd(made("a", time.Minute), true)
	m.Nodes().OnAdd(made("b", 10*time.Second), true)
	s := m.Snapshot(noon)
	if got := s.NodeGroup("asked").Instances; !got[0].Launched.Equal(ago(5*time.Minute)) || !got[1].Launched.Equal(ago(10*time.Second)) {
		t.Errorf("launched %s and %s: a gang waits from when it asked, and nobody asked for b", got[0].Launched, got[1].Launched)
	}
	asks := m.Asks()
	if len(asks) != 1 || asks[0].Request.Name != "x" || !cmp.Equal(asks[0].Came, []string{"a"}) || !cmp.Equal(m.Came(asks[0].Request, "asked"), []string{"a"}) {
		t.Errorf("asked for: %+v", asks)
	}
}

func TestNodesOfAFailedPurchaseStayWithTheirAutoscaler(t *testing.T) {
	m := delegating()
	m.AssumeRequest(request("x", "asked", 2, ago(5*time.Minute), came("asked", "a"), is(v1alpha1.ConditionFailed, v1alpha1.ReasonProvisionTimeout, noon)))
	m.Nodes().OnAdd(made("a", time.Minute), true)
	if s := m.Snapshot(noon); !s.Node("a").Usable || s.NodeGroup("asked").Instances[0].State != snapshot.InstanceRunning {
		t.Error("a node that capmgr cannot give back counts as being given back")
	}
}

// What capmgr has put on a node to hold it does not keep it for anybody else.
func TestHoldsOfOurOwnProtectNothing(t *testing.T) {
	m := delegating()
	keep := func(annotations map[string]string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Annotations = annotations }
	}
	m.Nodes().OnAdd(made("ours", time.Minute, keep(map[string]string{
		v1alpha1.DoNotDisruptAnnotation: "true", v1alpha1.HoldsAnnotation: v1alpha1.DoNotDisruptAnnotation, v1alpha1.IntentAnnotation: "default/x"})), true)
	m.Nodes().OnAdd(made("theirs", time.Minute, keep(map[string]string{v1alpha1.DoNotDisruptAnnotation: "true"})), true)
	s := m.Snapshot(noon)
	if s.Node("ours").Protected != "" || s.Node("theirs").Protected == "" {
		t.Errorf("protected: ours %q, theirs %q", s.Node("ours").Protected, s.Node("theirs").Protected)
	}
	if diff := cmp.Diff(map[string]string{"ours": "default/x"}, m.Intents()); diff != "" {
		t.Errorf("held nodes (-want +got):\n%s", diff)
	}
}

func TestARefusalOfAnotherAutoscalerIsTheGroupsOwn(t *testing.T) {
	m := delegating()
	m.AssumeRequest(request("x", "asked", 1, ago(time.Minute), func(r *v1alpha1.CapacityRequest) {
		r.Status.Nodes = []v1alpha1.NodeStatus{{NodeGroup: "asked", Refusal: &v1alpha1.Refusal{Reason: v1alpha1.ReasonInsufficientCapacity, At: metav1.NewTime(noon)}}}
	}, is(v1alpha1.ConditionFailed, v1alpha1.ReasonInsufficientCapacity, noon)))
	g := m.Snapshot(noon).NodeGroup("asked")
	if !g.BlockedUntil.Equal(noon.Add(3*time.Minute)) || g.BlockedBecause != "its autoscaler refused: insufficient capacity" {
		t.Errorf("blocked until %s: %s", g.BlockedUntil, g.BlockedBecause)
	}
}
