package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// job is a RayJob of two workers.
func job(namespace, name, queue string, mode rayv1.JobSubmissionMode) *rayv1.RayJob {
	spec := plainSpec(2, 1, 4)
	return &rayv1.RayJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.QueueLabel: queue}},
		Spec:       rayv1.RayJobSpec{Entrypoint: "python -c pass", SubmissionMode: mode, ShutdownAfterJobFinishes: true, RayClusterSpec: &spec},
	}
}

func heldJob(namespace, name string) *rayv1.RayJob {
	return job(namespace, name, "held", rayv1.K8sJobMode)
}

func (s *rayScene) rayJob(ctx context.Context, namespace, name string) (*rayv1.RayJob, error) {
	j := &rayv1.RayJob{}
	return j, s.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, j)
}

// awaitJob waits until a RayJob is so far, and returns it.
func (s *rayScene) awaitJob(t *testing.T, namespace, name string, want ...rayv1.JobDeploymentStatus) *rayv1.RayJob {
	t.Helper()
	var j *rayv1.RayJob
	eventually(t, 2*time.Minute, fmt.Sprintf("RayJob %s to be %v", name, want), func(ctx context.Context) (ok bool, _ string, err error) {
		j, err = s.rayJob(ctx, namespace, name)
		return slices.Contains(want, j.Status.JobDeploymentStatus), fmt.Sprintf("%+v, verdict %s", j.Status, j.Annotations[v1alpha1.VerdictAnnotation]), err
	})
	return j
}

// podsIn lists the pods of a namespace, stamped or not.
func (s *rayScene) podsIn(t *testing.T, namespace string) []corev1.Pod {
	t.Helper()
	list := &corev1.PodList{}
	if err := s.Client.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// kuberay#4418, ray#61332: a RayJob in every mode of submission, with KubeRay's batch-scheduler flag
// unset. Its pods are stamped from their owners, the gang is bound by capmgr, and it completes.
func TestRayJobsInEveryMode(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		mode   rayv1.JobSubmissionMode
		during func(*testing.T, *rayScene, *rayv1.RayJob) // what is played while it runs
	}{
		"k8sjob": {rayv1.K8sJobMode, nil},
		"http":   {rayv1.HTTPMode, nil},
		"sidecar": {rayv1.SidecarMode, func(t *testing.T, s *rayScene, j *rayv1.RayJob) {
			t.Helper()
			s.endSidecar(t, j)
		}},
		"interactive": {rayv1.InteractiveMode, func(t *testing.T, s *rayScene, j *rayv1.RayJob) {
			t.Helper()
			s.awaitJob(t, j.Namespace, j.Name, rayv1.JobDeploymentStatusWaiting)
			patch := []byte(`{"spec":{"jobId":"interactive-1"}}`)
			if err := s.Client.Patch(t.Context(), j, client.RawPatch(types.MergePatchType, patch)); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := "mode-" + name
			s := onRayStage(t, namespace)
			if tc.mode != rayv1.HTTPMode {
				s.dashboards.Job(name, "RUNNING") // somebody else than KubeRay submits it
			}
			j := job(namespace, name, "open", tc.mode)
			j.Spec.ShutdownAfterJobFinishes = false // so that there is something to look at
			s.create(t, j)
			if tc.during != nil {
				tc.during(t, s, j)
			}
			running := s.awaitJob(t, namespace, name, rayv1.JobDeploymentStatusRunning)
			s.awaitJobVerdict(t, namespace, name, plan.Running)
			for _, p := range s.podsIn(t, namespace) {
				if p.Spec.SchedulerName != "capmgr" || p.Labels[v1alpha1.QueueLabel] != "open" {
					t.Errorf("pod %s: scheduler %s, queue %q", p.Name, p.Spec.SchedulerName, p.Labels[v1alpha1.QueueLabel])
				}
			}
			if tc.mode == rayv1.K8sJobMode {
				s.awaitSubmitter(t, namespace)
			}
			s.dashboards.Finish(running.Status.JobId)
			s.awaitJob(t, namespace, name, rayv1.JobDeploymentStatusComplete)
			s.says(t, 0, []string{"rayjob/" + namespace + "/" + name + " in queue open", "Running"}, "explain", "-n", namespace, "rayjob/"+name)
			s.says(t, 0, []string{"rayjob/" + namespace + "/" + name + " in queue open"}, "explain", "-n", namespace, "raycluster/"+running.Status.RayClusterName)
		})
	}
}

// awaitSubmitter waits until the pod that submits has been bound, by capmgr. KWOK ends it at once.
func (s *rayScene) awaitSubmitter(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, time.Minute, "the submitter to be bound", func(context.Context) (bool, string, error) {
		for _, p := range s.podsIn(t, namespace) {
			if ref := metav1.GetControllerOf(&p); ref != nil && ref.Kind == "Job" {
				return p.Spec.NodeName != "" && p.Spec.SchedulerName == "capmgr", fmt.Sprintf("%s: node %q, scheduler %s", p.Name, p.Spec.NodeName, p.Spec.SchedulerName), nil
			}
		}
		return false, "no submitter", nil
	})
}

func (s *rayScene) awaitJobVerdict(t *testing.T, namespace, name string, want plan.Reason) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("the verdict %s on RayJob %s", want, name), func(ctx context.Context) (bool, string, error) {
		j, err := s.rayJob(ctx, namespace, name)
		if err != nil {
			return false, "", err
		}
		text := j.Annotations[v1alpha1.VerdictAnnotation]
		if text == "" {
			return false, "no verdict", nil
		}
		v, err := plan.ParseVerdict(text)
		return v.Reason == want, text, err
	})
}

// endSidecar ends the container that submits in the head's pod, as its own program would.
func (s *rayScene) endSidecar(t *testing.T, j *rayv1.RayJob) {
	t.Helper()
	running := s.awaitJob(t, j.Namespace, j.Name, rayv1.JobDeploymentStatusRunning)
	eventually(t, time.Minute, "the head's pod", func(ctx context.Context) (bool, string, error) {
		list := &corev1.PodList{}
		err := s.Client.List(ctx, list, client.InNamespace(j.Namespace), client.MatchingLabels{ray.ClusterLabel: running.Status.RayClusterName, ray.NodeTypeLabel: "head"})
		if err != nil || len(list.Items) != 1 {
			return false, fmt.Sprintf("%d heads", len(list.Items)), err
		}
		p := &list.Items[0]
		for k := range p.Status.ContainerStatuses {
			c := &p.Status.ContainerStatuses[k]
			if c.Name != "ray-job-submitter" {
				continue
			}
			now := metav1.Now()
			c.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0, Reason: "Completed", StartedAt: now, FinishedAt: now}}
			return true, "", s.Client.Status().Update(ctx, p)
		}
		return false, fmt.Sprintf("%+v", p.Status.ContainerStatuses), nil
	})
}

// A RayJob on a cluster that is there already: who submits to it is a member of that cluster's gang.
func TestRayJobOnAnotherCluster(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "selector")
	s.create(t, plain("selector", "shared", "open", 1, 1, 4))
	s.awaitReady(t, "selector", "shared", time.Minute)
	s.dashboards.Job("guest", "RUNNING")
	j := job("selector", "guest", "open", rayv1.K8sJobMode)
	j.Spec.RayClusterSpec, j.Spec.ShutdownAfterJobFinishes = nil, false
	j.Spec.ClusterSelector = map[string]string{ray.ClusterLabel: "shared"}
	s.create(t, j)
	running := s.awaitJob(t, "selector", "guest", rayv1.JobDeploymentStatusRunning)
	s.awaitSubmitter(t, "selector")
	s.says(t, 0, []string{"raycluster/selector/shared in queue open"}, "explain", "-n", "selector", "rayjob/guest")
	s.dashboards.Finish(running.Status.JobId)
	s.awaitJob(t, "selector", "guest", rayv1.JobDeploymentStatusComplete)
}

// A held job costs an object and no pods until it is granted; then it runs. Preempted, it goes with all
// its pods and comes back.
func TestHeldRayJob(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "waits")
	s.queue(t, "waits", 2600)
	s.create(t, plain("waits", "first", "waits", 3, 3, 3)) // 2000m
	s.awaitReady(t, "waits", "first", time.Minute)
	s.dashboards.Job("patient", "RUNNING")
	s.create(t, job("waits", "patient", "waits", rayv1.K8sJobMode))
	j, err := s.rayJob(t.Context(), "waits", "patient")
	if err != nil || !j.Spec.Suspend || j.Annotations[v1alpha1.SuspensionAnnotation] != "until-granted" {
		t.Fatalf("it was not held: suspend %v, %v, %v", j.Spec.Suspend, j.Annotations, err)
	}
	g := s.gang(t, "waits", "patient")
	if !g.Held || !g.Holds || g.Cluster.UID != "" || len(g.Groups) != 3 || g.Groups[1].Template == nil {
		t.Errorf("a decision does not see what it needs: %+v", g)
	}
	s.awaitJobVerdict(t, "waits", "patient", plan.WaitingForQuota)
	first := s.clusterNow(t, "waits", "first")
	for _, p := range s.podsIn(t, "waits") {
		if p.Labels[ray.ClusterLabel] != "first" {
			t.Errorf("pod %s before its turn", p.Name)
		}
	}
	if err := s.Client.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	one := s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusRunning)
	if one.Spec.Suspend || one.Annotations[v1alpha1.SuspensionAnnotation] != "" {
		t.Errorf("resumed, and yet %v", one.Annotations)
	}
	if again := s.gang(t, "waits", "patient"); again.ID != g.ID {
		t.Errorf("it is another gang now: %s, %s", g.ID, again.ID)
	}
	s.create(t, urgent("waits", "serve", "waits", 4)) // 2500m
	s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusSuspended)
	s.awaitReady(t, "waits", "serve", time.Minute)
	for _, p := range s.podsIn(t, "waits") {
		if p.Labels[ray.ClusterLabel] != "serve" && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			t.Errorf("pod %s runs beside what the room was for", p.Name)
		}
	}
	if !s.gang(t, "waits", "patient").Held {
		t.Error("a preempted job is not held for its next turn")
	}
	if err := s.Client.Delete(t.Context(), s.clusterNow(t, "waits", "serve")); err != nil {
		t.Fatal(err)
	}
	two := s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusRunning)
	if two.Status.RayClusterName == one.Status.RayClusterName {
		t.Error("it did not start anew")
	}
	s.dashboards.Finish(two.Status.JobId)
	s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusComplete)
}

// A retry is a new cluster in the old one's place in the queue.
func TestRetryKeepsItsPlace(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "retries")
	s.dashboards.Job("again", "RUNNING")
	j := job("retries", "again", "open", rayv1.K8sJobMode)
	j.Spec.BackoffLimit = ptr.To[int32](1)
	s.create(t, j)
	first := s.awaitJob(t, "retries", "again", rayv1.JobDeploymentStatusRunning)
	before := s.gang(t, "retries", "again")
	s.dashboards.Fail(first.Status.JobId)
	eventually(t, 2*time.Minute, "the second try", func(ctx context.Context) (bool, string, error) {
		j, err := s.rayJob(ctx, "retries", "again")
		return j.Status.RayClusterName != "" && j.Status.RayClusterName != first.Status.RayClusterName && j.Status.JobDeploymentStatus == rayv1.JobDeploymentStatusRunning, fmt.Sprintf("%+v", j.Status), err
	})
	after := s.gang(t, "retries", "again")
	if after.ID != before.ID || !after.Created.Equal(before.Created) || after.Cluster.UID == before.Cluster.UID {
		t.Errorf("before %s of %s on %s, after %s of %s on %s", before.ID, before.Created, before.Cluster.Name, after.ID, after.Created, after.Cluster.Name)
	}
}

// Who is preempted whole is suspended, by a switch of its kind's own, and comes back by itself.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "switches")
	s.queue(t, "switches", 1100) // a head and a worker
	s.create(t, plain("switches", "alone", "switches", 1, 1, 4))
	s.awaitReady(t, "switches", "alone", time.Minute)
	s.preempted(t, "switches", "alone", "RayCluster", "alone")
	if err := s.Client.Delete(t.Context(), s.clusterNow(t, "switches", "alone")); err != nil {
		t.Fatal(err)
	}
	service := &rayv1.RayService{ObjectMeta: metaOf("switches", "svc"), Spec: rayv1.RayServiceSpec{RayClusterSpec: plainSpec(1, 1, 4),
		ServeConfigV2: "applications:\n- name: app\n  import_path: app:app\n"}}
	service.Labels = map[string]string{v1alpha1.QueueLabel: "switches", v1alpha1.PriorityClassLabel: v1alpha1.PriorityClassTrain}
	s.create(t, service)
	var active string
	serving := func() {
		t.Helper()
		eventually(t, 2*time.Minute, "the RayService to serve", func(ctx context.Context) (bool, string, error) {
			now := &rayv1.RayService{}
			err := s.Client.Get(ctx, client.ObjectKeyFromObject(service), now)
			active = now.Status.ActiveServiceStatus.RayClusterName
			return active != "", fmt.Sprintf("%+v", now.Status), err
		})
	}
	serving()
	s.awaitReady(t, "switches", active, time.Minute)
	s.says(t, 0, []string{"raycluster/switches/" + active + " in queue switches", "Running"}, "explain", "-n", "switches", "rayservice/svc")
	was := active
	s.preempted(t, "switches", active, "RayService", "svc")
	if serving(); active != was {
		t.Errorf("suspending made another cluster: %s of %s", active, was)
	}
}

// preempted has urgent work of its queue push a cluster out and end again, and waits until the cluster is
// back. The switch is on the object of that kind and name.
func (s *rayScene) preempted(t *testing.T, namespace, cluster, kind, name string) {
	t.Helper()
	suspended := func(on bool) {
		t.Helper()
		eventually(t, 90*time.Second, fmt.Sprintf("%s suspended: %v", cluster, on), func(ctx context.Context) (bool, string, error) {
			rc, err := s.cluster(ctx, namespace, cluster)
			if err != nil {
				return false, "", err
			}
			pods, err := s.workers(ctx, namespace, cluster)
			held := s.gang(t, namespace, cluster).Held
			return (rc.Spec.Suspend != nil && *rc.Spec.Suspend) == on && (len(pods) == 0) == on && held == on, fmt.Sprintf("suspend %v, %d workers, held %v", rc.Spec.Suspend, len(pods), held), err
		})
	}
	if g := s.gang(t, namespace, cluster); g.Suspendable.Kind != kind || g.Suspendable.Name != name {
		t.Errorf("the switch of %s is that of %s %s", cluster, g.Suspendable.Kind, g.Suspendable.Name)
	}
	s.create(t, urgent(namespace, "serve", "switches", 1))
	suspended(true)
	s.awaitReady(t, namespace, "serve", time.Minute)
	if err := s.Client.Delete(t.Context(), s.clusterNow(t, namespace, "serve")); err != nil {
		t.Fatal(err)
	}
	suspended(false)
	s.awaitReady(t, namespace, cluster, time.Minute)
	eventually(t, time.Minute, "the urgent cluster to be gone", func(ctx context.Context) (bool, string, error) {
		_, err := s.cluster(ctx, namespace, "serve")
		return apierrors.IsNotFound(err), "there", client.IgnoreNotFound(err)
	})
}
