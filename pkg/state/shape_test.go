package state_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// TestAShapeIsALabel: the shape is written as a label of the CapacityRequest; one that the API server
// refuses there keeps the gang from ever buying.
func TestAShapeIsALabel(t *testing.T) {
	for name, preemptibility := range map[string]string{"Absent": "", "Preemptible": "preemptible", "Forged": "/no/label/../"} {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			m.Pods().OnAdd(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "p", Labels: map[string]string{v1alpha1.PreemptibilityLabel: preemptibility}},
				Spec:       corev1.PodSpec{SchedulerName: "capmgr"}}, false)
			gangs := m.Snapshot(noon).Gangs
			if len(gangs) != 1 {
				t.Fatalf("%d gangs", len(gangs))
			}
			if broken := validation.IsValidLabelValue(gangs[0].Shape); len(broken) > 0 || gangs[0].Shape == "" {
				t.Errorf("shape %q: %v", gangs[0].Shape, broken)
			}
		})
	}
}
