package fakeaws

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

func gpuInstance() Instance {
	shape, _ := ShapeOf("g5.12xlarge")
	return Instance{
		ID: "i-1", NodeName: "gpu-1", InstanceType: "g5.12xlarge", Zone: "us-east-1a", CapacityType: Spot,
		Node: NodeSpec{
			Region: "us-east-1", Nodegroup: "gpus", Shape: shape, Labels: map[string]string{"pool": "gpu"},
			Taints:       []corev1.Taint{{Key: gpuResource, Value: "present", Effect: corev1.TaintEffectNoSchedule}},
			StartupTaint: &corev1.Taint{Key: "startup-taint.capmgr.io/gpu", Effect: corev1.TaintEffectNoSchedule},
		},
	}
}

func quickNodes(client *fake.Clientset) *KubeNodes {
	k := NewKubeNodes(client, RealClock{}, slog.New(slog.DiscardHandler))
	k.first, k.longest = time.Microsecond, time.Millisecond
	return k
}

func getNode(t *testing.T, client *fake.Clientset) *corev1.Node {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), "gpu-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func TestNodeLife(t *testing.T) {
	client := fake.NewClientset()
	k, i := quickNodes(client), gpuInstance()
	if err := k.Join(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	node := getNode(t, client)
	wantLabels := map[string]string{
		"kubernetes.io/hostname": "gpu-1", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		"node.kubernetes.io/instance-type": "g5.12xlarge", "topology.kubernetes.io/zone": "us-east-1a",
		"topology.kubernetes.io/region": "us-east-1", "eks.amazonaws.com/nodegroup": "gpus", "eks.amazonaws.com/capacityType": "SPOT",
		"k8s.amazonaws.com/accelerator": "nvidia-a10g", "nvidia.com/gpu.product": "NVIDIA-A10G", "pool": "gpu",
	}
	if diff := cmp.Diff(wantLabels, node.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if node.Spec.ProviderID != "aws:///us-east-1a/i-1" {
		t.Errorf("provider id %s", node.Spec.ProviderID)
	}
	wantAllocatable := corev1.ResourceList{"cpu": resource.MustParse("47810m"), "memory": resource.MustParse("173400Mi"),
		"pods": resource.MustParse("737"), "ephemeral-storage": resource.MustParse("88Gi")}
	if diff := cmp.Diff(wantAllocatable, node.Status.Allocatable); diff != "" {
		t.Errorf("allocatable before the GPUs (-want +got):\n%s", diff)
	}
	if got := node.Status.Capacity[gpuResource]; !got.IsZero() || node.Status.Capacity.Cpu().Value() != 48 {
		t.Errorf("capacity before the GPUs %v", node.Status.Capacity)
	}
	if len(node.Spec.Taints) != 2 {
		t.Errorf("taints before the GPUs %v", node.Spec.Taints)
	}
	if err := k.AdvertiseGPUs(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	node = getNode(t, client)
	wantAllocatable[gpuResource] = resource.MustParse("4")
	if diff := cmp.Diff(wantAllocatable, node.Status.Allocatable); diff != "" {
		t.Errorf("allocatable (-want +got):\n%s", diff)
	}
	if got := node.Status.Capacity[gpuResource]; got.Value() != 4 {
		t.Errorf("capacity %v", node.Status.Capacity)
	}
	if diff := cmp.Diff(i.Node.Taints, node.Spec.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
	if err := k.Leave(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().Get(t.Context(), "gpu-1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the node is still there: %v", err)
	}
}

func TestNodeStepsTolerateWhatIsDone(t *testing.T) {
	client := fake.NewClientset()
	k, i := quickNodes(client), gpuInstance()
	steps := []func(context.Context, Instance) error{k.AdvertiseGPUs, k.Leave, k.Join, k.Join, k.AdvertiseGPUs, k.AdvertiseGPUs, k.Leave, k.Leave}
	for n, step := range steps {
		if err := step(t.Context(), i); err != nil {
			t.Fatalf("step %d: %v", n, err)
		}
	}
}

func TestJoinReplacesAnotherInstancesNode(t *testing.T) {
	client := fake.NewClientset()
	k, old := quickNodes(client), gpuInstance()
	old.ID = "i-0"
	if err := k.Join(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := k.Join(t.Context(), gpuInstance()); err != nil {
		t.Fatal(err)
	}
	if err := k.Leave(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if got := getNode(t, client).Spec.ProviderID; got != "aws:///us-east-1a/i-1" {
		t.Errorf("the node stands for %s", got)
	}
}

// failing lets the first n calls of a verb fail.
func failing(client *fake.Clientset, verb string, n int, err error) *int {
	calls := 0
	client.PrependReactor(verb, "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		calls++
		if calls <= n {
			return true, nil, err
		}
		return false, nil, nil
	})
	return &calls
}

func TestNodeStepsOutliveAnOutage(t *testing.T) {
	for _, verb := range []string{"create", "patch", "delete"} {
		t.Run(verb, func(t *testing.T) {
			client := fake.NewClientset()
			calls := failing(client, verb, 5, errors.New("connection refused"))
			k, i := quickNodes(client), gpuInstance()
			for n, step := range []func(context.Context, Instance) error{k.Join, k.AdvertiseGPUs, k.Leave} {
				if err := step(t.Context(), i); err != nil {
					t.Fatalf("step %d: %v", n, err)
				}
			}
			if *calls < 6 {
				t.Errorf("%d calls, want at least 6", *calls)
			}
		})
	}
}

func TestTaintConflictIsTriedAgain(t *testing.T) {
	client := fake.NewClientset()
	k, i := quickNodes(client), gpuInstance()
	if err := k.Join(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	// The first patch is the one of the status.
	calls := 0
	client.PrependReactor("patch", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		if calls++; calls == 2 {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "nodes"}, "gpu-1", errors.New("changed"))
		}
		return false, nil, nil
	})
	if err := k.AdvertiseGPUs(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if got := len(getNode(t, client).Spec.Taints); got != 1 || calls != 4 {
		t.Errorf("%d taints after %d patches, want 1 after 4", got, calls)
	}
}

func TestNodeStepGivesUp(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Node"}, "gpu-1", nil)
	client := fake.NewClientset()
	failing(client, "create", 1000, invalid)
	if err := quickNodes(client).Join(t.Context(), gpuInstance()); !apierrors.IsInvalid(err) {
		t.Errorf("an invalid node gave %v", err)
	}

	client = fake.NewClientset()
	ctx, cancel := context.WithCancel(t.Context())
	client.PrependReactor("create", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		cancel()
		return true, nil, errors.New("connection refused")
	})
	if err := quickNodes(client).Join(ctx, gpuInstance()); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gave %v", err)
	}
}

func TestServerBootsKubernetesNodes(t *testing.T) {
	client := fake.NewClientset()
	h := startWith(t, quickNodes(client), onlyGPUGroup)
	id := h.mustLaunch("token", 1)[0]
	node := func() *corev1.Node {
		n, err := client.CoreV1().Nodes().Get(t.Context(), "g5-xlarge-a-1", metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return n
	}
	h.clock.Advance(30 * time.Second)
	eventually(t, "the node to join", func() bool { return node() != nil })
	if n := node(); n.Spec.ProviderID != "aws:///us-east-1a/"+id || n.Labels["pool"] != "gpu" {
		t.Errorf("node %+v", n)
	}
	h.clock.Advance(30 * time.Second)
	eventually(t, "the GPU", func() bool { q := node().Status.Allocatable[gpuResource]; return q.Value() == 1 })
	if _, err := h.terminate(true, id); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(40 * time.Second)
	eventually(t, "the node to leave", func() bool { return node() == nil })
}
