package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is kept in memory of a ReplicaSet is what a decision reads of it.
func TestLean(t *testing.T) {
	kept := metav1.ObjectMeta{Namespace: "ml", Name: "web-1", UID: "u", Labels: map[string]string{"app": "web"}, OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment"}}}
	full := *kept.DeepCopy()
	full.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	selector := &metav1.LabelSelector{MatchLabels: kept.Labels}
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{NodeName: "n"}}
	for name, c := range map[string]struct{ in, want any }{
		"ReplicaSet": {&appsv1.ReplicaSet{ObjectMeta: *full.DeepCopy(), Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}, Status: appsv1.ReplicaSetStatus{Replicas: 3}},
			&appsv1.ReplicaSet{ObjectMeta: kept, Spec: appsv1.ReplicaSetSpec{Selector: selector}}},
		"StatefulSet": {&appsv1.StatefulSet{ObjectMeta: *full.DeepCopy(), Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}, Status: appsv1.StatefulSetStatus{Replicas: 3}},
			&appsv1.StatefulSet{ObjectMeta: kept, Spec: appsv1.StatefulSetSpec{Selector: selector}}},
		"Deployment": {&metav1.PartialObjectMetadata{ObjectMeta: *full.DeepCopy()}, &metav1.PartialObjectMetadata{ObjectMeta: kept}},
	} {
		got, err := lean(c.in)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: full.Annotations}}
	if got, err := lean(pod.DeepCopy()); err != nil || !cmp.Equal(got, any(pod)) {
		t.Errorf("annotations of pods count: %v %v", got, err)
	}
}
