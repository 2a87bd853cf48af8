package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
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
	d := s.direct(t)
	s.dashboards.Job("patient", "RUNNING")
	s.create(t, heldJob("waits", "patient"))
	j, err := s.rayJob(t.Context(), "waits", "patient")
	if err != nil || !j.Spec.Suspend || j.Annotations[v1alpha1.SuspensionAnnotation] != "until-granted" {
		t.Fatalf("it was not held: suspend %v, %v, %v", j.Spec.Suspend, j.Annotations, err)
	}
	g := d.gang(t, "waits", "patient")
	if !g.Held || !g.Holds || g.Cluster.UID != "" || len(g.Groups) != 3 || g.Groups[1].Template == nil {
		t.Errorf("a decision does not see what it needs: %+v", g)
	}
	s.awaitJobVerdict(t, "waits", "patient", plan.Suspended)
	if pods := s.podsIn(t, "waits"); len(pods) > 0 {
		t.Errorf("%d pods before its turn", len(pods))
	}
	carry := func(step plan.Step) {
		t.Helper()
		if err := d.executor.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{step}}); err != nil {
			t.Fatal(err)
		}
	}
	carry(plan.Resume{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable), Because: "its turn has come"})
	first := s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusRunning)
	if first.Spec.Suspend || first.Annotations[v1alpha1.SuspensionAnnotation] != "" {
		t.Errorf("resumed, and yet %v", first.Annotations)
	}
	if again := d.gang(t, "waits", "patient"); again.ID != g.ID {
		t.Errorf("it is another gang now: %s, %s", g.ID, again.ID)
	}
	carry(plan.Suspend{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable), Mode: snapshot.SuspendedForOthers, Because: "team-b needs the room"})
	s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusSuspended)
	eventually(t, time.Minute, "all its pods to be gone", func(context.Context) (bool, string, error) {
		n := len(s.podsIn(t, "waits"))
		return n == 0, fmt.Sprint(n), nil
	})
	if !d.gang(t, "waits", "patient").Held {
		t.Error("a preempted job is not held for its next turn")
	}
	carry(plan.Resume{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable), Because: "its turn has come"})
	second := s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusRunning)
	if second.Status.RayClusterName == first.Status.RayClusterName {
		t.Error("it did not start anew")
	}
	s.dashboards.Finish(second.Status.JobId)
	s.awaitJob(t, "waits", "patient", rayv1.JobDeploymentStatusComplete)
}

// A retry is a new cluster in the old one's place in the queue.
func TestRetryKeepsItsPlace(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "retries")
	d := s.direct(t)
	s.dashboards.Job("again", "RUNNING")
	j := job("retries", "again", "open", rayv1.K8sJobMode)
	j.Spec.BackoffLimit = ptr.To[int32](1)
	s.create(t, j)
	first := s.awaitJob(t, "retries", "again", rayv1.JobDeploymentStatusRunning)
	before := d.gang(t, "retries", "again")
	s.dashboards.Fail(first.Status.JobId)
	eventually(t, 2*time.Minute, "the second try", func(ctx context.Context) (bool, string, error) {
		j, err := s.rayJob(ctx, "retries", "again")
		return j.Status.RayClusterName != "" && j.Status.RayClusterName != first.Status.RayClusterName && j.Status.JobDeploymentStatus == rayv1.JobDeploymentStatusRunning, fmt.Sprintf("%+v", j.Status), err
	})
	after := d.gang(t, "retries", "again")
	if after.ID != before.ID || !after.Created.Equal(before.Created) || after.Cluster.UID == before.Cluster.UID {
		t.Errorf("before %s of %s on %s, after %s of %s on %s", before.ID, before.Created, before.Cluster.Name, after.ID, after.Created, after.Cluster.Name)
	}
}

// Suspending is a switch of each kind's own.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "switches")
	d := s.direct(t)
	s.create(t, plain("switches", "alone", "open", 1, 1, 4))
	service := &rayv1.RayService{ObjectMeta: metaOf("switches", "svc"), Spec: rayv1.RayServiceSpec{RayClusterSpec: plainSpec(1, 1, 4),
		ServeConfigV2: "applications:\n- name: app\n  import_path: app:app\n"}}
	service.Labels = map[string]string{v1alpha1.QueueLabel: "open"}
	s.create(t, service)
	s.awaitReady(t, "switches", "alone", time.Minute)
	var active string
	eventually(t, 2*time.Minute, "the RayService to serve", func(ctx context.Context) (bool, string, error) {
		now := &rayv1.RayService{}
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(service), now)
		active = now.Status.ActiveServiceStatus.RayClusterName
		return active != "", fmt.Sprintf("%+v", now.Status), err
	})
	s.awaitReady(t, "switches", active, time.Minute)
	s.says(t, 0, []string{"raycluster/switches/" + active + " in queue open", "Running"}, "explain", "-n", "switches", "rayservice/svc")
	for name, cluster := range map[string]string{"alone": "alone", "svc": active} {
		var g *snapshot.Gang
		eventually(t, 30*time.Second, "the gang of "+name+" to be suspendable", func(context.Context) (bool, string, error) {
			g = d.gang(t, "switches", cluster)
			return g.Suspendable.Name == name && (name == "alone" || g.Serves), fmt.Sprintf("%+v", g.Suspendable), nil
		})
		object := plan.Of(g.Suspendable)
		for _, on := range []bool{true, false} {
			var step plan.Step = plan.Resume{Gang: plan.OwnerOf(g), Object: object, Because: "test"}
			if on {
				step = plan.Suspend{Gang: plan.OwnerOf(g), Object: object, Mode: snapshot.SuspendedForOthers, Because: "test"}
			}
			if err := d.executor.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{step}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, 90*time.Second, fmt.Sprintf("%s suspended: %v", cluster, on), func(ctx context.Context) (bool, string, error) {
				rc, err := s.cluster(ctx, "switches", cluster)
				if err != nil {
					return false, "", err
				}
				pods, err := s.workers(ctx, "switches", cluster)
				held := d.gang(t, "switches", cluster).Held
				return (rc.Spec.Suspend != nil && *rc.Spec.Suspend) == on && (len(pods) == 0) == on && held == on, fmt.Sprintf("suspend %v, %d workers, held %v", rc.Spec.Suspend, len(pods), held), err
			})
		}
		s.awaitReady(t, "switches", cluster, time.Minute)
	}
	now := &rayv1.RayService{}
	if err := s.Client.Get(t.Context(), client.ObjectKeyFromObject(service), now); err != nil || now.Status.ActiveServiceStatus.RayClusterName != active {
		t.Errorf("suspending made another cluster: %+v, %v", now.Status, err)
	}
}
