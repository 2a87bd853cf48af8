package state_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pods are protected while a budget that selects them is spent, in whatever order the two are seen.
func TestPodsOfASpentBudgetAreProtected(t *testing.T) {
	m := newMirror()
	pod := func(name, app string) *corev1.Pod {
		yes := true
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "x", UID: "x", Controller: &yes}}}, Spec: corev1.PodSpec{NodeName: "n"}}
	}
	budget := func(app string, allowed int32) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "b"},
			Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
			Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed}}
	}
	m.Nodes().OnAdd(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, false)
	m.Pods().OnAdd(pod("before", "x"), false)
	protected := func(when string, want ...string) {
		t.Helper()
		got := map[string]bool{}
		for _, p := range m.Snapshot(noon).Node("n").Pods {
			if p.Protected != "" {
				got[p.Name] = true
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
		for _, name := range want {
			if !got[name] {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
	}
	protected("no budget")
	spent := budget("x", 0)
	m.PodDisruptionBudgets().OnAdd(spent, false)
	m.Pods().OnAdd(pod("after", "x"), false)
	m.Pods().OnAdd(pod("other", "y"), false)
	protected("spent", "before", "after")
	left := budget("x", 1)
	m.PodDisruptionBudgets().OnUpdate(spent, left)
	protected("one may go")
	m.PodDisruptionBudgets().OnUpdate(left, spent)
	moved := budget("y", 0)
	m.PodDisruptionBudgets().OnUpdate(spent, moved)
	protected("it selects others", "other")
	m.PodDisruptionBudgets().OnDelete(moved)
	protected("deleted")
}
