package state_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// rayWorld is a mirror and what is put into it, in few words.
type rayWorld struct {
	*state.Mirror
	t   *testing.T
	now time.Time
}

func newRayWorld(t *testing.T, change ...func(*v1alpha1.Config)) *rayWorld {
	c := &v1alpha1.Config{SchedulerNames: []string{"capmgr"}, Queues: map[string]v1alpha1.QueueConfiguration{}}
	for _, f := range change {
		f(c)
	}
	return &rayWorld{state.New(c), t, noon}
}

func meta(name string, owner metav1.Object, kind string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID(name + "-uid"), CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))}
	if owner != nil {
		m.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}}
	}
	return m
}

func template(cpu string) corev1.PodTemplateSpec {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")}
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{SchedulerName: "capmgr", Containers: []corev1.Container{{Name: "ray", Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}}}}
}

func clusterSpec(replicas int32) rayv1.RayClusterSpec {
	s := rayv1.RayClusterSpec{HeadGroupSpec: rayv1.HeadGroupSpec{Template: template("1")}}
	s.WorkerGroupSpecs = []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: &replicas, MinReplicas: ptr.To[int32](1), MaxReplicas: ptr.To[int32](8), Template: template("2")}}
	return s
}

func (w *rayWorld) cluster(name string, owner metav1.Object, kind string, change ...func(*rayv1.RayCluster)) *rayv1.RayCluster {
	rc := &rayv1.RayCluster{ObjectMeta: meta(name, owner, kind), Spec: clusterSpec(2)}
	rc.Labels = map[string]string{v1alpha1.QueueLabel: "q"}
	for _, f := range change {
		f(rc)
	}
	w.RayClusters().OnAdd(rc, false)
	return rc
}

func (w *rayWorld) job(name string, change ...func(*rayv1.RayJob)) *rayv1.RayJob {
	spec := clusterSpec(2)
	j := &rayv1.RayJob{ObjectMeta: meta(name, nil, "")}
	j.Labels = map[string]string{v1alpha1.QueueLabel: "q"}
	j.Spec = rayv1.RayJobSpec{RayClusterSpec: &spec, ShutdownAfterJobFinishes: true, SubmissionMode: rayv1.K8sJobMode}
	for _, f := range change {
		f(j)
	}
	w.RayJobs().OnAdd(j, false)
	return j
}

func (w *rayWorld) pod(name string, owner metav1.Object, kind, group string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: meta(name, owner, kind), Spec: template("2").Spec}
	p.Labels = map[string]string{ray.GroupLabel: group}
	w.Pods().OnAdd(p, false)
	return p
}

// gangs are the gangs in few words: "RayJob/job q: headgroup[h] w[a b]".
func (w *rayWorld) gangs() (out []string) {
	for _, g := range w.Snapshot(w.now).Gangs {
		text := fmt.Sprintf("%s/%s %s:", g.Kind, g.Name, g.Queue)
		for _, grp := range g.Groups {
			names := []string{}
			for _, p := range g.Members {
				if p.Group == grp.Name {
					names = append(names, p.Name)
				}
			}
			text += fmt.Sprintf(" %s%v", grp.Name, names)
		}
		out = append(out, text)
	}
	return out
}

func (w *rayWorld) only() *snapshot.Gang {
	w.t.Helper()
	gangs := w.Snapshot(w.now).Gangs
	if len(gangs) != 1 {
		w.t.Fatalf("%d gangs: %v", len(gangs), w.gangs())
	}
	return gangs[0]
}

func (w *rayWorld) expect(why string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.gangs()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", why, diff)
	}
}

// A RayJob is one gang from the day that it is made, whatever clusters it goes through.
func TestARayJobIsOneGangForLife(t *testing.T) {
	w := newRayWorld(t)
	j := w.job("job", func(j *rayv1.RayJob) { j.Spec.Suspend = true })
	w.expect("before anything of it exists", "RayJob/job q: headgroup[] w[] submitter[]")
	id := w.only().ID
	rc := w.cluster("job-1", j, "RayJob", func(rc *rayv1.RayCluster) { rc.CreationTimestamp = metav1.NewTime(noon) })
	w.pod("h", rc, "RayCluster", "headgroup")
	w.pod("a", rc, "RayCluster", "w")
	w.expect("its cluster's pods are its members", "RayJob/job q: headgroup[h] w[a] submitter[]")
	submits := &batchv1.Job{ObjectMeta: meta("job", j, "RayJob")}
	submits.UID = "submitter-uid"
	w.pod("s", submits, "Job", "")
	w.Jobs().OnAdd(submits, false)
	w.expect("and so is who submits to it, also when his pod was seen first", "RayJob/job q: headgroup[h] w[a] submitter[s]")
	g := w.only()
	if g.Cluster.Name != "job-1" || g.Top.Kind != "RayJob" || !g.Created.Equal(noon.Add(-time.Hour)) {
		t.Errorf("it keeps its place in the queue: %+v", g)
	}
	if grp := g.Groups[2]; grp.Min != 0 || grp.Want != 1 || !grp.Steady || grp.Request.MilliCPU != 500 || grp.Template == nil {
		t.Errorf("the submitter is outside the minimum, and counted: %+v", grp)
	}
	// The second try: another cluster, the same place.
	w.RayClusters().OnDelete(rc)
	again := w.cluster("job-2", j, "RayJob")
	w.pod("h2", again, "RayCluster", "headgroup")
	w.expect("pods of the first try are nobody's", "RayJob/job q: headgroup[h2] w[] submitter[s]")
	if got := w.only(); got.ID != id || !got.Created.Equal(g.Created) {
		t.Errorf("a retry lost its place: %s, created %s", got.ID, got.Created)
	}
	w.RayClusters().OnDelete(again)
	w.RayJobs().OnDelete(j)
	w.expect("gone")
}

func TestPodsMeanNothingBeforeTheirOwnersAreKnown(t *testing.T) {
	j := &rayv1.RayJob{ObjectMeta: meta("job", nil, "")}
	w := newRayWorld(t)
	rc := &rayv1.RayCluster{ObjectMeta: meta("job-1", j, "RayJob"), Spec: clusterSpec(1)}
	w.pod("h", rc, "RayCluster", "headgroup")
	w.expect("no RayCluster")
	w.RayClusters().OnAdd(rc, false)
	w.expect("no RayJob")
	w.job("job")
	w.expect("all is known", "RayJob/job q: headgroup[h] w[] submitter[]")
}

func TestJobsOnSomebodyElsesCluster(t *testing.T) {
	w := newRayWorld(t)
	j := w.job("job", func(j *rayv1.RayJob) {
		j.Spec.RayClusterSpec = nil
		j.Spec.ClusterSelector = map[string]string{ray.ClusterLabel: "shared"}
	})
	submits := &batchv1.Job{ObjectMeta: meta("job", j, "RayJob")}
	submits.UID = "submitter-uid"
	w.Jobs().OnAdd(submits, false)
	w.pod("s", submits, "Job", "")
	w.expect("the cluster is not there yet")
	rc := w.cluster("shared", nil, "")
	w.expect("who submits is a member of the cluster's gang", "RayCluster/shared q: headgroup[] w[] submitter[s]")
	j = j.DeepCopy()
	j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusComplete
	w.RayJobs().OnUpdate(nil, j)
	w.Pods().OnDelete(&corev1.Pod{ObjectMeta: meta("s", nil, "")})
	w.expect("until he is done", "RayCluster/shared q: headgroup[] w[]")
	w.RayClusters().OnDelete(rc)
	w.expect("gone")
}

func TestHeldJobs(t *testing.T) {
	holdsAll := func(c *v1alpha1.Config) { c.Queues["q"] = v1alpha1.QueueConfiguration{Hold: v1alpha1.HoldSuspend} }
	held := func(mode string) func(*rayv1.RayJob) {
		return func(j *rayv1.RayJob) {
			j.Spec.Suspend = true
			j.Annotations = map[string]string{v1alpha1.SuspensionAnnotation: mode}
		}
	}
	hold := func(value string) func(*rayv1.RayJob) {
		return func(j *rayv1.RayJob) { j.Annotations = map[string]string{v1alpha1.HoldAnnotation: value} }
	}
	suspended := func(j *rayv1.RayJob) { j.Spec.Suspend = true }
	ran := func(j *rayv1.RayJob) { j.Status.StartTime = ptr.To(metav1.NewTime(noon)) }
	type want struct {
		Holds, Held, Suspended bool
		Suspendable            string
	}
	cases := map[string]struct {
		reason string
		config []func(*v1alpha1.Config)
		job    []func(*rayv1.RayJob)
		want   want
	}{
		"Plain":        {"nobody holds it", nil, nil, want{Suspendable: "RayJob"}},
		"Annotated":    {"its user wants it held", nil, []func(*rayv1.RayJob){hold("suspend")}, want{Holds: true, Suspendable: "RayJob"}},
		"Configured":   {"its queue holds all", []func(*v1alpha1.Config){holdsAll}, nil, want{Holds: true, Suspendable: "RayJob"}},
		"Exempt":       {"the job's own word wins", []func(*v1alpha1.Config){holdsAll}, []func(*rayv1.RayJob){hold("never")}, want{Suspendable: "RayJob"}},
		"Held":         {"capmgr suspended it", nil, []func(*rayv1.RayJob){held("until-granted")}, want{Held: true, Suspended: true, Suspendable: "RayJob"}},
		"Preempted":    {"and will let it go on", nil, []func(*rayv1.RayJob){held("preempted")}, want{Held: true, Suspended: true, Suspendable: "RayJob"}},
		"Idle":         {"its user will", nil, []func(*rayv1.RayJob){held("idle")}, want{Suspended: true, Suspendable: "RayJob"}},
		"ByItsUser":    {"a suspension without a note is the user's", []func(*v1alpha1.Config){holdsAll}, []func(*rayv1.RayJob){suspended}, want{Holds: true, Suspended: true, Suspendable: "RayJob"}},
		"MadeToWait":   {"made suspended, so that it waits, where no webhook noted it", nil, []func(*rayv1.RayJob){hold("suspend"), suspended}, want{Holds: true, Held: true, Suspended: true, Suspendable: "RayJob"}},
		"StoppedLater": {"but once it ran, suspending it is its user's act", nil, []func(*rayv1.RayJob){hold("suspend"), suspended, ran}, want{Holds: true, Suspended: true, Suspendable: "RayJob"}},
		"KeepsCluster": {"KubeRay lets nobody suspend it", []func(*v1alpha1.Config){holdsAll}, []func(*rayv1.RayJob){func(j *rayv1.RayJob) { j.Spec.ShutdownAfterJobFinishes = false }}, want{}},
		"Waiting":      {"nor now", nil, []func(*rayv1.RayJob){func(j *rayv1.RayJob) { j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusWaiting }}, want{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newRayWorld(t, tc.config...)
			w.job("job", tc.job...)
			g := w.only()
			if diff := cmp.Diff(tc.want, want{g.Holds, g.Held, g.Suspended, g.Suspendable.Kind}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			for _, grp := range g.Groups[:2] {
				if grp.Template == nil || grp.Template.Class == "" || grp.Template.Object == nil || grp.Request.IsZero() {
					t.Errorf("what it would need cannot be tried: %+v", grp)
				}
			}
		})
	}
}

func TestFinishedJobs(t *testing.T) {
	w := newRayWorld(t)
	done := func(j *rayv1.RayJob) { j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusComplete }
	j := w.job("job", done)
	w.expect("nothing is left to run")
	rc := w.cluster("job-1", j, "RayJob", func(rc *rayv1.RayCluster) { rc.Annotations = map[string]string{v1alpha1.IdleAfterAnnotation: "30m"} })
	w.pod("h", rc, "RayCluster", "headgroup")
	w.expect("but its cluster lingers", "RayJob/job q: headgroup[h] w[]")
	if g := w.only(); g.IdleAfter != 30*time.Minute || g.Suspendable.Kind != "RayCluster" {
		t.Errorf("a cluster that is left over may idle only so long: %+v", g)
	}
}

func TestARunningJobDoesNotIdle(t *testing.T) {
	w := newRayWorld(t)
	j := w.job("job", func(j *rayv1.RayJob) { j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusRunning })
	w.cluster("job-1", j, "RayJob", func(rc *rayv1.RayCluster) { rc.Annotations = map[string]string{v1alpha1.IdleAfterAnnotation: "30m"} })
	if g := w.only(); g.IdleAfter != 0 {
		t.Errorf("a job whose driver waits would be ended: %s", g.IdleAfter)
	}
}

func TestServices(t *testing.T) {
	w := newRayWorld(t)
	s := &rayv1.RayService{ObjectMeta: meta("svc", nil, "")}
	s.Status.ActiveServiceStatus.RayClusterName = "svc-1"
	w.RayServices().OnAdd(s, false)
	w.cluster("svc-1", s, "RayService")
	type want struct {
		Name                    string
		Serves, Surge, TellsTop bool
		Suspendable             string
	}
	see := func(why string, wants ...want) {
		t.Helper()
		var got []want
		for _, g := range w.Snapshot(w.now).Gangs {
			if g.Top.Kind != "RayService" || g.Kind != "RayCluster" {
				t.Errorf("%s: %+v", why, g)
			}
			got = append(got, want{g.Name, g.Serves, g.Surge, g.TellsTop, g.Suspendable.Kind})
		}
		if diff := cmp.Diff(wants, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", why, diff)
		}
	}
	see("one cluster serves", want{"svc-1", true, false, true, "RayService"})
	w.cluster("svc-2", s, "RayService")
	s = s.DeepCopy()
	s.Status.PendingServiceStatus.RayClusterName = "svc-2"
	w.RayServices().OnUpdate(nil, s)
	see("an upgrade waits for the second", want{"svc-1", true, false, false, "RayService"}, want{"svc-2", false, true, true, ""})
}

func TestIdleAfterIsADuration(t *testing.T) {
	w := newRayWorld(t)
	w.cluster("rc", nil, "", func(rc *rayv1.RayCluster) { rc.Annotations = map[string]string{v1alpha1.IdleAfterAnnotation: "soon"} })
	if g := w.only(); g.Invalid != `annotation capmgr.io/idle-after: "soon" is not a duration such as 30m` {
		t.Errorf("got %q", g.Invalid)
	}
}

// answer is what a head says of pods: "a idle", "b", "c draining".
func answer(at time.Time, idleFor time.Duration, nodes ...demand.Node) gcs.Answer {
	a := gcs.Answer{At: at}
	for _, n := range nodes {
		n.Total = demand.Shape{Resources: snapshot.Resources{MilliCPU: 2000}}
		n.ID = "id-" + n.Pod
		n.Group = "w"
		if n.Status == demand.Idle {
			n.IdleFor = idleFor
		}
		a.State.Nodes = append(a.State.Nodes, n)
	}
	return a
}

func TestWhatAHeadSays(t *testing.T) {
	w := newRayWorld(t)
	rc := w.cluster("rc", nil, "")
	w.pod("a", rc, "RayCluster", "w")
	w.pod("b", rc, "RayCluster", "w")
	if g := w.only(); g.Heard != nil || g.Members[0].Ray != nil || g.Groups[1].Workers.Asked != nil {
		t.Fatalf("nobody was asked: %+v", g)
	}
	a := answer(w.now, time.Minute, demand.Node{Pod: "a", Status: demand.Idle}, demand.Node{Pod: "b", Status: demand.Running}, demand.Node{Pod: "somebody-elses", Status: demand.Idle})
	a.State.Loose = []demand.Loose{{Shape: demand.Shape{Resources: snapshot.Resources{MilliCPU: 2000}}, Count: 3}}
	w.Hear("rc-uid", a)
	first := w.only()
	if !first.Heard.Fresh || !first.Heard.Waiting || *first.Groups[1].Workers.Asked != 5 {
		t.Errorf("three tasks wait, and two workers are full: %+v, asked for %d", first.Heard, *first.Groups[1].Workers.Asked)
	}
	if r := first.Members[0].Ray; r.ID != "id-a" || !r.IdleSince.Equal(w.now.Add(-time.Minute)) {
		t.Errorf("a has idled for a minute: %+v", r)
	}
	if r := first.Members[1].Ray; !r.IdleSince.IsZero() {
		t.Errorf("b works: %+v", r)
	}

	// The same again, four seconds later: it has idled longer, and nothing is new.
	rev := w.Snapshot(w.now).Rev
	w.now = w.now.Add(4 * time.Second)
	same := a
	same.At, same.State.Nodes = w.now, append([]demand.Node(nil), a.State.Nodes...)
	same.State.Nodes[0].IdleFor += 4*time.Second + 300*time.Millisecond
	w.Hear("rc-uid", same)
	if s := w.Snapshot(w.now); s.Rev != rev || s.Gangs[0] != first {
		t.Error("an answer that says nothing new made a new gang")
	}

	// Silence: nothing is fresh any more, also without an event.
	w.now = w.now.Add(20 * time.Second)
	stale := w.only()
	if stale.Heard.Fresh || stale.Groups[1].Workers.Asked != nil {
		t.Errorf("an answer of 20 seconds ago: %+v", stale.Heard)
	}
	same.Failed, same.Err = w.now, errors.New("dial tcp 10.0.0.1:6379: connection refused")
	w.Hear("rc-uid", same)
	if g := w.only(); g.Heard.Silent.IsZero() || g.Heard.Error != "the head cannot be reached" {
		t.Errorf("it does not say that the head is silent, in words that stay: %+v", g.Heard)
	}
	same.Failed, same.Err, same.At = time.Time{}, nil, w.now
	w.Hear("rc-uid", same)
	if g := w.only(); !g.Heard.Fresh {
		t.Errorf("the head is back: %+v", g.Heard)
	}
	w.RayClusters().OnDelete(rc)
	w.Heads()
	w.cluster("rc", nil, "")
	if g := w.only(); g.Heard != nil {
		t.Errorf("a recreated cluster inherits what was heard: %+v", g.Heard)
	}
}

// A head that is going to be asked is waited for: nobody takes its silence for an answer.
func TestAHeadThatIsYetToBeHeard(t *testing.T) {
	w := newRayWorld(t, func(c *v1alpha1.Config) { c.Ray.AskHeads = ptr.To(true) })
	w.pod("a", w.cluster("rc", nil, ""), "RayCluster", "w")
	if g := w.only(); g.Heard == nil || g.Heard.Fresh || g.Heard.Error != "" {
		t.Errorf("it will be asked, and has not answered: %+v", g.Heard)
	}
}

func TestHeadsToAsk(t *testing.T) {
	w := newRayWorld(t)
	up := func(rc *rayv1.RayCluster) { rc.Status.Head.PodIP = "10.0.0.7" }
	token := func(secret *string, delegated bool) func(*rayv1.RayCluster) {
		return func(rc *rayv1.RayCluster) {
			rc.Spec.AuthOptions = &rayv1.AuthOptions{Mode: rayv1.AuthModeToken, SecretName: secret, EnableK8sTokenAuth: &delegated}
		}
	}
	w.cluster("a", nil, "", up)
	w.cluster("b", nil, "", up, token(nil, false))
	w.cluster("c", nil, "", up, token(ptr.To("mine"), true), func(rc *rayv1.RayCluster) {
		rc.Spec.HeadGroupSpec.RayStartParams = map[string]string{"port": "6380"}
		rc.Spec.HeadGroupSpec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "RAY_USE_TLS", Value: "1"}}
	})
	w.cluster("no-head-yet", nil, "")
	w.cluster("suspended", nil, "", up, func(rc *rayv1.RayCluster) { rc.Spec.Suspend = ptr.To(true) })
	w.cluster("not-ours", nil, "", up, func(rc *rayv1.RayCluster) { rc.Labels = nil })
	w.cluster("elsewhere", nil, "", up, func(rc *rayv1.RayCluster) { rc.Spec.ManagedBy = ptr.To("kueue.x-k8s.io/multikueue") })
	w.Snapshot(w.now)
	want := []ray.Head{
		{UID: "a-uid", Namespace: "ml", Name: "a", Address: "10.0.0.7:6379"},
		{UID: "b-uid", Namespace: "ml", Name: "b", Address: "10.0.0.7:6379", TokenSecret: "b"},
		{UID: "c-uid", Namespace: "ml", Name: "c", Address: "10.0.0.7:6380", TokenSecret: "mine", Delegated: true, TLS: true},
	}
	if diff := cmp.Diff(want, w.Heads()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestQueuedJobsCostObjectsOnly holds ten thousand jobs that wait suspended.
func TestQueuedJobsCostObjectsOnly(t *testing.T) {
	w := newRayWorld(t)
	for k := range 10_000 {
		w.job(fmt.Sprintf("job-%05d", k), func(j *rayv1.RayJob) {
			j.Spec.Suspend = true
			j.Annotations = map[string]string{v1alpha1.SuspensionAnnotation: "until-granted"}
		})
	}
	s := w.Snapshot(w.now)
	if len(s.Gangs) != 10_000 {
		t.Fatalf("%d gangs", len(s.Gangs))
	}
	w.job("job-00000")
	again := w.Snapshot(w.now)
	made := 0
	for k := range again.Gangs {
		if again.Gangs[k] != s.Gangs[k] {
			made++
		}
	}
	if made != 1 {
		t.Errorf("one job changed, and %d gangs were made again", made)
	}
}
