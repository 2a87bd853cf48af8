package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
)

// kaiScheduler is the scheduler name that KubeRay writes with batchScheduler.name=kai-scheduler.
const kaiScheduler = "kai-scheduler"

// PutRayCluster creates or replaces a RayCluster, and KubeRay makes its pods.
func (w *World) PutRayCluster(rc *rayv1.RayCluster) {
	w.changes++
	w.putRayCluster(rc)
	w.Reconcile()
}

func (w *World) putRayCluster(rc *rayv1.RayCluster) {
	old := w.clusters[keyOf(rc)]
	if old != nil {
		rc.UID, rc.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	w.stamp(&rc.ObjectMeta, "raycluster")
	w.clusters[keyOf(rc)] = rc
	show(w.mirror.RayClusters(), old, rc)
}

// ChangeRayCluster changes a copy of a RayCluster and puts it back.
func (w *World) ChangeRayCluster(namespace, name string, change func(*rayv1.RayCluster)) error {
	rc := w.clusters[types.NamespacedName{Namespace: namespace, Name: name}]
	if rc == nil {
		return fmt.Errorf("change raycluster %s/%s: there is none", namespace, name)
	}
	rc = rc.DeepCopy()
	change(rc)
	w.PutRayCluster(rc)
	return nil
}

// DeleteRayCluster removes a RayCluster and, through the garbage collector, all that it owns.
func (w *World) DeleteRayCluster(namespace, name string) error {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	rc := w.clusters[key]
	if rc == nil {
		return fmt.Errorf("delete raycluster %s: there is none", key)
	}
	w.changes++
	delete(w.clusters, key)
	w.mirror.RayClusters().OnDelete(rc)
	w.collect(rc.UID)
	return nil
}

// Reconcile lets KubeRay bring the pods of every RayCluster in line with its spec, and other controllers
// make the pods that theirs lack.
func (w *World) Reconcile() {
	for _, m := range w.makers {
		w.replace(m)
	}
	if w.KubeRayStopped {
		return
	}
	for _, rc := range values(w.clusters) {
		w.reconcile(rc)
	}
}

func (w *World) reconcile(rc *rayv1.RayCluster) {
	stopped := ray.Suspended(rc)
	head := 1
	if stopped {
		head = 0
	}
	w.reconcileGroup(rc, ray.HeadGroup, rc.Spec.HeadGroupSpec.Template, head, nil)
	for i := range rc.Spec.WorkerGroupSpecs {
		g := &rc.Spec.WorkerGroupSpecs[i]
		want := int(deref(g.Replicas))
		want = max(want, int(deref(g.MinReplicas)))
		if g.MaxReplicas != nil {
			want = min(want, int(*g.MaxReplicas))
		}
		want *= max(1, int(g.NumOfHosts))
		if stopped || g.Suspend != nil && *g.Suspend {
			want = 0
		}
		w.reconcileGroup(rc, g.GroupName, g.Template, want, g.ScaleStrategy.WorkersToDelete)
	}
}

// reconcileGroup deletes the named workers, then makes or deletes pods until the number is right.
// Whom KubeRay deletes beyond the named is its secret; here it is who waits, then the youngest.
func (w *World) reconcileGroup(rc *rayv1.RayCluster, group string, template corev1.PodTemplateSpec, want int, named []string) {
	var have []*corev1.Pod
	for _, p := range w.Pods() {
		if !metav1.IsControlledBy(p, rc) || p.Labels[ray.GroupLabel] != group {
			continue
		}
		if over(p) {
			w.removePod(p) // KubeRay replaces workers that ended
			continue
		}
		if slices.Contains(named, p.Name) {
			w.endPod(p)
			continue
		}
		have = append(have, p)
	}
	slices.SortFunc(have, func(a, b *corev1.Pod) int {
		return cmp.Or(compare(bound(a), bound(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(len(a.Name), len(b.Name)), compare(a.Name, b.Name))
	})
	for len(have) > want {
		w.endPod(have[len(have)-1])
		have = have[:len(have)-1]
	}
	for k := 1; len(have) < want; k++ {
		name := fmt.Sprintf("%s-%s-worker-%d", rc.Name, group, k)
		if group == ray.HeadGroup {
			name = rc.Name + "-head"
		}
		if w.pods[types.NamespacedName{Namespace: rc.Namespace, Name: name}] == nil {
			p := workerPod(rc, group, name, template)
			w.PutPod(p)
			have = append(have, p)
		}
	}
}

// endPod deletes a pod. One that runs leaves its node when the clock has moved past its grace.
func (w *World) endPod(p *corev1.Pod) {
	if p.Spec.NodeName == "" {
		w.removePod(p)
		return
	}
	if p.DeletionTimestamp == nil {
		p = p.DeepCopy()
		now := metav1.NewTime(w.Now)
		p.DeletionTimestamp = &now
		w.putPod(p)
	}
}

// bound sorts pods that have a node before those that wait.
func bound(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return "a"
	}
	return "b"
}

func workerPod(rc *rayv1.RayCluster, group, name string, template corev1.PodTemplateSpec) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	p.Namespace, p.Name = rc.Namespace, name
	labels := map[string]string{"ray.io/cluster": rc.Name, ray.GroupLabel: group}
	if queue := rc.Labels[v1alpha1.QueueLabel]; queue != "" {
		labels[v1alpha1.QueueLabel] = queue
	}
	maps.Copy(labels, p.Labels)
	p.Labels = labels
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster",
		Name: rc.Name, UID: rc.UID, Controller: yes()}}
	if p.Spec.SchedulerName == "" {
		p.Spec.SchedulerName = kaiScheduler
	}
	return p
}

func yes() *bool { t := true; return &t }

func deref(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}
