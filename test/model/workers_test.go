package model

import (
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func workersOf(w *World, cluster string) (out []string) {
	for _, p := range w.Pods() {
		if p.Labels["ray.io/cluster"] == cluster && p.Labels[ray.GroupLabel] != ray.HeadGroup {
			out = append(out, p.Name)
		}
	}
	return out
}

// Grants become replicas by the steps that the executor takes as well.
func TestGrantsAreApplied(t *testing.T) {
	w := newWorld(t)
	if err := w.ChangeRayCluster("ml", "train", func(rc *rayv1.RayCluster) {
		rc.Spec.WorkerGroupSpecs[0].Replicas, rc.Spec.WorkerGroupSpecs[0].MinReplicas, rc.Spec.WorkerGroupSpecs[0].MaxReplicas = ptr.To[int32](2), ptr.To[int32](1), ptr.To[int32](4)
	}); err != nil {
		t.Fatal(err)
	}
	grant := func(n int) int {
		t.Helper()
		s := w.Snapshot()
		steps, _ := scaling.WorkerSteps(s, []scaling.Grant{{Gang: s.Gangs[0].ID, Group: "w", Replicas: n}})
		if err := w.Apply(&plan.Plan{Rev: s.Rev, Steps: steps}); err != nil {
			t.Fatal(err)
		}
		return len(steps)
	}
	grant(1)
	rc := w.clusters[types.NamespacedName{Namespace: "ml", Name: "train"}]
	if *rc.Spec.WorkerGroupSpecs[0].Replicas != 1 || len(workersOf(w, "train")) != 1 || rc.Annotations[v1alpha1.DesiredReplicasAnnotation] != "w=2" {
		t.Errorf("%+v, %v, %v", rc.Spec.WorkerGroupSpecs[0], workersOf(w, "train"), rc.Annotations)
	}
	w.Restart()
	w.Now = w.Now.Add(time.Minute)
	grant(2)
	rc = w.clusters[types.NamespacedName{Namespace: "ml", Name: "train"}]
	if g := rc.Spec.WorkerGroupSpecs[0]; *g.Replicas != 2 || len(g.ScaleStrategy.WorkersToDelete) > 0 || len(workersOf(w, "train")) != 2 {
		t.Errorf("%+v, %v", g, workersOf(w, "train"))
	}
	if n := grant(2); n != 0 {
		t.Errorf("%d steps when all is as granted", n)
	}
}

func TestASurplusNameBreaksTheModel(t *testing.T) {
	w := newWorld(t)
	s := w.Snapshot()
	g := s.Gangs[0]
	step := plan.Resize{Gang: plan.OwnerOf(g), Cluster: plan.Of(g.Cluster), Group: plan.Group{Name: "w", Hosts: 1}, From: 2, To: 0}
	if err := w.Apply(&plan.Plan{Rev: s.Rev, Steps: []plan.Step{step}}); err == nil {
		t.Error("replicas were lowered without names")
	}
}

func TestAHeldJobRunsWhenItIsResumed(t *testing.T) {
	w := newWorld(t)
	if err := w.DeleteRayCluster("ml", "train"); err != nil {
		t.Fatal(err)
	}
	spec := rayv1.RayClusterSpec{WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: ptr.To[int32](1)}}}
	w.PutRayJob(&rayv1.RayJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "job", Labels: map[string]string{v1alpha1.QueueLabel: "q"},
		Annotations: map[string]string{v1alpha1.SuspensionAnnotation: string(snapshot.SuspendedUntilGranted)}},
		Spec: rayv1.RayJobSpec{Suspend: true, ShutdownAfterJobFinishes: true, RayClusterSpec: &spec}})
	only := func() *snapshot.Gang {
		t.Helper()
		gangs := w.Snapshot().Gangs
		if len(gangs) != 1 {
			t.Fatalf("%d gangs", len(gangs))
		}
		return gangs[0]
	}
	g := only()
	if !g.Held || len(w.Pods()) > 0 {
		t.Fatalf("%+v, %d pods", g, len(w.Pods()))
	}
	apply := func(step plan.Step) {
		t.Helper()
		if err := w.Apply(&plan.Plan{Rev: w.Snapshot().Rev, Steps: []plan.Step{step}}); err != nil {
			t.Fatal(err)
		}
	}
	apply(plan.Resume{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable)})
	if now := only(); now.ID != g.ID || now.Held || len(now.Members) != 2 {
		t.Errorf("resumed: %+v", now)
	}
	if err := w.EndRayJob("ml", "job", true); err != nil {
		t.Fatal(err)
	}
	if now := only(); now.ID != g.ID || len(now.Members) != 2 {
		t.Errorf("tried again: %+v", now)
	}
	apply(plan.Suspend{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable), Mode: snapshot.SuspendedForOthers})
	if now := only(); !now.Held || len(w.Pods()) > 0 {
		t.Errorf("preempted: %+v, %d pods", now, len(w.Pods()))
	}
	apply(plan.Resume{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable)})
	if err := w.EndRayJob("ml", "job", false); err != nil {
		t.Fatal(err)
	}
	if gangs := w.Snapshot().Gangs; len(gangs) > 0 || len(w.Pods()) > 0 {
		t.Errorf("done: %d gangs, %d pods", len(gangs), len(w.Pods()))
	}
}
