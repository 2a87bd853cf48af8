package execute_test

import (
	"testing"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func rayJob(change ...func(*rayv1.RayJob)) *rayv1.RayJob {
	j := &rayv1.RayJob{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "job", UID: "job-uid"}}
	j.Spec.ShutdownAfterJobFinishes = true
	j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusRunning
	for _, f := range change {
		f(j)
	}
	return j
}

func noted(mode string) func(*rayv1.RayJob) {
	return func(j *rayv1.RayJob) { j.Annotations = map[string]string{v1alpha1.SuspensionAnnotation: mode} }
}

func TestRayJobsAreSuspendedWhereKubeRayAllows(t *testing.T) {
	object := plan.Owner{APIVersion: "ray.io/v1", Kind: "RayJob", Namespace: "ml", Name: "job", UID: "job-uid"}
	off := func(j *rayv1.RayJob) { j.Spec.Suspend = true }
	suspend := plan.Suspend{Object: object, Mode: snapshot.SuspendedForOthers, Because: "test"}
	resume := plan.Resume{Object: object, Because: "test"}
	cases := map[string]struct {
		reason string
		job    *rayv1.RayJob
		step   plan.Step
		want   bool
		mode   string
	}{
		"Running":      {"all its pods go together", rayJob(), suspend, true, "preempted"},
		"New":          {"before KubeRay has looked at it", rayJob(func(j *rayv1.RayJob) { j.Status.JobDeploymentStatus = "" }), suspend, true, "preempted"},
		"Finished":     {"nothing to stop", rayJob(func(j *rayv1.RayJob) { j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusComplete }), suspend, false, ""},
		"Waiting":      {"KubeRay acts on it only while it starts or runs", rayJob(func(j *rayv1.RayJob) { j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusWaiting }), suspend, false, ""},
		"KeepsCluster": {"KubeRay would call it invalid, for ever", rayJob(func(j *rayv1.RayJob) { j.Spec.ShutdownAfterJobFinishes = false }), suspend, false, ""},
		"Selector":     {"the cluster is somebody else's", rayJob(func(j *rayv1.RayJob) { j.Spec.ClusterSelector = map[string]string{"ray.io/cluster": "x"} }), suspend, false, ""},
		"ByItsUser":    {"which is not noted as capmgr's", rayJob(off), suspend, true, ""},
		"Resumed":      {"its turn has come", rayJob(off, noted("until-granted")), resume, false, ""},
		"ResumedLater": {"others have gone", rayJob(off, noted("preempted")), resume, false, ""},
		"UsersOwn":     {"what its user suspended stays", rayJob(off), resume, true, ""},
		"NeverStarted": {"its user suspended it so that it waits", rayJob(off, func(j *rayv1.RayJob) {
			j.Annotations = map[string]string{v1alpha1.HoldAnnotation: v1alpha1.HoldSuspend}
		}), resume, false, ""},
		"StartedBefore": {"the same, but it has run: its user stopped it", rayJob(off, func(j *rayv1.RayJob) {
			j.Annotations = map[string]string{v1alpha1.HoldAnnotation: v1alpha1.HoldSuspend}
			j.Status.StartTime = ptr.To(metav1.NewTime(noon))
		}), resume, true, ""},
		"Another": {"made anew under the same name", rayJob(func(j *rayv1.RayJob) { j.UID = "other" }), suspend, false, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := setUp(t, rayCluster(1))
			if err := s.client.Create(t.Context(), tc.job); err != nil {
				t.Fatal(err)
			}
			if err := s.run(t, tc.step); err != nil {
				t.Fatal(err)
			}
			got := &rayv1.RayJob{}
			if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(tc.job), got); err != nil {
				t.Fatal(err)
			}
			if mode := got.Annotations[v1alpha1.SuspensionAnnotation]; got.Spec.Suspend != tc.want || mode != tc.mode {
				t.Errorf("%s: suspended %t, as %q; want %t, %q", tc.reason, got.Spec.Suspend, mode, tc.want, tc.mode)
			}
		})
	}
}

func TestRayClustersAreSuspended(t *testing.T) {
	of := func(kind string) func(*rayv1.RayCluster) {
		return func(rc *rayv1.RayCluster) {
			rc.OwnerReferences = []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: kind, Name: "x", UID: "x", Controller: ptr.To(true)}}
		}
	}
	cases := map[string]struct {
		reason string
		rc     *rayv1.RayCluster
		mode   snapshot.Suspension
		play   func(*stage)
		want   bool
	}{
		"Preempted": {"with all its pods", rayCluster(1), snapshot.SuspendedForOthers, nil, true},
		"Idle":      {"by what its head says at that moment", rayCluster(1), snapshot.SuspendedIdle, nil, true},
		"WorksNow":  {"it was idle when it was decided, and is not any more", rayCluster(1), snapshot.SuspendedIdle, func(s *stage) { s.finish = func(pod string) bool { return pod != "b" } }, false},
		"Silent":    {"its head does not say", rayCluster(1), snapshot.SuspendedIdle, func(s *stage) { s.silent = true }, false},
		"NoHead":    {"nobody asks its head", rayCluster(1), snapshot.SuspendedIdle, func(s *stage) { s.Heads = nil }, false},
		"OfService": {"its RayService would undo it", rayCluster(1, of("RayService")), snapshot.SuspendedForOthers, nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := setUp(t, tc.rc)
			if tc.play != nil {
				tc.play(s)
			}
			if err := s.run(t, plan.Suspend{Gang: owner, Object: owner, Mode: tc.mode, Because: "test"}); err != nil {
				t.Fatal(err)
			}
			rc := s.cluster(t)
			if on := rc.Spec.Suspend != nil && *rc.Spec.Suspend; on != tc.want {
				t.Errorf("%s: suspended %t, want %t", tc.reason, on, tc.want)
			}
		})
	}
}

// A note that outlived its suspension would make capmgr end the user's next one.
func TestTheNoteGoesWithTheSuspension(t *testing.T) {
	s := setUp(t, rayCluster(1))
	for name, j := range map[string]*rayv1.RayJob{
		"resumed":   rayJob(noted("preempted")),
		"suspended": rayJob(noted("preempted"), func(j *rayv1.RayJob) { j.Spec.Suspend = true }),
	} {
		j.Name, j.UID = name, types.UID(name)
		if err := s.client.Create(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		s.Mirror.RayJobs().OnAdd(j, false)
	}
	s.Resume(t.Context())
	s.Wait()
	for name, want := range map[string]string{"resumed": "", "suspended": "preempted"} {
		got := &rayv1.RayJob{}
		if err := s.client.Get(t.Context(), client.ObjectKey{Namespace: "ml", Name: name}, got); err != nil {
			t.Fatal(err)
		}
		if note := got.Annotations[v1alpha1.SuspensionAnnotation]; note != want {
			t.Errorf("%s: the note is %q, want %q", name, note, want)
		}
	}
}
