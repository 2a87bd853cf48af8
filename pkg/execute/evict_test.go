package execute_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"

	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

// kept is the answer of the API server where a disruption budget allows no eviction.
func kept() error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause})
	return err
}

func TestWhatADisruptionBudgetKeepsIsNoError(t *testing.T) {
	cases := map[string]struct {
		reason string
		answer error
		fails  bool
		event  string
	}{
		"Budget":     {"the budget has to change, and that is seen", kept(), false, "Warning EvictionRefused Pod default/w-0 of raycluster/default/train stays: a disruption budget allows no eviction of it now"},
		"Overloaded": {"the API server says so in the same way, and is asked again", apierrors.NewTooManyRequests("too many", 1), true, ""},
		"Gone":       {"what was wanted has happened", apierrors.NewNotFound(corev1.Resource("pods"), "w-0"), false, "Warning Preempted Evicted 1 pod for pod/default/serve"},
		"Away":       {"the outcome is not known", errors.New("connection reset"), true, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e, _ := world(t, &stub{})
			events := record.NewFakeRecorder(10)
			e.Events = events
			e.Memory = types.NamespacedName{Namespace: "capmgr-system", Name: "capmgr-memory"}
			kube := fake.NewClientset()
			kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
				return a.GetSubresource() == "eviction", nil, c.answer
			})
			e.Kube = kube
			serve := plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: "serve", UID: "serve"}
			err := e.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{plan.Evict{Gang: train, For: serve, Because: "for pod/default/serve",
				Pods: []plan.PodRef{{Namespace: "default", Name: "w-0", UID: "w-0"}}}}})
			if (err != nil) != c.fails {
				t.Errorf("%s: %v", c.reason, err)
			}
			close(events.Events)
			var told []string
			for text := range events.Events {
				told = append(told, text)
			}
			if strings.Join(told, "\n") != c.event {
				t.Errorf("%s: told %q, want %q", c.reason, told, c.event)
			}
		})
	}
}

// For whom others are evicted is written down before the first of them goes: a manager that takes over in
// the midst of it must not evict more.
func TestForWhomOthersAreEvictedIsLeftToASuccessor(t *testing.T) {
	e, _ := world(t, &stub{})
	e.Memory = types.NamespacedName{Namespace: "capmgr-system", Name: "capmgr-memory"}
	kube := fake.NewClientset()
	kube.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		return a.GetSubresource() == "eviction", nil, nil
	})
	e.Kube = kube
	serve := plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: "serve", UID: "serve"}
	if err := e.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{plan.Evict{Gang: train, For: serve,
		Pods: []plan.PodRef{{Namespace: "default", Name: "w-0", UID: "w-0"}}}}}); err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, a := range kube.Actions() {
		calls = append(calls, a.GetVerb()+" "+a.GetResource().Resource)
	}
	if diff := cmp.Diff([]string{"get configmaps", "create configmaps", "create pods"}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	left, err := execute.ReadMemory(t.Context(), kube, e.Memory)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]state.Eviction{"default/Pod/serve/serve": {At: noon, Tries: 1}}, left.Evictions); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
