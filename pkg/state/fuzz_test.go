package state_test

import (
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

type anywhere struct{}

func (anywhere) Fits(*snapshot.Pod, *snapshot.Node, []snapshot.Placed) string { return "" }

// FuzzWhatUsersWrite feeds the mirror with whatever a user can put into labels, annotations,
// quantities and Queue objects: there is a verdict for every gang, and no panic.
func FuzzWhatUsersWrite(f *testing.F) {
	f.Add("team-a", "", "train", "w=1", "60s", "1", 1.0, -1.0, 1.0, int32(2), int32(1))
	f.Add("team-a", "team-a", "nonsense", "w", "-1s", "0.5", -2.0, 1e300, -1.0, int32(-4), int32(9))
	f.Add("", "x", "", "=,=", "1", "18446744073709551616", 0.0, 0.0, 0.0, int32(0), int32(0))
	f.Fuzz(func(t *testing.T, queue, parent, class, minReplicas, grace, gpus string, quota, limit, weight float64, replicas, least int32) {
		m := state.New(&v1alpha1.Config{SchedulerNames: []string{"capmgr"}})
		amount := queuev2.QueueResource{Quota: quota, Limit: limit, OverQuotaWeight: weight}
		m.Queues().OnAdd(&queuev2.Queue{ObjectMeta: metav1.ObjectMeta{Name: "team-a", UID: "q"}, Spec: queuev2.QueueSpec{
			ParentQueue: parent, Resources: &queuev2.QueueResources{GPU: amount, CPU: amount, Memory: amount}}}, true)
		requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
		if q, err := resource.ParseQuantity(gpus); err == nil {
			requests["nvidia.com/gpu"] = q
		}
		labels := map[string]string{v1alpha1.QueueLabel: queue, v1alpha1.PriorityClassLabel: class}
		spec := corev1.PodSpec{SchedulerName: "capmgr", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: requests}}}}
		m.RayClusters().OnAdd(&rayv1.RayCluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", UID: "c", Labels: labels, Annotations: map[string]string{
				v1alpha1.MinReplicasAnnotation: minReplicas, v1alpha1.StalenessGraceAnnotation: grace, v1alpha1.VerdictAnnotation: grace}},
			Spec: rayv1.RayClusterSpec{WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: &replicas, MinReplicas: &least,
				Template: corev1.PodTemplateSpec{Spec: spec}}}},
		}, true)
		for _, name := range []string{"a", "b"} {
			m.Pods().OnAdd(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("pod-" + name),
				Labels: map[string]string{"ray.io/group": "w"}, OwnerReferences: []metav1.OwnerReference{{Kind: "RayCluster", UID: "c", Controller: ptr.To(true)}}},
				Spec: spec}, true)
		}
		m.Pods().OnAdd(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "single", UID: "single", Labels: labels}, Spec: spec}, true)

		s := m.Snapshot(time.Unix(1_700_000_000, 0))
		p := scheduler.Decide(s, anywhere{})
		if len(p.Verdicts) != len(s.Gangs) {
			t.Errorf("%d gangs, %d verdicts", len(s.Gangs), len(p.Verdicts))
		}
		for _, v := range p.Verdicts {
			if v.Reason == "" || v.Message == "" {
				t.Errorf("a verdict without a reason: %+v", v)
			}
		}
		for _, q := range s.Queues {
			for _, c := range []snapshot.Ceiling{q.Quota, q.Limit} {
				if c.MilliGPU < snapshot.Unlimited || c.MilliCPU < snapshot.Unlimited || c.Memory < snapshot.Unlimited {
					t.Errorf("a ceiling below -1: %+v", q)
				}
			}
		}
	})
}
