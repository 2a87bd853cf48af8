package fit

import (
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// gpu is the only name under which devices are counted as snapshot.Resources.MilliGPU.
const gpu = corev1.ResourceName("nvidia.com/gpu")

// most is the largest amount that is counted: a pebibyte, or 10^12 cores or devices. Users write
// any number into a pod; sums of thousands of pods must not overflow.
const most = int64(1) << 50

// Requests is what the pod occupies, as kube-scheduler counts it: the sum over containers and
// sidecars or the largest step of initialization, whichever is more, plus overhead. For a running
// pod that is being resized in place, the larger of what it has and what it asks for.
func Requests(pod *corev1.Pod) snapshot.Resources {
	return amounts(resource.PodRequests(pod, resource.PodResourcesOptions{UseStatusResources: true}))
}

// Allocatable is what the node offers to pods, and how many of them.
func Allocatable(node *corev1.Node) (snapshot.Resources, int) {
	list := node.Status.Allocatable
	return amounts(list), int(whole(list.Pods()))
}

func amounts(list corev1.ResourceList) snapshot.Resources {
	devices := list[gpu]
	return snapshot.Resources{
		MilliCPU: milli(list.Cpu()),
		Memory:   whole(list.Memory()),
		MilliGPU: milli(&devices),
	}
}

// milli is the amount in thousandths, between zero and most. Compared before it is converted:
// conversions wrap around for numbers that no machine has.
func milli(q *apiresource.Quantity) int64 {
	if q.Cmp(*apiresource.NewMilliQuantity(most, apiresource.DecimalSI)) >= 0 {
		return most
	}
	return max(q.MilliValue(), 0)
}

func whole(q *apiresource.Quantity) int64 {
	if q.Cmp(*apiresource.NewQuantity(most, apiresource.BinarySI)) >= 0 {
		return most
	}
	return max(q.Value(), 0)
}
