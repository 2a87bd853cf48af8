package autoscaler_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
	"k8s.io/client-go/kubernetes/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clientfake "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/capmgr/capmgr/test/autoscaler"
)

var room = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), gpu: resource.MustParse("1"), corev1.ResourcePods: resource.MustParse("10")}

const gpu = "nvidia.com/gpu"

func spec() corev1.PodSpec {
	return corev1.PodSpec{NodeSelector: map[string]string{"pool": "g"}, Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{gpu: resource.MustParse("1")}}}}}
}

// play runs an autoscaler of one group, with a loop every second, while story goes on.
func play(t *testing.T, change func(*autoscaler.Group), story func(*testing.T, *autoscaler.Autoscaler, *fake.Clientset, client.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		scheme := runtime.NewScheme()
		for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
			if err := add(scheme); err != nil {
				t.Fatal(err)
			}
		}
		c := clientfake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1.ProvisioningRequest{}).Build()
		kube := fake.NewClientset()
		g := autoscaler.Group{Name: "g", Labels: map[string]string{"pool": "g"}, Allocatable: room, Max: 4, Stock: -1, Boot: 2 * time.Second, GPU: time.Second}
		if change != nil {
			change(&g)
		}
		a := autoscaler.New(kube, c, autoscaler.Options{Scan: time.Second, Booking: 20 * time.Second, Retry: 5 * time.Second, Idle: 10 * time.Second},
			slog.New(slog.DiscardHandler), g)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.Run(ctx); close(done) }()
		time.Sleep(500 * time.Millisecond) // between two loops
		story(t, a, kube, c)
		stop()
		<-done
	})
}

func ask(t *testing.T, c client.Client, name, class string, count int32) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: "ml", Name: name, CreationTimestamp: metav1.Now()}
	for _, o := range []client.Object{
		&corev1.PodTemplate{ObjectMeta: meta, Template: corev1.PodTemplateSpec{Spec: spec()}},
		&v1.ProvisioningRequest{ObjectMeta: meta, Spec: v1.ProvisioningRequestSpec{ProvisioningClassName: class,
			PodSets: []v1.PodSet{{PodTemplateRef: v1.Reference{Name: name}, Count: count}}}},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// says lists the conditions of a request.
func says(t *testing.T, c client.Client, name string) (out []string) {
	t.Helper()
	r := &v1.ProvisioningRequest{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "ml", Name: name}, r); err != nil {
		t.Fatal(err)
	}
	for _, cond := range r.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s", cond.Type, cond.Status, cond.Reason))
	}
	slices.Sort(out)
	return out
}

func nodes(t *testing.T, kube *fake.Clientset) (out []string) {
	t.Helper()
	list, err := kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list.Items {
		gpus := n.Status.Allocatable[gpu]
		out = append(out, n.Name+" "+gpus.String())
	}
	return out
}

func check[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const atomic, capacity = v1.ProvisioningClassBestEffortAtomicScaleUp, v1.ProvisioningClassCheckCapacity

func TestProvisionedBeforeAnyNodeExists(t *testing.T) {
	play(t, nil, func(t *testing.T, _ *autoscaler.Autoscaler, kube *fake.Clientset, c client.Client) {
		ask(t, c, "one", atomic, 2)
		ask(t, c, "two", atomic, 1)
		time.Sleep(time.Second)
		check(t, "provisioned at once", []string{"Accepted=True Accepted", "Provisioned=True CapacityIsProvisioned"}, says(t, c, "one"))
		check(t, "one request per loop", nil, says(t, c, "two"))
		check(t, "no node yet", nil, nodes(t, kube))
		time.Sleep(2 * time.Second)
		check(t, "its turn", []string{"Accepted=True Accepted", "Provisioned=True CapacityIsProvisioned"}, says(t, c, "two"))
		check(t, "the devices come later", []string{"g-01 0"}, nodes(t, kube))
		time.Sleep(6 * time.Second)
		check(t, "all came, and what is coming is not bought again", []string{"g-01 1", "g-02 1", "g-03 1"}, nodes(t, kube))
		time.Sleep(19 * time.Second)
		check(t, "nobody used it in time", []string{"Accepted=True Accepted", "BookingExpired=True CapacityReservationTimeExpired",
			"Provisioned=True CapacityIsProvisioned"}, says(t, c, "one"))
		time.Sleep(20 * time.Second)
		check(t, "idle nodes go", nil, nodes(t, kube))
	})
}

func TestAPartialFillIsNeverTriedAgain(t *testing.T) {
	play(t, func(g *autoscaler.Group) { g.Stock = 1 }, func(t *testing.T, a *autoscaler.Autoscaler, kube *fake.Clientset, c client.Client) {
		ask(t, c, "one", atomic, 2)
		time.Sleep(15 * time.Second)
		check(t, "provisioned, it says", []string{"Accepted=True Accepted", "Provisioned=True CapacityIsProvisioned"}, says(t, c, "one"))
		check(t, "half of it", []string{"g-01 1"}, nodes(t, kube))
		check(t, "asked for once", 2, a.Asked("g"))
	})
}

func TestNoCapacityIsTriedAgain(t *testing.T) {
	play(t, nil, func(t *testing.T, a *autoscaler.Autoscaler, _ *fake.Clientset, c client.Client) {
		ask(t, c, "large", atomic, 5)
		ask(t, c, "there", capacity, 1)
		ask(t, c, "other", "somebody.example.com", 1)
		time.Sleep(2 * time.Second)
		check(t, "above the group's maximum", []string{"Accepted=True Accepted", "Provisioned=False CapacityIsNotFound"}, says(t, c, "large"))
		check(t, "of a class that makes nothing", []string{"Accepted=True Accepted", "Provisioned=False CapacityIsNotFound"}, says(t, c, "there"))
		check(t, "of a class that is somebody else's", nil, says(t, c, "other"))
		check(t, "nothing was bought", 0, a.Asked("g"))
	})
}

func TestPendingPods(t *testing.T) {
	pod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID(name)}, Spec: spec(),
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}}}
		change(p)
		return p
	}
	play(t, nil, func(t *testing.T, a *autoscaler.Autoscaler, kube *fake.Clientset, _ client.Client) {
		for _, p := range []*corev1.Pod{
			pod("wants", func(*corev1.Pod) {}),
			pod("quiet", func(p *corev1.Pod) { p.Status.Conditions[0].Reason = "WaitingForQuota" }),
			pod("silent", func(p *corev1.Pod) { p.Status.Conditions = nil }),
			pod("consumes", func(p *corev1.Pod) {
				p.Annotations = map[string]string{"autoscaling.x-k8s.io/consume-provisioning-request": "x"}
			}),
			pod("elsewhere", func(p *corev1.Pod) { p.Spec.NodeName = "there" }),
		} {
			if _, err := kube.CoreV1().Pods("ml").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(8 * time.Second)
		check(t, "one node, for the one that says so", []string{"g-01 1"}, nodes(t, kube))
		for name, want := range map[string]bool{"wants": true, "quiet": false, "silent": false, "consumes": false, "elsewhere": false} {
			check(t, name+" was looked at", want, a.Looked("ml", name))
		}
	})
}

// A node that boots is tainted, has no devices yet, and is room all the same.
func TestANodeThatBootsIsRoom(t *testing.T) {
	play(t, nil, func(t *testing.T, a *autoscaler.Autoscaler, kube *fake.Clientset, _ client.Client) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "boots", UID: "boots", Labels: map[string]string{"pool": "g"}},
			Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}}}
		if _, err := kube.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "wants"}, Spec: spec(),
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}}}
		if _, err := kube.CoreV1().Pods("ml").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		check(t, "nothing was bought", 0, a.Asked("g"))
		check(t, "it was looked at", true, a.Looked("ml", "wants"))
	})
}

// Karpenter knows no gangs, and removes what nobody uses within seconds, unless it is told not to.
func TestIdleNodesAreKeptWhereAnAnnotationSaysSo(t *testing.T) {
	play(t, nil, func(t *testing.T, a *autoscaler.Autoscaler, kube *fake.Clientset, _ client.Client) {
		for _, name := range []string{"kept", "idle"} {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"pool": "g"}}, Status: corev1.NodeStatus{Allocatable: room}}
			if name == "kept" {
				n.Annotations = map[string]string{"karpenter.sh/do-not-disrupt": "true"}
			}
			if _, err := kube.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(15 * time.Second)
		check(t, "what is left", []string{"kept 1"}, nodes(t, kube))
		check(t, "what was removed", []string{"idle"}, a.Removed())
	})
}
