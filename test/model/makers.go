package model

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/state"
)

// maker is a Deployment or StatefulSet, as far as anybody here looks at it.
type maker struct {
	kind     string
	top      *metav1.PartialObjectMetadata
	set      *metav1.PartialObjectMetadata // the ReplicaSet of a Deployment; nil elsewhere
	replicas int
	pods     corev1.PodTemplateSpec
}

// creator is the object that controls the pods, and its kind.
func (m *maker) creator() (*metav1.PartialObjectMetadata, string) {
	if m.set != nil {
		return m.set, state.ReplicaSet
	}
	return m.top, m.kind
}

// PutMaker creates a Deployment or StatefulSet, and its controller makes its pods.
func (w *World) PutMaker(kind string, o metav1.ObjectMeta, replicas int, pods corev1.PodTemplateSpec) {
	w.changes++
	m := &maker{kind: kind, top: &metav1.PartialObjectMetadata{ObjectMeta: o}, replicas: replicas, pods: pods}
	w.stamp(&m.top.ObjectMeta, kind)
	if kind == state.Deployment {
		m.set = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name + "-1", OwnerReferences: controlledBy(m.top, kind)}}
		w.stamp(&m.set.ObjectMeta, state.ReplicaSet)
	}
	w.makers = append(w.makers, m)
	w.showMaker(m)
	w.Reconcile()
}

func (w *World) showMaker(m *maker) {
	w.mirror.Owners(m.kind).OnAdd(m.top, false)
	if m.set != nil {
		w.mirror.Owners(state.ReplicaSet).OnAdd(m.set, false)
	}
}

func controlledBy(o metav1.Object, kind string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: kind, Name: o.GetName(), UID: o.GetUID(), Controller: yes()}}
}

// replace makes the pods that a maker lacks. One that is on its way out is replaced at once, but for those
// of StatefulSets, whose names are taken until then.
func (w *World) replace(m *maker) {
	creator, kind := m.creator()
	have, names := 0, map[string]bool{}
	for _, p := range w.Pods() {
		if metav1.IsControlledBy(p, creator) && !over(p) {
			names[p.Name] = true
			if p.DeletionTimestamp == nil {
				have++
			}
		}
	}
	for k := 1; have < m.replicas && (k <= m.replicas || m.set != nil); k++ {
		name := fmt.Sprintf("%s-%d", creator.Name, k)
		if names[name] {
			continue
		}
		p := &corev1.Pod{ObjectMeta: *m.pods.ObjectMeta.DeepCopy(), Spec: *m.pods.Spec.DeepCopy()}
		p.Namespace, p.Name, p.OwnerReferences = creator.Namespace, name, controlledBy(creator, kind)
		w.PutPod(p)
		have++
	}
}

// askedAbove is the queue that the top owner of a pod asks for on its behalf, or "".
func (w *World) askedAbove(p *corev1.Pod) string {
	for _, rc := range values(w.clusters) {
		if metav1.IsControlledBy(p, rc) {
			return ray.Queue(rc.Labels)
		}
	}
	for _, m := range w.makers {
		if creator, _ := m.creator(); metav1.IsControlledBy(p, creator) {
			return ray.Queue(m.top.Labels)
		}
	}
	return ""
}
