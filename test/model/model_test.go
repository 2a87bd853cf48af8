package model

import (
	"strings"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/plan"
)

var start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// newWorld has a queue that allows two GPUs, a RayCluster of a head and two GPU workers, and a group
// of which two nodes are usable and a third one boots.
func newWorld(t *testing.T) *World {
	t.Helper()
	config := &v1alpha1.Config{
		NodeGroups: []v1alpha1.NodeGroup{{Name: "g5", Provider: v1alpha1.ProviderAWS, MaxNodes: ptr.To[int32](3), MinNodes: 1}},
		Queues:     map[string]v1alpha1.QueueConfiguration{"q": {Scaling: &v1alpha1.Scaling{MaxGPUs: ptr.To[int32](1), Ladder: []string{"g5"}}}},
	}
	v1alpha1.SetDefaults(config)
	group := &Group{Name: "g5", InstanceType: "g5.xlarge", Zone: "a", Max: 3, PricePerHour: 1,
		Shape: cloud.Shape{MilliCPU: 4000, Memory: 16 << 30, GPUs: 1, Pods: 10}}
	w, err := New(config, map[string]*Group{"g5": group}, start)
	if err != nil {
		t.Fatal(err)
	}
	free := queuev2.QueueResource{Quota: -1, Limit: -1}
	w.PutQueue(&queuev2.Queue{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: queuev2.QueueSpec{
		Resources: &queuev2.QueueResources{GPU: queuev2.QueueResource{Quota: -1, Limit: 2}, CPU: free, Memory: free}}})
	if _, err := group.Launch(start, 3, "", ""); err != nil {
		t.Fatal(err)
	}
	names, err := w.Boot("g5", 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := w.Advertise(name); err != nil {
			t.Fatal(err)
		}
	}
	pod := func(gpus string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("1"), v1alpha1.GPUResource: resource.MustParse(gpus)}}}}}}
	}
	rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "train", Labels: map[string]string{v1alpha1.QueueLabel: "q"}}}
	rc.Spec.HeadGroupSpec.Template = pod("0")
	rc.Spec.WorkerGroupSpecs = []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: ptr.To[int32](2), Template: pod("1")}}
	w.PutRayCluster(rc)
	return w
}

func (w *World) owner() plan.Owner {
	rc := values(w.clusters)[0]
	return plan.Owner{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "ml", Name: "train", UID: string(rc.UID)}
}

// binding puts pods of the RayCluster on nodes, pairs of "w-worker-1" and "g5-01".
func (w *World) binding(pairs ...string) plan.Bind {
	b := plan.Bind{Gang: w.owner(), Queue: "q"}
	for k := 0; k < len(pairs); k += 2 {
		name := "train-" + pairs[k]
		for _, p := range w.Pods() {
			if p.Name == name {
				b.Assignments = append(b.Assignments, plan.Assignment{Namespace: "ml", Pod: name, UID: string(p.UID), Node: pairs[k+1]})
			}
		}
	}
	return b
}

func (w *World) whole() plan.Bind {
	return w.binding("head", "g5-01", "w-worker-1", "g5-01", "w-worker-2", "g5-02")
}

// TestApplySeesWhatMustNeverBe: every invariant fires on a plan that breaks it.
func TestApplySeesWhatMustNeverBe(t *testing.T) {
	taint := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectNoSchedule}} }
	cases := map[string]struct {
		reason string
		plan   func(*World) []plan.Step
		want   string // part of the error; "" when nothing is wrong
	}{
		"Fine":      {"a gang that is bound as it should be", func(w *World) []plan.Step { return []plan.Step{w.whole()} }, ""},
		"HalfAGang": {"a gang is whole or absent", func(w *World) []plan.Step { return []plan.Step{w.binding("head", "g5-01", "w-worker-1", "g5-01")} }, "bound in part: 1 of 2 pods of group w"},
		"OverTheNode": {"two GPUs of one", func(w *World) []plan.Step {
			return []plan.Step{w.binding("head", "g5-01", "w-worker-1", "g5-02", "w-worker-2", "g5-02")}
		}, "g5-02 is over its allocatable"},
		"Taint": {"a taint that is not tolerated", func(w *World) []plan.Step {
			_ = w.ChangeNode("g5-02", taint)
			return []plan.Step{w.whole()}
		}, "has the taint x:NoSchedule"},
		"NoGPUsYet": {"a node that does not advertise its GPUs", func(w *World) []plan.Step {
			_, _ = w.Boot("g5", 1, nil)
			return []plan.Step{w.binding("head", "g5-03", "w-worker-1", "g5-01", "w-worker-2", "g5-02")}
		}, "advertises 0 of 1 GPUs"},
		"OverTheLimit": {"the queue's limit", func(w *World) []plan.Step {
			_ = w.LimitQueue("q", "gpus", 1)
			return []plan.Step{w.whole()}
		}, "puts queue q over its GPU limit"},
		"OverTheGroup": {"more nodes than the group may have", func(w *World) []plan.Step {
			purchase := plan.Purchase{Group: "g5", Count: 1, Token: "t"}
			return []plan.Step{plan.Book{Gang: w.owner(), Queue: "q", Request: "r", Purchases: []plan.Purchase{purchase}}, plan.GrowNodeGroup{Namespace: "ml", Request: "r", Purchase: purchase}}
		}, "node group g5 has 4 instances, more than its maximum"},
		"OverTheQueueBound": {"more GPUs than may be bought for the queue", func(w *World) []plan.Step {
			purchase := plan.Purchase{Group: "g5", Count: 2, Token: "t"}
			return []plan.Step{plan.Book{Gang: w.owner(), Queue: "q", Request: "r", Purchases: []plan.Purchase{purchase}}, plan.GrowNodeGroup{Namespace: "ml", Request: "r", Purchase: purchase}}
		}, "queue q has 2 bought GPUs of at most 1"},
		"BelowTheMinimum": {"the group's minimum stays", func(*World) []plan.Step {
			return []plan.Step{plan.TerminateNode{Group: "g5", Instance: "i-g5-01"}, plan.TerminateNode{Group: "g5", Instance: "i-g5-02"}, plan.TerminateNode{Group: "g5", Instance: "i-g5-03"}}
		}, "below its minimum of 1"},
		"EvictsHalf": {"a gang that is evicted below its minimum is evicted whole", func(w *World) []plan.Step {
			if err := w.Apply(&plan.Plan{Steps: []plan.Step{w.whole()}}); err != nil {
				panic(err)
			}
			ref := w.whole().Assignments[1]
			return []plan.Step{plan.Evict{Gang: w.owner(), Pods: []plan.PodRef{{Namespace: "ml", Name: ref.Pod, UID: ref.UID}}}}
		}, "keeps 1 of 2 pods of group w"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			err := w.Apply(&plan.Plan{Steps: c.plan(w)})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: %v", c.reason, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%s: got %v, want %q", c.reason, err, c.want)
			}
		})
	}
}

// TestApplyLeavesOutWhatWasOvertaken: a pod that is another one by now, and a node that got work.
func TestApplyLeavesOutWhatWasOvertaken(t *testing.T) {
	w := newWorld(t)
	stale := w.whole()
	if err := w.DeletePod("ml", "train-head"); err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(&plan.Plan{Steps: []plan.Step{stale}}); err != nil || len(w.Notes()) != 1 {
		t.Fatalf("the head is another pod: %v, %v", err, w.Notes())
	}
	if err := w.Apply(&plan.Plan{Steps: []plan.Step{w.whole()}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(&plan.Plan{Steps: []plan.Step{plan.TerminateNode{Group: "g5", Instance: "i-g5-02", Node: "g5-02"}}}); err != nil || len(w.Notes()) != 1 || w.Node("g5-02") == nil {
		t.Errorf("a worker runs there: %v, %v", err, w.Notes())
	}
}

func TestSameTokenIsTheSameInstances(t *testing.T) {
	g := &Group{Name: "g", Refusal: cloud.ErrInsufficientCapacity, Spare: 1}
	first, err := g.Launch(start, 2, "t", "")
	if err == nil || len(first) != 1 {
		t.Fatalf("one of two comes, and why the other does not: %v, %v", first, err)
	}
	again, _ := g.Launch(start, 2, "t", "")
	if len(again) != 1 || again[0] != first[0] || len(g.Instances) != 1 {
		t.Errorf("repeating a call launches nothing: %v, %d instances", again, len(g.Instances))
	}
}
