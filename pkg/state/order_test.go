package state_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/state"
)

var morning = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// config has one node group, g5, and buys for everybody.
func config() *v1alpha1.Config {
	most := int32(8)
	c := &v1alpha1.Config{
		NodeGroups: []v1alpha1.NodeGroup{{Name: "g5", Provider: v1alpha1.ProviderAWS, MaxNodes: &most}},
		Defaults:   v1alpha1.QueueDefaults{Scaling: &v1alpha1.Scaling{}},
	}
	v1alpha1.SetDefaults(c)
	return c
}

// g5 is what the cloud says of the group with some instances.
func g5(instances ...cloud.Instance) cloud.Group {
	return cloud.Group{Name: "g5", InstanceType: "g5.xlarge", Zone: "us-east-1a", Max: 8, PricePerHour: 1.006,
		Shape: cloud.Shape{MilliCPU: 3920, Memory: 14 << 30, GPUs: 1, Pods: 58}, Instances: instances}
}

func instance(id, intent string) cloud.Instance {
	return cloud.Instance{ID: id, ProviderID: "aws:///us-east-1a/" + id, Launched: morning, Intent: intent}
}

func asked(name, instances string, conditions ...string) *v1alpha1.CapacityRequest {
	r := &v1alpha1.CapacityRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID(name), ResourceVersion: "1", CreationTimestamp: metav1.NewTime(morning)},
		Spec: v1alpha1.CapacityRequestSpec{Gang: v1alpha1.GangReference{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "train", UID: "rc-0"}, Attempt: 1,
			Nodes: []v1alpha1.NodeRequest{{NodeGroup: "g5", Count: 2}}},
	}
	if instances != "" {
		r.Status.Nodes = []v1alpha1.NodeStatus{{NodeGroup: "g5", Instances: []string{instances}}}
	}
	for _, c := range conditions {
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: c, Status: metav1.ConditionTrue, Reason: "x"})
	}
	return r
}

// TestBookingHasWhatTheCloudListsForIt: between a launch and the record of its answer the cloud
// lists instances that the request does not name yet. They are the gang's, and counted once.
func TestBookingHasWhatTheCloudListsForIt(t *testing.T) {
	cases := map[string]struct {
		reason  string
		request *v1alpha1.CapacityRequest
		cloud   cloud.Group
		want    []string
	}{
		"Promised": {"nothing is launched yet", asked("r", ""), g5(instance("i-9", "ml/other"), instance("i-8", "")), nil},
		"Listed":   {"launched, and not recorded", asked("r", ""), g5(instance("i-2", "ml/r"), instance("i-1", "ml/r")), []string{"i-1", "i-2"}},
		"Recorded": {"recorded, and not listed", asked("r", "i-1"), g5(), []string{"i-1"}},
		"Both":     {"recorded and listed is one", asked("r", "i-1"), g5(instance("i-1", "ml/r"), instance("i-2", "ml/r")), []string{"i-1", "i-2"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := state.New(config())
			m.CapacityRequests().OnAdd(c.request, true)
			m.SetGroups([]cloud.Group{c.cloud})
			s := m.Snapshot(morning)
			if len(s.Bookings) != 1 {
				t.Fatalf("%s: %d bookings", c.reason, len(s.Bookings))
			}
			if diff := cmp.Diff(c.want, s.Bookings[0].Nodes[0].Instances); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestRequestsThatAreOverBookNothing(t *testing.T) {
	m := state.New(config())
	m.CapacityRequests().OnAdd(asked("failed", "i-1", v1alpha1.ConditionFailed), true)
	m.CapacityRequests().OnAdd(asked("released", "i-2", v1alpha1.ConditionReady, v1alpha1.ConditionReleased), true)
	m.CapacityRequests().OnAdd(asked("ready", "i-3", v1alpha1.ConditionReady), true)
	var got []string
	for _, b := range m.Snapshot(morning).Bookings {
		got = append(got, b.Request)
	}
	if diff := cmp.Diff([]string{"ready"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOrderOfArrivalDoesNotMatter: informers deliver in any order, and the plan is the same.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	var arrivals []func(*state.Mirror)
	arrives := func(f func(*state.Mirror)) { arrivals = append(arrivals, f) }
	limits := queuev2.QueueResource{Quota: -1, Limit: -1}
	for k := range 3 {
		name := fmt.Sprintf("q%d", k)
		arrives(func(m *state.Mirror) {
			m.Queues().OnAdd(&queuev2.Queue{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
				Spec: queuev2.QueueSpec{Resources: &queuev2.QueueResources{GPU: limits, CPU: limits, Memory: limits}}}, true)
		})
	}
	for k := range 3 {
		i := instance(fmt.Sprintf("i-%d", k), "")
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", k), UID: types.UID(i.ID)}, Spec: corev1.NodeSpec{ProviderID: i.ProviderID}}
		n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("14Gi"), "pods": resource.MustParse("58"), "nvidia.com/gpu": resource.MustParse("1")}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		arrives(func(m *state.Mirror) { m.Nodes().OnAdd(n, true) })
	}
	arrives(func(m *state.Mirror) { m.SetGroups([]cloud.Group{g5(instance("i-0", ""), instance("i-1", ""))}) })
	for k := range 4 {
		spec := corev1.PodSpec{SchedulerName: "kai-scheduler", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("1"), "nvidia.com/gpu": resource.MustParse("1")}}}}}
		rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: fmt.Sprintf("rc-%d", k), UID: types.UID(fmt.Sprintf("rc-%d", k)),
			Labels: map[string]string{v1alpha1.QueueLabel: fmt.Sprintf("q%d", k)}, CreationTimestamp: metav1.NewTime(morning)},
			Spec: rayv1.RayClusterSpec{HeadGroupSpec: rayv1.HeadGroupSpec{Template: corev1.PodTemplateSpec{Spec: spec}},
				WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: ptr.To[int32](1), Template: corev1.PodTemplateSpec{Spec: spec}}}}}
		arrives(func(m *state.Mirror) { m.RayClusters().OnAdd(rc, true) })
		for _, group := range []string{"headgroup", "w"} {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: rc.Name + "-" + group, UID: types.UID(rc.Name + "-" + group), CreationTimestamp: metav1.NewTime(morning),
				Labels: map[string]string{"ray.io/group": group}, OwnerReferences: []metav1.OwnerReference{{Kind: "RayCluster", UID: rc.UID, Controller: ptr.To(true)}}}, Spec: spec}
			arrives(func(m *state.Mirror) { m.Pods().OnAdd(p, true) })
		}
	}
	d := apps("web", nil, "", v1alpha1.QueueLabel, "q1")
	set := apps("web-1", d, state.Deployment)
	arrives(func(m *state.Mirror) { m.Owners(state.Deployment).OnAdd(d, true) })
	arrives(func(m *state.Mirror) { m.Owners(state.ReplicaSet).OnAdd(set, true) })
	for _, name := range []string{"web-1-a", "web-1-b"} {
		p := &corev1.Pod{ObjectMeta: apps(name, set, state.ReplicaSet).ObjectMeta, Spec: template("1").Spec}
		arrives(func(m *state.Mirror) { m.Pods().OnAdd(p, true) })
	}
	decide := func(order []func(*state.Mirror)) []string {
		m := state.New(config())
		for _, arrive := range order {
			arrive(m)
		}
		p := scheduler.Decide(m.Snapshot(morning), anywhere{})
		var out []string
		for _, s := range p.Steps {
			out = append(out, s.String())
		}
		for _, v := range p.Verdicts {
			out = append(out, v.Gang.String()+" "+v.Text())
		}
		return out
	}
	want := decide(arrivals)
	if len(want) < 6 {
		t.Fatalf("this decides too little to tell orders apart: %v", want)
	}
	rapid.Check(t, func(t *rapid.T) {
		if diff := cmp.Diff(want, decide(rapid.Permutation(arrivals).Draw(t, "order"))); diff != "" {
			t.Fatalf("another order, another plan (-want +got):\n%s", diff)
		}
	})
}
