package state_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// taught is a mirror that had one node of g5-a with less memory than promised and a daemon on it, which
// has gone.
func taught(t *testing.T, ready bool) *state.Mirror {
	t.Helper()
	m := newMirror()
	i := cloud.Instance{ID: "i-1", ProviderID: "aws:///us-east-1a/i-1", InService: true, Launched: ago(time.Hour)}
	g := market("g5-a", "us-east-1a", i)
	g.LaunchVersion = "lt:1"
	m.SetGroups([]cloud.Group{g})
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{ProviderID: i.ProviderID},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			"cpu": resource.MustParse("3900m"), "memory": resource.MustParse("10Gi"), "pods": resource.MustParse("50"),
			"nvidia.com/gpu": resource.MustParse("1"), "ephemeral-storage": resource.MustParse("80Gi")}}}
	if ready {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	}
	m.Nodes().OnAdd(n, false)
	m.Pods().OnAdd(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "daemon", UID: "daemon", OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet"}}},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("400m")}}}}}}, false)
	m.Snapshot(noon)
	m.Pods().OnDelete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "daemon", UID: "daemon"}})
	m.Nodes().OnDelete(n)
	g.Instances = nil
	m.SetGroups([]cloud.Group{g})
	return m
}

// successor is the mirror of the next process.
func successor(t *testing.T, m *state.Mirror, version string) *state.Mirror {
	t.Helper()
	text, err := m.Memory(noon).Text()
	if err != nil {
		t.Fatal(err)
	}
	left, err := state.ParseMemory(text)
	if err != nil {
		t.Fatal(err)
	}
	next := newMirror()
	next.Recall(left)
	g := market("g5-a", "us-east-1a")
	g.LaunchVersion = version
	next.SetGroups([]cloud.Group{g})
	return next
}

func TestWhatANodeTaughtOutlivesIt(t *testing.T) {
	offered := snapshot.Resources{MilliCPU: 3500, Memory: 10 << 30, MilliGPU: 1000}
	promise := snapshot.Resources{MilliCPU: 3920, Memory: 14 << 30, MilliGPU: 1000}
	cases := map[string]struct {
		reason string
		mirror func() *state.Mirror
		at     time.Time
		want   snapshot.Resources
	}{
		"SameProcess":     {"the next node will be like the last", func() *state.Mirror { return taught(t, true) }, noon, offered},
		"Successor":       {"it is written down", func() *state.Mirror { return successor(t, taught(t, true), "lt:1") }, noon, offered},
		"AnotherTemplate": {"other machines", func() *state.Mirror { return successor(t, taught(t, true), "lt:2") }, noon, promise},
		"LongAgo":         {"daemons change", func() *state.Mirror { return taught(t, true) }, noon.Add(8 * 24 * time.Hour), promise},
		"NeverUsable":     {"a node that never came up taught nothing", func() *state.Mirror { return taught(t, false) }, noon, promise},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := c.mirror().Snapshot(c.at).NodeGroup("g5-a")
			if got := g.Template.Free(); got != c.want {
				t.Errorf("%s: a new node would offer %s, want %s", c.reason, got, c.want)
			}
			if g.Learned != (c.want == offered) {
				t.Errorf("%s: learned %v", c.reason, g.Learned)
			}
			if storage := g.Template.Object.Status.Allocatable[corev1.ResourceEphemeralStorage]; g.Learned && storage.Value() != 80<<30 {
				t.Errorf("%s: ephemeral storage %s", c.reason, storage.String())
			}
		})
	}
}
