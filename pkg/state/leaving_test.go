package state_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
)

// TestWhoLeaves: whoever is asked to go, named to KubeRay, or a member of what is suspended will be gone, and
// holds its quota until it is being deleted.
func TestWhoLeaves(t *testing.T) {
	cases := map[string]struct {
		reason        string
		change        func(*rayWorld, *rayv1.RayCluster, *corev1.Pod)
		leaves, quota bool
	}{
		"Nobody":  {"it runs", func(*rayWorld, *rayv1.RayCluster, *corev1.Pod) {}, false, false},
		"Asked":   {"it may finish something first", func(w *rayWorld, _ *rayv1.RayCluster, _ *corev1.Pod) { w.AssumeLeaving([]types.UID{"a-uid"}) }, true, true},
		"Evicted": {"the API server has said so", func(w *rayWorld, _ *rayv1.RayCluster, _ *corev1.Pod) { w.AssumeEvicted([]types.UID{"a-uid"}) }, true, false},
		"Refused": {"it was given work again", func(w *rayWorld, _ *rayv1.RayCluster, _ *corev1.Pod) {
			w.AssumeLeaving([]types.UID{"a-uid"})
			w.AssumeStaying([]types.UID{"a-uid"})
		}, false, false},
		"Named": {"KubeRay deletes who is in the list", func(w *rayWorld, rc *rayv1.RayCluster, _ *corev1.Pod) {
			rc.Spec.WorkerGroupSpecs[0].ScaleStrategy.WorkersToDelete = []string{"a"}
			w.RayClusters().OnUpdate(rc, rc)
		}, true, true},
		"Suspended": {"KubeRay deletes all", func(w *rayWorld, rc *rayv1.RayCluster, _ *corev1.Pod) {
			yes := true
			rc.Spec.Suspend = &yes
			w.RayClusters().OnUpdate(rc, rc)
		}, true, true},
		"Deleted": {"it is on its way out", func(w *rayWorld, _ *rayv1.RayCluster, p *corev1.Pod) {
			p = p.DeepCopy()
			p.DeletionTimestamp = &metav1.Time{Time: w.now}
			w.Pods().OnUpdate(p, p)
		}, true, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newRayWorld(t)
			rc := w.cluster("rc", nil, "")
			p := w.pod("a", rc, "RayCluster", "w").DeepCopy()
			p.Spec.NodeName = "node-1"
			w.Pods().OnUpdate(p, p)
			c.change(w, rc.DeepCopy(), p)
			got := w.only().Members[0]
			if got.Terminating != c.leaves || got.Lingers != c.quota {
				t.Errorf("%s: leaves %v, holds its quota %v", c.reason, got.Terminating, got.Lingers)
			}
		})
	}
}
