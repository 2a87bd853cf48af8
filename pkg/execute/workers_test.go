package execute_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/state"
)

// stage is an executor on a played API server with one RayCluster "ml/rc", its pods, and its head.
type stage struct {
	*execute.Executor
	client client.Client
	kube   *kubefake.Clientset
	events *record.FakeRecorder

	mu         sync.Mutex
	now        time.Time
	conditions []string // as they were set
	refuses    bool     // to have conditions set
	writes     int      // patches of objects
	busy       map[string]bool
	drained    []string // "pod reason"
	silent     bool
	finish     func(pod string) bool // whether nothing runs there any more
}

// workers names a worker each; "c@other" belongs to another cluster, "a@x" to the replica x.
func setUp(t *testing.T, rc *rayv1.RayCluster, pods ...*corev1.Pod) *stage {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, rayv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	s := &stage{now: noon, busy: map[string]bool{}, finish: func(string) bool { return true }, events: record.NewFakeRecorder(100)}
	var objects []runtime.Object
	for _, p := range pods {
		objects = append(objects, p)
	}
	s.kube = kubefake.NewClientset(objects...)
	s.client = interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(rc).WithStatusSubresource(rc).Build(), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			s.mu.Lock()
			s.writes++
			s.mu.Unlock()
			return c.Patch(ctx, o, p, opts...)
		},
		// The played server knows no server-side apply.
		SubResourcePatch: func(_ context.Context, _ client.Client, _ string, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
			data, err := client.Merge.Data(o)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.refuses {
				return errors.New("the server does not answer")
			}
			s.conditions = append(s.conditions, string(data))
			return err
		},
	})
	mirror := state.New(&v1alpha1.Config{SchedulerNames: []string{"capmgr"}})
	mirror.RayClusters().OnAdd(rc, true)
	s.Executor = &execute.Executor{Kube: s.kube, Client: s.client, Mirror: mirror, Heads: s, Events: s.events, Log: logr.Discard(), Now: s.clock}
	return s
}

func (s *stage) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *stage) passes(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// Drain answers as Ray does.
func (s *stage) Drain(_ context.Context, uid string, r gcs.DrainRequest) (gcs.Drained, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent || uid != "rc-uid" {
		return gcs.Drained{}, errors.New("the head does not answer")
	}
	pod := strings.TrimPrefix(r.Node, "id-")
	if r.Reason == gcs.IdleTermination && s.busy[pod] {
		return gcs.Drained{Message: "no longer idle"}, nil
	}
	s.drained = append(s.drained, pod+" "+string(r.Reason))
	return gcs.Drained{Accepted: true}, nil
}

// Last is what the head says: all but those that have finished work. Time passes with every look.
func (s *stage) Last(string) (gcs.Answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(10 * time.Second)
	if s.silent {
		return gcs.Answer{}, true
	}
	a := gcs.Answer{At: s.now}
	for _, name := range []string{"head", "a", "b", "c"} {
		n := demand.Node{ID: "id-" + name, Pod: name, Status: demand.Running}
		if s.finish(name) {
			n.Status, n.IdleFor = demand.Idle, time.Minute
		}
		a.State.Nodes = append(a.State.Nodes, n)
	}
	return a, true
}

func (s *stage) cluster(t *testing.T) *rayv1.RayCluster {
	t.Helper()
	rc := &rayv1.RayCluster{}
	if err := s.client.Get(t.Context(), client.ObjectKey{Namespace: "ml", Name: "rc"}, rc); err != nil {
		t.Fatal(err)
	}
	return rc
}

func (s *stage) run(t *testing.T, steps ...plan.Step) error {
	t.Helper()
	err := s.Execute(t.Context(), &plan.Plan{Steps: steps})
	s.Wait()
	return err
}

func rayCluster(replicas int32, change ...func(*rayv1.RayCluster)) *rayv1.RayCluster {
	rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "rc", UID: "rc-uid", Labels: map[string]string{v1alpha1.QueueLabel: "q"}}}
	rc.Spec.WorkerGroupSpecs = []rayv1.WorkerGroupSpec{
		{GroupName: "other", Replicas: ptr.To[int32](1), MinReplicas: ptr.To[int32](0), MaxReplicas: ptr.To[int32](9)},
		{GroupName: "w", Replicas: &replicas, MinReplicas: ptr.To[int32](0), MaxReplicas: ptr.To[int32](9)},
	}
	for _, f := range change {
		f(rc)
	}
	return rc
}

func worker(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID("uid-" + name),
		Labels:          map[string]string{ray.ClusterLabel: "rc", ray.GroupLabel: "w", ray.NodeTypeLabel: "worker"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "RayCluster", Name: "rc", UID: "rc-uid", Controller: ptr.To(true)}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func onNode(p *corev1.Pod) { p.Spec.NodeName = "n" }

func label(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

var owner = plan.Owner{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "ml", Name: "rc", UID: "rc-uid"}

// resize is a step that was decided on a cluster as rayCluster makes it.
func resize(from, to int, leavers ...plan.Leaver) plan.Resize {
	return plan.Resize{Gang: owner, Cluster: owner, Group: plan.Group{Name: "w", Index: 1, Hosts: 1}, From: from, To: to, Wish: 4,
		Leavers: leavers, Deadline: noon.Add(30 * time.Second), Because: "test"}
}

func leaver(name string, d plan.Drain) plan.Leaver {
	l := plan.Leaver{PodRef: plan.PodRef{Namespace: "ml", Name: name, UID: "uid-" + name}, Bound: d != plan.DrainNone, Drain: d}
	if d != plan.DrainNone {
		l.RayNode = "id-" + name
	}
	return l
}

// outcome is what a step made of the group, and what the object says of it.
type outcome struct {
	Replicas int32
	List     []string
	Wish     string
	Named    []string
	Drained  []string
}

func (s *stage) outcome(t *testing.T) outcome {
	t.Helper()
	rc := s.cluster(t)
	record, err := ray.ReadRecord(rc.Annotations)
	if err != nil {
		t.Fatal(err)
	}
	g := rc.Spec.WorkerGroupSpecs[1]
	if r := record["w"].Replicas; r != nil && *r != int(*g.Replicas) {
		t.Errorf("the record says %d, the spec %d", *r, *g.Replicas)
	}
	return outcome{*g.Replicas, g.ScaleStrategy.WorkersToDelete, rc.Annotations[v1alpha1.DesiredReplicasAnnotation], record["w"].Named, s.drained}
}

func TestResize(t *testing.T) {
	three := func() []*corev1.Pod { return []*corev1.Pod{worker("a"), worker("b"), worker("c")} }
	listed := func(names ...string) func(*rayv1.RayCluster) {
		return func(rc *rayv1.RayCluster) {
			rc.Spec.WorkerGroupSpecs[1].ScaleStrategy.WorkersToDelete = names
			rc.Annotations = map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"named":["gone"]}}`}
		}
	}
	cleared := resize(3, 3)
	cleared.OldList, cleared.Gone = []string{"theirs", "gone"}, []string{"gone"}
	all := resize(2, 4)
	cases := map[string]struct {
		reason string
		rc     *rayv1.RayCluster
		pods   []*corev1.Pod
		step   plan.Resize
		play   func(*stage)
		want   outcome
	}{
		"Grow":       {"up to what is granted; the wish is kept while it is not met", rayCluster(2), nil, resize(2, 3), nil, outcome{Replicas: 3, Wish: "w=4"}},
		"GrowBeyond": {"the wish is kept while there is more, too: what is beyond it goes when it idles", rayCluster(4), nil, resize(4, 6), nil, outcome{Replicas: 6, Wish: "w=4"}},
		"GrowAll": {"a wish that is met is not kept", rayCluster(2, func(rc *rayv1.RayCluster) {
			rc.Annotations = map[string]string{v1alpha1.DesiredReplicasAnnotation: "other=2,w=4"}
		}), nil, all, nil, outcome{Replicas: 4, Wish: "other=2"}},
		"Shrink":     {"number and names together", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainNone)), nil, outcome{Replicas: 2, List: []string{"c"}, Wish: "w=4", Named: []string{"c"}}},
		"Idle":       {"asked first, and gone", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainIdle)), nil, outcome{2, []string{"c"}, "w=4", []string{"c"}, []string{"c IdleTermination"}}},
		"IdleRace":   {"who works again stays, and the number follows", rayCluster(3), three(), resize(3, 1, leaver("c", plan.DrainIdle), leaver("b", plan.DrainIdle)), func(s *stage) { s.busy["c"] = true }, outcome{2, []string{"b"}, "w=4", []string{"b"}, []string{"b IdleTermination"}}},
		"AllBusy":    {"nobody is idle any more: nothing", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainIdle)), func(s *stage) { s.busy["c"] = true }, outcome{Replicas: 3}},
		"Preempt":    {"honoured by who works", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainPreempt)), nil, outcome{2, []string{"c"}, "w=4", []string{"c"}, []string{"c Preemption"}}},
		"Deadline":   {"who does not finish is ended in time", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainPreempt)), func(s *stage) { s.finish = func(pod string) bool { return pod != "c" } }, outcome{2, []string{"c"}, "w=4", []string{"c"}, []string{"c Preemption"}}},
		"Silent":     {"a silent head keeps nobody who must leave", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainPreempt)), func(s *stage) { s.silent = true }, outcome{Replicas: 2, List: []string{"c"}, Wish: "w=4", Named: []string{"c"}}},
		"SilentIdle": {"but what nobody vouches for as idle stays", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainIdle)), func(s *stage) { s.silent = true }, outcome{Replicas: 3}},
		"WithoutGCS": {"without any head it works as well", rayCluster(3), three(), resize(3, 2, leaver("c", plan.DrainPreempt)), func(s *stage) { s.Heads = nil }, outcome{Replicas: 2, List: []string{"c"}, Wish: "w=4", Named: []string{"c"}}},
		"Adopt": {"somebody's number becomes the wish; nothing of the spec is written", rayCluster(3, func(rc *rayv1.RayCluster) {
			rc.Annotations = map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"replicas":2}}`, v1alpha1.DesiredReplicasAnnotation: "w=6"}
		}), three(), func() plan.Resize { r := resize(3, 3); r.Wish = 3; return r }(), nil, outcome{Replicas: 3}},
		"Clear":      {"only capmgr's own names, once their pods are gone", rayCluster(3, listed("theirs", "gone")), three(), cleared, nil, outcome{Replicas: 3, List: []string{"theirs"}, Wish: "w=4"}},
		"ClearEarly": {"not before", rayCluster(3, listed("theirs", "gone")), append(three(), worker("gone")), cleared, nil, outcome{Replicas: 3, List: []string{"theirs", "gone"}, Named: []string{"gone"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := setUp(t, tc.rc, tc.pods...)
			if tc.play != nil {
				tc.play(s)
			}
			if err := s.run(t, tc.step); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, s.outcome(t)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if *s.cluster(t).Spec.WorkerGroupSpecs[0].Replicas != 1 {
				t.Error("another group was changed")
			}
		})
	}
}

// What is named is deleted, whoever it belongs to: KubeRay does not look.
func TestNobodyElsesPodIsNamed(t *testing.T) {
	cases := map[string]struct {
		reason string
		pods   []*corev1.Pod
		change func(*plan.Resize)
	}{
		"Gone":         {"its replacement would be deleted by number", []*corev1.Pod{worker("b")}, nil},
		"Replaced":     {"another pod of the same name", []*corev1.Pod{worker("a", func(p *corev1.Pod) { p.UID = "new" }), worker("b")}, nil},
		"OtherCluster": {"a label is its user's to write; the controller is not", []*corev1.Pod{worker("a", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }), worker("b")}, nil},
		"NotOwned":     {"a reference that controls nothing", []*corev1.Pod{worker("a", func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), worker("b")}, nil},
		"OtherGroup":   {"of another group", []*corev1.Pod{worker("a", label(ray.GroupLabel, "other")), worker("b")}, nil},
		"Head":         {"never the head", []*corev1.Pod{worker("a", label(ray.GroupLabel, "w"), label(ray.NodeTypeLabel, "head")), worker("b")}, nil},
		"Surplus":      {"three pods for two replicas: KubeRay would choose the third", []*corev1.Pod{worker("a"), worker("b"), worker("c")}, nil},
		"HalfAReplica": {"its other host would be lost without a name", []*corev1.Pod{worker("a", label(ray.ReplicaLabel, "x")), worker("b", label(ray.ReplicaLabel, "x"))}, func(r *plan.Resize) { r.Leavers[0].Unit = "x" }},
		"GotANode":     {"it waited when it was decided", []*corev1.Pod{worker("a", onNode), worker("b")}, func(r *plan.Resize) { r.Leavers[0].Bound = false }},
		"BelowMinimum": {"somebody else of the gang was lost meanwhile", []*corev1.Pod{worker("a", onNode), worker("b")}, func(r *plan.Resize) { r.Min = 1 }},
		"OtherNumber":  {"somebody wrote meanwhile", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.From, r.To = 3, 2 }},
		"OtherList":    {"somebody named others", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.OldList = []string{"x"} }},
		"OtherIndex":   {"groups were reordered", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.Index = 0 }},
		"NoIndex":      {"groups were removed", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.Index = 7 }},
		"OtherHosts":   {"a replica has another size by now", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.Hosts = 2 }},
		"Recreated":    {"another cluster of the same name", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.Cluster.UID = "old" }},
		"NoCluster":    {"it is gone", []*corev1.Pod{worker("a"), worker("b")}, func(r *plan.Resize) { r.Cluster.Name = "old" }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := setUp(t, rayCluster(2), tc.pods...)
			step := resize(2, 1, leaver("a", plan.DrainPreempt))
			if tc.change != nil {
				tc.change(&step)
			}
			if err := s.run(t, step); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(outcome{Replicas: 2}, s.outcome(t)); diff != "" || s.writes > 0 {
				t.Errorf("%s: %d writes (-want +got):\n%s", tc.reason, s.writes, diff)
			}
		})
	}
}

func TestAReplicaIsAskedWhole(t *testing.T) {
	host := func(name, unit string) *corev1.Pod { return worker(name, label(ray.ReplicaLabel, unit)) }
	of := func(name, unit string) plan.Leaver {
		l := leaver(name, plan.DrainIdle)
		l.Unit = unit
		return l
	}
	two := func(rc *rayv1.RayCluster) { rc.Spec.WorkerGroupSpecs[1].NumOfHosts = 2 }
	cases := map[string]struct {
		reason string
		busy   []string
		want   outcome
	}{
		"Idle":       {"both go", nil, outcome{1, []string{"a", "b"}, "w=4", []string{"a", "b"}, []string{"a IdleTermination", "b Preemption"}}},
		"FirstBusy":  {"the other is not even asked", []string{"a"}, outcome{Replicas: 2}},
		"SecondBusy": {"the first has begun to end itself: the replica is lost, and is not made again", []string{"b"}, outcome{1, []string{"a", "b"}, "w=4", []string{"a", "b"}, []string{"a IdleTermination", "b Preemption"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := setUp(t, rayCluster(2, two), host("a", "x"), host("b", "x"), host("c", "y"), host("d", "y"))
			for _, pod := range tc.busy {
				s.busy[pod] = true
			}
			step := resize(2, 1, of("a", "x"), of("b", "x"))
			step.Hosts = 2
			if err := s.run(t, step); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, s.outcome(t)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestCeiling(t *testing.T) {
	step := func(from, to int) plan.Ceiling {
		return plan.Ceiling{Gang: owner, Cluster: owner, Group: plan.Group{Name: "w", Index: 1, Hosts: 1}, From: from, To: to, Own: 9, Because: "test"}
	}
	cases := map[string]struct {
		reason string
		now    int32
		step   plan.Ceiling
		want   int32
		own    string
	}{
		"Lowered":   {"and the user's own is kept", 9, step(9, 3), 3, "w=9"},
		"Raised":    {"by part", 3, step(3, 5), 5, "w=9"},
		"Restored":  {"and no longer kept", 3, step(3, 9), 9, ""},
		"Overtaken": {"somebody moved it meanwhile", 4, step(3, 5), 4, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := setUp(t, rayCluster(2, func(rc *rayv1.RayCluster) { rc.Spec.WorkerGroupSpecs[1].MaxReplicas = &tc.now }))
			if err := s.run(t, tc.step); err != nil {
				t.Fatal(err)
			}
			rc := s.cluster(t)
			if got, own := *rc.Spec.WorkerGroupSpecs[1].MaxReplicas, rc.Annotations[v1alpha1.DesiredMaxReplicasAnnotation]; got != tc.want || own != tc.own {
				t.Errorf("%s: maxReplicas %d, remembered %q", tc.reason, got, own)
			}
		})
	}
}

// Argo CD writes the manifest's number again and again. capmgr writes over it once, then gives way.
func TestFieldContention(t *testing.T) {
	s := setUp(t, rayCluster(4), worker("a"), worker("b"), worker("c"), worker("d"))
	shrink := func() plan.Resize {
		rc := s.cluster(t)
		step := resize(4, 3, leaver("a", plan.DrainNone))
		step.OldList = rc.Spec.WorkerGroupSpecs[1].ScaleStrategy.WorkersToDelete
		return step
	}
	revert := func() {
		rc := s.cluster(t)
		rc.Spec.WorkerGroupSpecs[1].Replicas = ptr.To[int32](4)
		rc.Spec.WorkerGroupSpecs[1].ScaleStrategy.WorkersToDelete = nil
		at := metav1.NewTime(s.clock())
		rc.ManagedFields = append(rc.ManagedFields, metav1.ManagedFieldsEntry{Manager: "argocd-controller", Operation: metav1.ManagedFieldsOperationApply, Time: &at,
			FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:workerGroupSpecs":{}}}`)}})
		if err := s.client.Update(t.Context(), rc); err != nil {
			t.Fatal(err)
		}
	}
	replicas := func(want int32, why string) {
		t.Helper()
		if err := s.run(t, shrink()); err != nil {
			t.Fatal(err)
		}
		if got := *s.cluster(t).Spec.WorkerGroupSpecs[1].Replicas; got != want {
			t.Fatalf("%s: %d replicas, want %d", why, got, want)
		}
	}
	replicas(3, "the first write")
	revert()
	replicas(3, "one write over theirs")
	revert()
	s.refuses = true
	replicas(4, "what cannot be said is not done")
	if c := ray.ReadContention(s.cluster(t).Annotations); c.Trips != 0 {
		t.Errorf("capmgr has given way, and no condition says so: %+v", c)
	}
	s.refuses = false
	replicas(4, "then capmgr gives way")
	writes := s.writes
	for range 3 {
		s.passes(time.Minute)
		replicas(4, "and writes nothing")
	}
	if s.writes != writes {
		t.Errorf("%d writes while it gives way", s.writes-writes)
	}
	if len(s.conditions) != 1 || !strings.Contains(s.conditions[0], `"argocd-controller also writes spec.workerGroupSpecs[w].replicas"`) || !strings.Contains(s.conditions[0], `"status":"True"`) {
		t.Errorf("the condition does not name who and what: %v", s.conditions)
	}
	if !slices.ContainsFunc(drain(s.events), func(e string) bool {
		return strings.HasPrefix(e, "Warning FieldContention argocd-controller") && strings.Contains(e, "until 12:05:00 UTC")
	}) {
		t.Error("no event says who, and until when")
	}
	s.passes(5 * time.Minute)
	replicas(3, "when it was quiet, once more")
	s.passes(3 * time.Hour)
	s.Resume(t.Context())
	s.Wait()
	if rc := s.cluster(t); rc.Annotations[v1alpha1.ContentionAnnotation] != "" || len(s.conditions) != 2 || !strings.Contains(s.conditions[1], `"status":"False"`) {
		t.Errorf("a contest that is long over is still on record: %v, %v", rc.Annotations, s.conditions)
	}
}

func drain(r *record.FakeRecorder) (out []string) {
	for {
		select {
		case e := <-r.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// Who drains, and until when, is known to the head alone: a manager that has just begun asks it first.
func TestNobodyIsNamedBeforeHisHeadWasHeard(t *testing.T) {
	s := setUp(t, rayCluster(2), worker("a", onNode), worker("b", onNode))
	step := resize(2, 1, leaver("a", plan.DrainNone))
	step.Leavers[0].Bound = true
	for _, want := range []int32{2, 1} {
		if err := s.run(t, step); err != nil {
			t.Fatal(err)
		}
		if got := *s.cluster(t).Spec.WorkerGroupSpecs[1].Replicas; got != want {
			t.Errorf("%d replicas, want %d", got, want)
		}
		s.passes(time.Minute) // the head is silent: nobody can be asked
	}
}

func TestResizesAreTold(t *testing.T) {
	s := setUp(t, rayCluster(2), worker("a"), worker("b"))
	if err := s.run(t, resize(2, 1, leaver("b", plan.DrainNone))); err != nil {
		t.Fatal(err)
	}
	want := []string{"Normal WorkerGroupResized Resized worker group w from 2 to 1: test; leaving: b"}
	if diff := cmp.Diff(want, drain(s.events)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got := s.Mirror.Snapshot(noon).Gangs
	if len(got) != 1 || got[0].Groups[2].Workers.Replicas != 1 {
		t.Errorf("the next decision does not know of it: %s", fmt.Sprint(got))
	}
}
