package fit_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/fit"
)

// The cases are those of the API server's eviction subresource.
func TestPodsThatCannotBeEvicted(t *testing.T) {
	always := policyv1.AlwaysAllow
	cases := map[string]struct {
		reason string
		pod    corev1.PodStatus
		budget policyv1.PodDisruptionBudgetStatus
		policy *policyv1.UnhealthyPodEvictionPolicyType
		second bool // another budget, which allows it, selects the pod too
		want   fit.Guard
	}{
		"Spent":          {reason: "one more may not go", pod: running(true), want: fit.Guard{Why: "disruption budget b allows no eviction of it"}},
		"Left":           {reason: "one may", pod: running(true), budget: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1}, want: fit.Guard{Budget: "b", Allows: 1}},
		"Starting":       {reason: "it does not run yet", pod: corev1.PodStatus{Phase: corev1.PodPending}},
		"Unready":        {reason: "enough others are healthy", pod: running(false), budget: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 2, DesiredHealthy: 2}},
		"UnreadyTooMany": {reason: "too few others are healthy", pod: running(false), budget: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 2}, want: fit.Guard{Why: "disruption budget b allows no eviction of it"}},
		"UnreadyAlways":  {reason: "the budget is about healthy pods only", pod: running(false), budget: policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 2}, policy: &always},
		"Two": {reason: "the API server does not know which to ask", pod: running(true), budget: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1}, second: true,
			want: fit.Guard{Why: "more than one disruption budget selects it"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := fit.NewDrainer()
			b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "b"},
				Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}, UnhealthyPodEvictionPolicy: c.policy}, Status: c.budget}
			d.SetBudget(b)
			if c.second {
				b = b.DeepCopy()
				b.Name = "a"
				d.SetBudget(b)
			}
			if got := d.Guards(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml"}, Status: c.pod}); got != c.want {
				t.Errorf("%s: %+v, want %+v", c.reason, got, c.want)
			}
		})
	}
}

func running(ready bool) corev1.PodStatus {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}
}
