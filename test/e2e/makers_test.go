package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
)

// The pods of a Deployment and of a StatefulSet name neither queue nor priority: their owners do. What
// does not fit waits, and says so on the pod, on its owner, and in `capmgr explain`.
func TestDeploymentsAndStatefulSets(t *testing.T) {
	t.Parallel()
	s := stage(t, "makers")
	replicas := func(cpu string) (*int32, *metav1.LabelSelector, corev1.PodTemplateSpec) {
		n, labels := int32(3), map[string]string{"app": "of-" + cpu}
		template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("", "", "", cpu).Spec}
		return &n, &metav1.LabelSelector{MatchLabels: labels}, template
	}
	d := &appsv1.Deployment{ObjectMeta: metaOf("makers", "web")}
	d.Labels = map[string]string{v1alpha1.QueueLabel: "makers"}
	d.Spec.Replicas, d.Spec.Selector, d.Spec.Template = replicas("900m")
	s.create(t, d)
	s.explains(t, "deployment/web", "deployment/makers/web in queue makers", string(plan.WaitingForQuota), "2 of 3 pods run")
	s.awaitEvent(t, "makers", "Deployment", "web", string(plan.WaitingForQuota))
	for _, name := range s.replicasOf(t, "of-900m") {
		s.explains(t, "pod/"+name, "pod/makers/"+name+" in queue makers")
	}

	// Of lower priority, and never more than the limit. A StatefulSet's first pod holds up the others.
	set := &appsv1.StatefulSet{ObjectMeta: metaOf("makers", "db")}
	set.Labels = map[string]string{v1alpha1.QueueLabel: "makers"}
	set.Spec.Replicas, set.Spec.Selector, set.Spec.Template = replicas("3")
	s.create(t, set)
	s.explains(t, "sts/db", "statefulset/makers/db in queue makers", string(plan.ExceedsLimit), "0 of 1 pods run; db-0 waits")
	s.awaitEvent(t, "makers", "StatefulSet", "db", string(plan.ExceedsLimit))

	// The owner's label takes its pods along, into a queue where there is room.
	if err := s.Client.Patch(t.Context(), d, client.RawPatch(client.Merge.Type(), []byte(`{"metadata":{"labels":{"kai.scheduler/queue":"e2e-wide"}}}`))); err != nil {
		t.Fatal(err)
	}
	s.explains(t, "deploy/web", "deployment/makers/web in queue e2e-wide", "Running", "3 of 3 pods run")
	s.remove(t, d)
	s.remove(t, set)
}

// A Job with a minimum is one gang, and its verdict stands on it.
func TestBatchJob(t *testing.T) {
	t.Parallel()
	s := stage(t, "batch")
	two := int32(2)
	j := &batchv1.Job{ObjectMeta: metaOf("batch", "sum"), Spec: batchv1.JobSpec{Parallelism: &two, Completions: &two}}
	j.Labels = map[string]string{v1alpha1.QueueLabel: "makers"}
	j.Annotations = map[string]string{v1alpha1.BatchMinMemberAnnotation: "2"}
	j.Spec.Template.Spec = pod("", "", "", "3").Spec
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	s.create(t, j)
	eventually(t, 30*time.Second, "the verdict on the Job", func(ctx context.Context) (bool, string, error) {
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(j), j)
		text := j.Annotations[v1alpha1.VerdictAnnotation]
		if err != nil || text == "" {
			return false, "none", err
		}
		v, err := plan.ParseVerdict(text)
		return v.Reason == plan.ExceedsLimit, text, err
	})
	s.remove(t, j)
}

// replicasOf names the pods with a label.
func (s *scene) replicasOf(t *testing.T, app string) (names []string) {
	t.Helper()
	list := &corev1.PodList{}
	if err := s.Client.List(t.Context(), list, client.MatchingLabels{"app": app}); err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		names = append(names, p.Name)
	}
	return names
}

// explains waits until `capmgr explain` says some words.
func (s *scene) explains(t *testing.T, what string, words ...string) {
	t.Helper()
	eventually(t, 30*time.Second, "capmgr explain "+what, func(ctx context.Context) (bool, string, error) {
		out, errOut, status, err := s.Capmgr(ctx, "explain", "-n", "makers", what)
		for _, word := range words {
			if !strings.Contains(out, word) {
				return false, out + errOut, err
			}
		}
		return status == 0, out + errOut, err
	})
}
