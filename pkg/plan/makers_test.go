package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
)

var web = plan.Owner{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "ml", Name: "web", UID: "d"}

// onWeb is a verdict on a pod of the Deployment.
func onWeb(pod string, reason plan.Reason) *plan.Verdict {
	return &plan.Verdict{Gang: plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: "ml", Name: pod, UID: pod}, Maker: web, Queue: "q", Reason: reason, Message: "for " + pod}
}

func TestVerdictsOnMakers(t *testing.T) {
	early := onWeb("e", plan.NoNodeFits)
	early.Early = true
	cases := map[string]struct {
		reason string
		pods   []*plan.Verdict
		want   string
		early  bool
	}{
		"Running": {"nobody waits", []*plan.Verdict{onWeb("a", plan.Running), onWeb("b", plan.Running)}, "Running: 2 of 2 pods run.", false},
		"Waiting": {"how many run, and why the other does not", []*plan.Verdict{onWeb("a", plan.Running), onWeb("b", plan.WaitingForQuota)}, "WaitingForQuota: 1 of 2 pods run; b waits: for b.", false},
		"Several": {"the reason of the most is the one", []*plan.Verdict{onWeb("c", plan.WaitingForQuota), onWeb("a", plan.BindRejected), onWeb("b", plan.WaitingForQuota)}, "WaitingForQuota: 0 of 3 pods run; b and 1 more wait: for b.", false},
		"Even":    {"of two reasons always the same", []*plan.Verdict{onWeb("a", plan.WaitingForQuota), onWeb("b", plan.NoNodeFits)}, "NoNodeFits: 0 of 2 pods run; b waits: for b.", false},
		"Early":   {"what is told nobody yet", []*plan.Verdict{onWeb("a", plan.Running), early}, "Running: 1 of 2 pods run.", true},
		"Late":    {"what is told already", []*plan.Verdict{early, onWeb("b", plan.BindRejected)}, "BindRejected: 0 of 2 pods run; b waits: for b.", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			all := plan.ForMakers(append(tc.pods, &plan.Verdict{Gang: serve, Reason: plan.Running}))
			if len(all) != 1 {
				t.Fatalf("%d verdicts, want the Deployment's", len(all))
			}
			got := all[0]
			if diff := cmp.Diff([]any{tc.want, web, tc.early}, []any{got.Sentence(), got.Gang, got.Early}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if objects := got.Objects(); len(objects) != 1 || objects[0] != web || got.Queue != "q" {
				t.Errorf("it is the Deployment's: %v, queue %s", objects, got.Queue)
			}
		})
	}
}
