package state

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestSnapshotMakesAgainWhatChanged compares, after every event, the snapshot that is made from what
// changed with one that is made from everything.
func TestSnapshotMakesAgainWhatChanged(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := New(&v1alpha1.Config{SchedulerNames: []string{"capmgr"}})
		now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		var before *snapshot.Snapshot
		text := ""
		for step := range 100 {
			what := event(r, m, now)
			now = now.Add(time.Second)
			got := m.Snapshot(now)
			m.kept.all = true
			want := m.Snapshot(now)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, step %d, %s: all again (-) and what changed (+):\n%s", seed, step, what, diff)
			}
			if before != nil && fmt.Sprint(len(before.Gangs), len(before.Nodes)) != text {
				t.Fatalf("seed %d, step %d, %s: an earlier snapshot was changed", seed, step, what)
			}
			before, text = want, fmt.Sprint(len(want.Gangs), len(want.Nodes))
		}
	}
}

func event(r *rand.Rand, m *Mirror, now time.Time) string {
	node := func() string { return fmt.Sprint("n", r.IntN(6)) }
	owner := fmt.Sprint([]string{"j", "sj"}[r.IntN(2)], r.IntN(5))
	uid := types.UID(fmt.Sprint("p", r.IntN(20)))
	if r.IntN(3) == 0 {
		return rayEvent(r, m, now, fmt.Sprint("j", r.IntN(5)))
	}
	if r.IntN(4) == 0 {
		return ownerEvent(r, m)
	}
	switch r.IntN(12) {
	case 0:
		m.Nodes().OnAdd(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node()},
			Spec:   corev1.NodeSpec{Unschedulable: r.IntN(4) == 0},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}, false)
		return "node"
	case 1:
		m.Nodes().OnDelete(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node()}})
		return "node gone"
	case 2:
		m.Jobs().OnAdd(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: owner, UID: types.UID(owner),
			Annotations: map[string]string{v1alpha1.BatchMinMemberAnnotation: fmt.Sprint(r.IntN(3))}}, Spec: batchv1.JobSpec{Parallelism: ptr.To[int32](2)}}, false)
		return "job"
	case 3:
		m.Jobs().OnDelete(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: owner, UID: types.UID(owner)}})
		return "job gone"
	case 4:
		m.AssumeBound(uid, node())
		return "bound"
	case 5:
		m.AssumeEvicted([]types.UID{uid})
		return "evicted"
	case 6:
		m.Forget(uid)
		return "forgotten"
	case 7:
		m.Pods().OnDelete(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: string(uid), UID: uid}})
		return "pod gone"
	case 8:
		m.mu.Lock()
		gangs := m.kept.gangs
		m.mu.Unlock()
		if len(gangs) > 0 {
			m.Hold(gangs[r.IntN(len(gangs))].ID, now.Add(5*time.Second))
		}
		return "held"
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: string(uid), UID: uid, Labels: map[string]string{v1alpha1.QueueLabel: "q"}},
		Spec: corev1.PodSpec{SchedulerName: []string{"capmgr", "capmgr", "other"}[r.IntN(3)]}}
	if r.IntN(3) > 0 {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: []string{"Job", "RayCluster", "ReplicaSet"}[r.IntN(3)], UID: types.UID(owner), Controller: ptr.To(true)}}
	}
	if r.IntN(4) == 0 {
		kind := []string{ReplicaSet, StatefulSet}[r.IntN(2)]
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, UID: types.UID(fmt.Sprint(kind, r.IntN(3))), Controller: ptr.To(true)}}
	}
	if r.IntN(2) == 0 {
		p.Spec.NodeName = node()
	}
	switch r.IntN(8) {
	case 0:
		p.Status.Phase = corev1.PodSucceeded
	case 1:
		p.Status.Phase, p.Status.Reason = corev1.PodFailed, "OutOfcpu"
	}
	m.Pods().OnAdd(p, false)
	return "pod"
}

// ownerEvent changes one of the owners that create pods one by one. A ReplicaSet may be adopted.
func ownerEvent(r *rand.Rand, m *Mirror) string {
	kind := []string{Deployment, ReplicaSet, StatefulSet}[r.IntN(3)]
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: kind, UID: types.UID(fmt.Sprint(kind, r.IntN(3)))}}
	if r.IntN(4) == 0 {
		m.Owners(kind).OnDelete(o)
		return kind + " gone"
	}
	o.Labels = map[string]string{v1alpha1.QueueLabel: []string{"", "q", "r"}[r.IntN(3)]}
	if kind == ReplicaSet && r.IntN(4) > 0 {
		o.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: Deployment, UID: types.UID(fmt.Sprint(Deployment, r.IntN(3))), Controller: ptr.To(true)}}
	}
	m.Owners(kind).OnAdd(o, false)
	return kind
}

// rayEvent changes one of Ray's objects, or what a head says.
func rayEvent(r *rand.Rand, m *Mirror, now time.Time, name string) string {
	controller := func() []metav1.OwnerReference {
		kind := []string{"", "RayJob", "RayService"}[r.IntN(3)]
		if kind == "" {
			return nil
		}
		return []metav1.OwnerReference{{Kind: kind, UID: types.UID(fmt.Sprint(kind, r.IntN(3))), Controller: ptr.To(true)}}
	}
	meta := func(uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid), Labels: map[string]string{v1alpha1.QueueLabel: []string{"", "q"}[r.IntN(2)]}}
	}
	spec := rayv1.RayClusterSpec{WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: ptr.To(int32(r.IntN(3))), MaxReplicas: ptr.To[int32](4)}}} //nolint:gosec // small
	switch top := fmt.Sprint(r.IntN(3)); r.IntN(9) {
	case 0, 1:
		rc := &rayv1.RayCluster{ObjectMeta: meta(name), Spec: spec}
		if old := m.clusters[rc.UID]; old != nil { // who controls an object does not change
			rc.OwnerReferences = old.OwnerReferences
		} else {
			rc.OwnerReferences = controller()
		}
		m.RayClusters().OnAdd(rc, false)
		return "raycluster"
	case 2:
		if old := m.clusters[types.UID(name)]; old != nil {
			m.RayClusters().OnDelete(old)
		}
		return "raycluster gone"
	case 3:
		j := &rayv1.RayJob{ObjectMeta: meta("RayJob" + top)}
		j.Name = "RayJob" + top
		if j.Spec.RayClusterSpec = &spec; r.IntN(3) == 0 {
			j.Spec.RayClusterSpec, j.Spec.ClusterSelector = nil, map[string]string{"ray.io/cluster": name}
		}
		if old := m.rayJobs[j.UID]; old != nil {
			j.Spec.ClusterSelector, j.Spec.RayClusterSpec = old.Spec.ClusterSelector, old.Spec.RayClusterSpec
		}
		j.Spec.Suspend, j.Status.RayClusterName = r.IntN(2) == 0, name
		m.RayJobs().OnAdd(j, false)
		return "rayjob"
	case 4:
		if old := m.rayJobs[types.UID("RayJob"+top)]; old != nil {
			m.RayJobs().OnDelete(old)
		}
		return "rayjob gone"
	case 5:
		job := &batchv1.Job{ObjectMeta: meta("s" + name)}
		if old := m.jobs[job.UID]; old != nil {
			job.OwnerReferences = old.OwnerReferences
		} else {
			job.OwnerReferences = controller()
		}
		m.Jobs().OnAdd(job, false)
		return "job of a rayjob"
	case 6:
		s := &rayv1.RayService{ObjectMeta: meta("RayService" + top)}
		s.Status.ActiveServiceStatus.RayClusterName = name
		m.RayServices().OnAdd(s, false)
		return "rayservice"
	case 7:
		a := gcs.Answer{At: now.Add(-time.Duration(r.IntN(20)) * time.Second)}
		a.State.Nodes = []demand.Node{{ID: "n", Pod: fmt.Sprint("p", r.IntN(20)), Group: "w", Status: demand.Idle, IdleFor: time.Minute}}
		m.Hear(name, a)
		return "heard"
	}
	m.Heads()
	return "heads"
}
