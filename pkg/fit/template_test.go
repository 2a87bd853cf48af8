package fit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func g5() Shape {
	return Shape{
		InstanceType: "g5.xlarge", Zone: "us-east-1a",
		Labels:      map[string]string{"team": "ray", corev1.LabelArchStable: "arm64"},
		Taints:      []corev1.Taint{{Key: "nvidia.com/gpu", Value: "present", Effect: corev1.TaintEffectNoSchedule}},
		Allocatable: snapshot.Resources{MilliCPU: 3920, Memory: 14 << 30, MilliGPU: 1000},
		MaxPods:     58,
		Others:      resourceList("ephemeral-storage", "80Gi"),
	}
}

func TestTemplate(t *testing.T) {
	n := Template("g5-0", g5())
	if diff := cmp.Diff(n, Template("g5-0", g5())); diff != "" {
		t.Errorf("the same name and shape give different nodes:\n%s", diff)
	}
	want := map[string]string{
		"kubernetes.io/hostname": "g5-0", "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64", "team": "ray",
		"node.kubernetes.io/instance-type": "g5.xlarge", "beta.kubernetes.io/instance-type": "g5.xlarge",
		"topology.kubernetes.io/zone": "us-east-1a", "failure-domain.beta.kubernetes.io/zone": "us-east-1a",
	}
	if diff := cmp.Diff(want, n.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	room, pods := Allocatable(n)
	if room != g5().Allocatable || pods != 58 {
		t.Errorf("allocatable: got %v and %d pods", room, pods)
	}
	if NodeClass(n) != NodeClass(Template("g5-1", g5())) {
		t.Error("nodes of one shape have different classes")
	}
	other := g5()
	n.Spec.Taints[0].Value, n.Labels["team"] = "x", "x"
	if diff := cmp.Diff(g5(), other); diff != "" {
		t.Errorf("the shape was written to:\n%s", diff)
	}
	bare := Template("cpu", Shape{})
	if _, has := bare.Status.Allocatable["nvidia.com/gpu"]; has || bare.Labels[corev1.LabelTopologyZone] != "" {
		t.Errorf("a shape without GPUs and zone: %v", bare)
	}
	if _, has := bare.Labels[corev1.LabelTopologyZone]; has {
		t.Error("an unknown zone is not a label")
	}
}

func TestUsable(t *testing.T) {
	effect := corev1.TaintEffectNoSchedule
	template := Template("template", g5())
	starting := Template("ip-10-0-0-1", g5())
	delete(starting.Labels, corev1.LabelTopologyZone) // the cloud controller has not been here
	starting.Labels["team"] = "own"
	delete(starting.Status.Allocatable, "nvidia.com/gpu") // nor has the device plugin
	starting.Status.Allocatable["memory"] = apiresource.MustParse("13Gi")
	starting.Spec.Taints = append(starting.Spec.Taints,
		corev1.Taint{Key: "node.kubernetes.io/not-ready", Effect: effect},
		corev1.Taint{Key: "node.kubernetes.io/unreachable", Effect: corev1.TaintEffectNoExecute},
		corev1.Taint{Key: "node.cloudprovider.kubernetes.io/uninitialized", Value: "true", Effect: effect},
		corev1.Taint{Key: "startup-taint.cluster-autoscaler.kubernetes.io/driver", Effect: effect},
		corev1.Taint{Key: "cilium.io/agent-not-ready", Effect: effect},
		corev1.Taint{Key: DrainingTaint, Effect: effect},
	)
	starting.Status.Conditions = []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
		{Type: corev1.NodeReady, Status: corev1.ConditionFalse},
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue},
	}
	before := starting.DeepCopy()

	got := Usable(starting, template, "cilium.io/agent-not-ready")
	if diff := cmp.Diff(before, starting); diff != "" {
		t.Errorf("the node was written to:\n%s", diff)
	}
	want := starting.DeepCopy()
	want.Labels[corev1.LabelTopologyZone] = "us-east-1a"
	want.Spec.Taints = want.Spec.Taints[:1]
	want.Status.Allocatable["nvidia.com/gpu"] = apiresource.MustParse("1")
	want.Status.Conditions = []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usable (-want +got):\n%s", diff)
	}
	if without := Usable(starting, nil); len(without.Spec.Taints) != 2 || without.Labels[corev1.LabelTopologyZone] != "" {
		t.Errorf("without template and start-up taints: %v, %v", without.Spec.Taints, without.Labels)
	}
	if bare := Usable(&corev1.Node{}, template); bare.Status.Allocatable.Cpu().MilliValue() != 3920 || bare.Labels["team"] != "ray" {
		t.Errorf("a node that has reported nothing yet: %v", bare)
	}
}

// A node that is coming must be seen to fit the pod that it was bought for, at every stage of its
// start: else another one is bought.
func TestStartingNodeFits(t *testing.T) {
	template := Template("template", g5())
	starting := Template("ip-10-0-0-1", g5())
	delete(starting.Labels, corev1.LabelTopologyZone)
	delete(starting.Status.Allocatable, "nvidia.com/gpu")
	starting.Spec.Taints = append(starting.Spec.Taints, corev1.Taint{Key: "node.kubernetes.io/not-ready", Effect: corev1.TaintEffectNoSchedule})

	c := newChecker(t)
	p := newPod("p", selects(zone, "us-east-1a"), asks("nvidia.com/gpu", "1"), tolerates(corev1.Toleration{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}))
	c.Begin(worldOf(asNode(starting)))
	if why := c.Fits(p, asNode(starting), nil); why == "" {
		t.Error("the node as it is fits already")
	}
	if why := c.Fits(p, asNode(Usable(starting, template)), nil); why != "" {
		t.Errorf("the node as it will be: %s", why)
	}
}
