package model

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/fit"
)

// PutBudget creates or replaces a disruption budget. How many evictions it allows is the test's to say:
// nobody counts healthy pods here.
func (w *World) PutBudget(b *policyv1.PodDisruptionBudget) {
	w.changes++
	key := keyOf(b)
	old := w.budgets[key]
	w.stamp(&b.ObjectMeta, "budget")
	w.budgets[key] = b
	if old == nil {
		w.mirror.PodDisruptionBudgets().OnAdd(b, false)
	} else {
		w.mirror.PodDisruptionBudgets().OnUpdate(old, b)
	}
}

// AllowEvictions says how many evictions a disruption budget allows from now on.
func (w *World) AllowEvictions(namespace, name string, n int32) error {
	b := w.budgets[types.NamespacedName{Namespace: namespace, Name: name}]
	if b == nil {
		return fmt.Errorf("allow evictions by budget %s/%s: there is none", namespace, name)
	}
	b = b.DeepCopy()
	b.Status.DisruptionsAllowed = n
	w.PutBudget(b)
	return nil
}

// refusedBy names the disruption budget that allows no eviction of a pod, or "". One that allows it has
// one less to allow.
func (w *World) refusedBy(p *corev1.Pod) string {
	for _, key := range sortedNames(w.budgets) {
		b := w.budgets[key]
		if b.Namespace != p.Namespace || !fit.Selected(b).Matches(labels.Set(p.Labels)) {
			continue
		}
		if b.Status.DisruptionsAllowed < 1 {
			return b.Name
		}
		_ = w.AllowEvictions(b.Namespace, b.Name, b.Status.DisruptionsAllowed-1) // it is there
	}
	return ""
}
