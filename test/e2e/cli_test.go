package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/test/stack"
)

// The commands of a user, on a cluster that first no manager runs on, so that plans stay plans.
func TestPlanAndExplain(t *testing.T) {
	t.Parallel()
	s := own(t)
	s.says(t, 0, []string{"nothing to do"}, "plan", "--config", s.ConfigPath())

	s.create(t, gang("default", "wanted", "told", 2))
	eventually(t, 40*time.Second, "KubeRay to make the 3 pods", func(ctx context.Context) (bool, string, error) {
		pods := &corev1.PodList{}
		err := s.Client.List(ctx, pods, client.MatchingLabels{"ray.io/cluster": "wanted"})
		return len(pods.Items) == 3, fmt.Sprintf("%d", len(pods.Items)), err
	})
	out := s.says(t, 1, []string{"book 2 x told", "grow told by 2", "raycluster/default/wanted (queue told): WaitingForNodes"},
		"plan", "--config", s.ConfigPath())
	if again := s.says(t, 1, nil, "plan", "--config", s.ConfigPath()); steps(again) != steps(out) {
		t.Errorf("the same world gave two plans:\n%s\n%s", out, again)
	}
	var p struct {
		Steps []struct {
			Kind string          `json:"kind"`
			Step json.RawMessage `json:"step"`
		} `json:"steps"`
		Verdicts []plan.Verdict `json:"verdicts"`
	}
	text := s.says(t, 1, nil, "plan", "--config", s.ConfigPath(), "-o", "json")
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatalf("plan -o json: %v:\n%s", err, text)
	}
	var kinds []string
	for _, step := range p.Steps {
		kinds = append(kinds, step.Kind)
	}
	if !slices.Equal(kinds, []string{"Book", "GrowNodeGroup"}) || len(p.Verdicts) != 1 || p.Verdicts[0].Reason != plan.WaitingForNodes {
		t.Errorf("plan -o json has the steps %v and the verdicts %+v", kinds, p.Verdicts)
	}
	if l := s.ledgerNow(t, "told"); len(l.launches) > 0 {
		t.Fatalf("planning launched instances: %+v", l.launches)
	}
	s.says(t, 255, []string{"raycluster default/wanted", "no verdict"}, "explain", "raycluster/wanted")

	s.keep(t, stack.ManagerProcess)
	s.awaitVerdict(t, "default", "wanted", 30*time.Second, plan.WaitingForNodes)
	s.says(t, 0, []string{"raycluster/default/wanted in queue told", "WaitingForNodes", "What happens", "told"}, "explain", "raycluster/wanted")
	s.awaitReady(t, "default", "wanted", time.Minute)
	s.awaitVerdict(t, "default", "wanted", 20*time.Second, plan.Running)
	eventually(t, 20*time.Second, "plan to find nothing to do", func(ctx context.Context) (bool, string, error) {
		out, errOut, status, err := s.Capmgr(ctx, "plan", "--config", s.ConfigPath())
		return status == 0 && strings.HasPrefix(out, "nothing to do\n"), fmt.Sprintf("status %d: %s%s", status, out, errOut), err
	})
	whole := s.says(t, 0, []string{"Running", "3 pods are bound", "told", "2.01"}, "explain", "raycluster/wanted")
	worker := s.seen.Bound("wanted")[0].Pod
	if ofPod := s.says(t, 0, nil, "explain", "pod/"+worker); ofPod != whole {
		t.Errorf("a pod of a gang is explained by its gang, want\n%s\ngot\n%s", whole, ofPod)
	}
	s.create(t, pod("default", "alone", "narrow", "1"))
	s.awaitBound(t, "default", "alone")
	s.says(t, 0, []string{"pod/default/alone in queue narrow", "Running", "cpu-1"}, "explain", "pod/alone")
	s.create(t, pod("default", "greedy", "narrow", "30"))
	eventually(t, 20*time.Second, "the verdict on pod greedy", func(ctx context.Context) (bool, string, error) {
		out, errOut, status, err := s.Capmgr(ctx, "explain", "po/greedy")
		return status == 0 && strings.Contains(out, "ExceedsLimit"), out + errOut, err
	})
	s.create(t, &corev1.Pod{ObjectMeta: metaOf("default", "foreign"), Spec: container("c", "1", "1Gi", "").Spec})

	for want, args := range map[string][]string{
		"raycluster default/missing":       {"explain", "raycluster/missing"},
		"pod default/missing":              {"explain", "pod/missing"},
		"raycluster elsewhere/wanted":      {"explain", "-n", "elsewhere", "raycluster/wanted"},
		"pod default/foreign":              {"explain", "pod/foreign"}, // another scheduler's
		`kind "daemonset"`:                 {"explain", "daemonset/x"},
		"deployment default/missing":       {"explain", "deployment/missing"},
		"statefulset default/missing":      {"explain", "sts/missing"},
		`"wanted" is not of the form`:      {"explain", "wanted"},
		`"raycluster/" is not of the form`: {"explain", "raycluster/"},
	} {
		errOut := s.says(t, 255, []string{want}, args...)
		if strings.Count(errOut, "\n") != 1 {
			t.Errorf("capmgr %v: one line would do:\n%s", args, errOut)
		}
	}
}

// steps is a plan's text without its verdicts, whose times move on.
func steps(plan string) string {
	text, _, _ := strings.Cut(plan, "raycluster/default/wanted (queue")
	return text
}

// says runs capmgr and returns what it printed: its output, or its error where the status is 255.
func (s *scene) says(t *testing.T, status int, words []string, args ...string) string {
	t.Helper()
	out, errOut, got, err := s.Capmgr(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if got != status {
		t.Errorf("capmgr %s ended with status %d, want %d:\n%s%s", strings.Join(args, " "), got, status, out, errOut)
	}
	said, silent := out, errOut
	if status == 255 {
		said, silent = errOut, out
	}
	if silent != "" {
		t.Errorf("capmgr %s also said:\n%s", strings.Join(args, " "), silent)
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			t.Errorf("capmgr %s does not say %q:\n%s", strings.Join(args, " "), word, said)
		}
	}
	return said
}
