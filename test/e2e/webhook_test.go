package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// webhook-down (KAI-Scheduler#883): with the webhook down, everything is made as if there were none, Ray's
// own pods included.
func TestWebhookDown(t *testing.T) {
	t.Parallel()
	s, err := raiseRay(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
		if err := s.dashboards.Stop(); err != nil {
			t.Errorf("stop the dashboards: %v", err)
		}
	})
	manager := s.Process("capmgr")
	if err := manager.Kill(); err != nil {
		t.Fatal(err)
	}
	<-manager.Done()
	const pods = 40
	began := time.Now()
	for k := range pods {
		s.create(t, &corev1.Pod{ObjectMeta: metaOf("default", fmt.Sprintf("unrelated-%d", k)), Spec: container("c", "10m", "16Mi", "").Spec})
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("%d pods took %s to be made", pods, took)
	}
	list := &corev1.PodList{}
	if err := s.Client.List(t.Context(), list, client.InNamespace("default")); err != nil || len(list.Items) != pods {
		t.Errorf("%d of %d unrelated pods were made: %v", len(list.Items), pods, err)
	}
	// What it is asked about is made as well, unstamped.
	s.create(t, plain("default", "rc", "open", 2, 2, 2))
	eventually(t, time.Minute, "KubeRay to make its pods", func(ctx context.Context) (bool, string, error) {
		workers, err := s.workers(ctx, "default", "rc")
		return len(workers) == 2, fmt.Sprint(names(workers)), err
	})
	for _, p := range s.workersNow(t, "default", "rc") {
		if p.Spec.SchedulerName != corev1.DefaultSchedulerName || p.Labels[v1alpha1.QueueLabel] != "" {
			t.Errorf("pod %s was stamped by nobody: %s", p.Name, p.Spec.SchedulerName)
		}
	}
	j := heldJob("default", "not-held")
	s.create(t, j)
	if j.Spec.Suspend {
		t.Error("a job was held by nobody")
	}
}

// A pod whose author names another team's queue gets the queue of the object that controls it; one that
// nobody controls is not touched.
func TestWebhookTrustsOwnersOnly(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "forged")
	rc := plain("forged", "rc", "open", 1, 1, 1)
	rc.Spec.WorkerGroupSpecs[0].Template.Labels = map[string]string{v1alpha1.QueueLabel: "tight"}
	s.create(t, rc)
	s.awaitReady(t, "forged", "rc", time.Minute)
	for _, p := range s.workersNow(t, "forged", "rc") {
		if p.Labels[v1alpha1.QueueLabel] != "open" || p.Spec.SchedulerName != "capmgr" {
			t.Errorf("queue %s, scheduler %s", p.Labels[v1alpha1.QueueLabel], p.Spec.SchedulerName)
		}
	}
	yes := true
	for name, uid := range map[string]string{"stranger": "", "impostor": "00000000-0000-0000-0000-000000000000"} {
		p := &corev1.Pod{ObjectMeta: metaOf("forged", name), Spec: container("c", "10m", "16Mi", "").Spec}
		p.Labels = map[string]string{"ray.io/is-ray-node": "yes"}
		if uid != "" {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "rc", UID: "x", Controller: &yes}}
			p.OwnerReferences[0].UID = "00000000-0000-0000-0000-000000000000"
		}
		s.create(t, p)
		if p.Spec.SchedulerName != corev1.DefaultSchedulerName || p.Labels[v1alpha1.QueueLabel] != "" {
			t.Errorf("%s was stamped: %s, %v", name, p.Spec.SchedulerName, p.Labels)
		}
	}
}
