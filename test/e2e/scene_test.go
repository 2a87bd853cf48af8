package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/test/fakeaws"
	"github.com/capmgr/capmgr/test/stack"
)

// TestMain ends what the tests share, and fails when anything is left running.
func TestMain(m *testing.M) {
	// The tests wait for controllers more than they compute: as many at once as the machine has
	// cores would leave it idle. A -parallel of the caller's comes after this and wins.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	ctrl.SetLogger(logr.Discard()) // of the clients that tests make
	code := m.Run()
	if err := errors.Join(shared.stop(), stopRayStage(), childrenLeft()); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// childrenLeft reads from /proc which processes this one started and has not ended.
func childrenLeft() error {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		return err
	}
	var left []string
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(text)) {
			command, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			left = append(left, pid+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("still running: %s", strings.Join(left, "; "))
	}
	return nil
}

// scene is one stack, as the tests see it.
type scene struct {
	*stack.Stack
	seen *stack.Recorder
	end  context.CancelFunc // of the recorder's watch

	// back is when the API server was ready again after an outage, zero without one. While it starts,
	// it does not know its own rules yet and denies what it will allow a moment later.
	back time.Time
}

// one keeps stacks from starting side by side: the API servers would time out on each other.
var one sync.Mutex

// raise starts a stack with the configuration and the queues of a folder and a CPU node for the heads,
// without a manager.
func raise(ctx context.Context, dir, testdata string, crds ...string) (*scene, error) {
	one.Lock()
	defer one.Unlock()
	config, err := filepath.Abs(filepath.Join(testdata, "config.yaml"))
	if err != nil {
		return nil, err
	}
	aws, err := awsFor(config)
	if err != nil {
		return nil, err
	}
	s, err := stack.Start(ctx, stack.Options{Dir: dir, Config: config, AWS: aws, Audit: true, CRDs: crds})
	if err != nil {
		return nil, err
	}
	watch, end := context.WithCancel(context.Background())
	c := &scene{Stack: s, end: end}
	queues, err := os.ReadFile(filepath.Join(testdata, "queues.yaml"))
	if err == nil {
		err = s.ApplyText(ctx, string(queues))
	}
	if err == nil {
		err = s.AddNode(ctx, "cpu-1", "64", "256Gi", 0)
	}
	if err == nil {
		c.seen, err = s.Record(watch)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// awsFor is a fake AWS with the groups that a configuration names. A node is usable some three
// seconds after its launch.
func awsFor(path string) (*fakeaws.Config, error) {
	config, err := v1alpha1.Load(path)
	if err != nil {
		return nil, err
	}
	out := &fakeaws.Config{
		Region: "us-east-1", ClusterName: config.AWS.ClusterName, Seed: 7,
		Delays: fakeaws.Delays{
			Launch: fakeaws.For(500 * time.Millisecond), Ready: fakeaws.For(time.Second), GPU: fakeaws.For(time.Second),
			Spread: fakeaws.For(500 * time.Millisecond), Terminate: fakeaws.For(500 * time.Millisecond),
		},
	}
	for _, g := range config.NodeGroups {
		if g.AWS == nil {
			continue
		}
		zone := g.Zone
		if zone == "" {
			zone = "us-east-1a"
		}
		out.Groups = append(out.Groups, fakeaws.GroupConfig{
			Name: g.AWS.AutoScalingGroup, InstanceType: "g5.xlarge", Zone: zone, Max: int(*g.MaxNodes),
			Labels: map[string]string{isolation: g.Labels[isolation]},
			Tags:   map[string]string{v1alpha1.ManagedTag: "true", v1alpha1.ClusterTag: config.AWS.ClusterName},
		})
	}
	return out, nil
}

func (s *scene) stop() error {
	if s == nil {
		return nil
	}
	s.end()
	return s.Stop()
}

// own is a stack of the test's own, without a manager.
func own(t *testing.T) *scene {
	t.Helper()
	return ownOf(t, "testdata")
}

// ownOf is own with the configuration and queues of another folder, and further definitions.
func ownOf(t *testing.T, testdata string, crds ...string) *scene {
	t.Helper()
	s, err := raise(t.Context(), filepath.Join(t.TempDir(), "stack"), testdata, crds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
	})
	s.watchOver(t, "default")
	return s
}

// sharedStage is the stack that most tests share, with a manager running.
type sharedStage struct {
	once  sync.Once
	scene *scene
	dir   string
	err   error
}

var shared sharedStage

func (g *sharedStage) stop() error {
	return errors.Join(g.scene.stop(), os.RemoveAll(g.dir))
}

// stage returns the shared stack and a namespace of the test's own.
func stage(t *testing.T, namespace string) *scene {
	t.Helper()
	shared.once.Do(func() {
		ctx := context.Background() // outlives the test that comes first
		//nolint:usetesting // the stack outlives the test that comes first
		if shared.dir, shared.err = os.MkdirTemp("", "capmgr-e2e-"); shared.err != nil {
			return
		}
		if shared.scene, shared.err = raise(ctx, filepath.Join(shared.dir, "stack"), "testdata"); shared.err == nil {
			shared.err = shared.scene.StartManager(ctx)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	s := shared.scene
	s.watchOver(t, namespace)
	s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	return s
}

// watchOver prints what there is to know when the test has failed, and fails it when capmgr was
// denied anything: its role has what it needs, or it asks for what it should not.
func (s *scene) watchOver(t *testing.T, namespace string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		denied, err := s.denied()
		if err != nil {
			t.Error(err)
		}
		for _, d := range denied {
			t.Errorf("denied by the API server: %s", d)
		}
		if t.Failed() {
			s.tell(ctx, t, namespace)
		}
	})
}

// tell prints logs, verdicts, purchases and what AWS was asked for.
func (s *scene) tell(ctx context.Context, t *testing.T, namespace string) {
	t.Helper()
	for _, path := range s.managerLogs() {
		text, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("%s ends with:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
	clusters := &rayv1.RayClusterList{}
	if err := s.Client.List(ctx, clusters, client.InNamespace(namespace)); err != nil {
		t.Logf("RayClusters: %v", err)
	}
	for _, rc := range clusters.Items {
		t.Logf("raycluster/%s: ready %v, annotations %v", rc.Name, ready(&rc), rc.Annotations)
		for _, g := range rc.Spec.WorkerGroupSpecs {
			t.Logf("  group %s: %d of %d to %d replicas, to delete %v", g.GroupName, ptr.Deref(g.Replicas, 0), ptr.Deref(g.MinReplicas, 0), ptr.Deref(g.MaxReplicas, 0), g.ScaleStrategy.WorkersToDelete)
		}
	}
	pods := &corev1.PodList{}
	if err := s.Client.List(ctx, pods, client.InNamespace(namespace)); err != nil {
		t.Logf("pods: %v", err)
	}
	for _, p := range pods.Items {
		t.Logf("pod/%s: queue %q, scheduler %s, node %q, phase %s, created %s, deleted %v", p.Name, p.Labels[v1alpha1.QueueLabel], p.Spec.SchedulerName,
			p.Spec.NodeName, p.Status.Phase, p.CreationTimestamp.UTC().Format(time.TimeOnly), p.DeletionTimestamp)
	}
	nodes := &corev1.NodeList{}
	if err := s.Client.List(ctx, nodes); err != nil {
		t.Logf("nodes: %v", err)
	}
	for _, n := range nodes.Items {
		gpus := n.Status.Allocatable[v1alpha1.GPUResource]
		t.Logf("node/%s: %s, GPUs %s, taints %v, conditions %v", n.Name, n.Spec.ProviderID, gpus.String(), n.Spec.Taints, n.Status.Conditions)
	}
	requests := &v1alpha1.CapacityRequestList{}
	if err := s.Client.List(ctx, requests, client.InNamespace(namespace)); err != nil {
		t.Logf("CapacityRequests: %v", err)
	}
	for _, r := range requests.Items {
		t.Logf("capacityrequest/%s: %+v\n  %+v", r.Name, r.Spec.Nodes, r.Status)
	}
	calls, err := s.AWS.Calls(ctx, 0)
	if err != nil {
		t.Logf("AWS calls: %v", err)
	}
	for _, c := range calls {
		if !strings.HasPrefix(c.Operation, "Describe") {
			t.Logf("AWS %s %s %v: %v%s replayed=%v lost=%v", c.Time.Format("15:04:05.000"), c.Operation, c.Params, c.InstanceIDs, c.ErrorCode, c.Replayed, c.Lost)
		}
	}
}

func (s *scene) managerLogs() []string {
	paths, _ := filepath.Glob(filepath.Join(s.Dir, "logs", stack.ManagerProcess+"*.log"))
	return paths
}

// denied lists what capmgr asked for and was not allowed, from the API server's own record and from
// the managers' logs.
func (s *scene) denied() ([]string, error) {
	entries, err := s.audit()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.Received.Before(s.back) {
			continue
		}
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" || e.ResponseStatus.Code == 403 {
			out = append(out, e.Verb+" "+e.RequestURI)
		}
	}
	for _, path := range s.managerLogs() {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !s.back.IsZero() {
			continue // an error that ended it has no time in the log; the record above has
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(strings.ToLower(line), "forbidden") {
				out = append(out, filepath.Base(path)+": "+line)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// auditEntry is the part of an audit event that tests look at.
type auditEntry struct {
	Received       time.Time `json:"requestReceivedTimestamp"`
	Verb           string    `json:"verb"`
	RequestURI     string    `json:"requestURI"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

func (s *scene) audit() ([]auditEntry, error) {
	text, err := os.ReadFile(s.AuditLog)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	var out []auditEntry
	lines := strings.Split(string(text), "\n")
	for _, line := range lines[:len(lines)-1] { // the last may be half written
		var e auditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("read the audit log: %w: %s", err, line)
		}
		out = append(out, e)
	}
	return out, nil
}

// eventually polls until see is content, and fails the test with what it saw last when the time is
// up. An error is something seen too: the API server may be away on purpose.
func eventually(t *testing.T, most time.Duration, what string, see func(context.Context) (ok bool, saw string, err error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := "nothing"
	for {
		ok, saw, err := see(ctx)
		switch {
		case ok && err == nil:
			return
		case ctx.Err() != nil, err != nil && strings.Contains(err.Error(), "context deadline"):
			// Cut short: what was seen before says more.
		case err != nil:
			last = err.Error()
		default:
			last = saw
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s for %s; last seen: %s", most, what, last)
		case <-tick.C:
		}
	}
}

func (s *scene) create(t *testing.T, o client.Object) {
	t.Helper()
	if err := s.Client.Create(t.Context(), o); err != nil {
		t.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

func (s *scene) remove(t *testing.T, o client.Object) {
	t.Helper()
	if err := s.Client.Delete(t.Context(), o); err != nil {
		t.Fatalf("delete %T %s: %v", o, o.GetName(), err)
	}
}

// isolation is the label that keeps the workers of one test off the nodes of another.
const isolation = "e2e/for"

// gang is a RayCluster of a head without GPUs and workers with one each, all of which start
// together. KubeRay puts scheduler and queue on the pods.
func gang(namespace, name, queue string, workers int32, change ...func(worker *corev1.PodSpec)) *rayv1.RayCluster {
	worker := container("ray-worker", "2", "8Gi", "1")
	worker.Spec.NodeSelector = map[string]string{isolation: queue}
	for _, f := range change {
		f(&worker.Spec)
	}
	return &rayv1.RayCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.QueueLabel: queue}},
		Spec: rayv1.RayClusterSpec{
			RayVersion:    "2.52.0",
			HeadGroupSpec: rayv1.HeadGroupSpec{RayStartParams: map[string]string{}, Template: container("ray-head", "1", "2Gi", "")},
			WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{
				GroupName: "gpu", Replicas: &workers, MinReplicas: &workers, MaxReplicas: &workers,
				RayStartParams: map[string]string{}, Template: worker}},
		},
	}
}

func (s *scene) cluster(ctx context.Context, namespace, name string) (*rayv1.RayCluster, error) {
	rc := &rayv1.RayCluster{}
	return rc, s.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, rc)
}

func (s *scene) awaitReady(t *testing.T, namespace, name string, most time.Duration) {
	t.Helper()
	eventually(t, most, "RayCluster "+name+" to be ready", func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, namespace, name)
		return ready(rc), fmt.Sprintf("status %+v, verdict %s", rc.Status, rc.Annotations[v1alpha1.VerdictAnnotation]), err
	})
}

// ready is what kubectl shows as the cluster's status, deprecated as the field is: RayJob and RayService
// still wait for it.
func ready(rc *rayv1.RayCluster) bool {
	return rc.Status.State == rayv1.Ready //nolint:staticcheck // see above
}

// awaitVerdict waits for one of some reasons on a RayCluster and returns the verdict.
func (s *scene) awaitVerdict(t *testing.T, namespace, name string, most time.Duration, want ...plan.Reason) plan.Verdict {
	t.Helper()
	var v plan.Verdict
	eventually(t, most, fmt.Sprintf("the verdict %v on %s", want, name), func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, namespace, name)
		if err != nil {
			return false, "", err
		}
		text := rc.Annotations[v1alpha1.VerdictAnnotation]
		if text == "" {
			return false, "no verdict", nil
		}
		v, err = plan.ParseVerdict(text)
		return slices.Contains(want, v.Reason), text, err
	})
	return v
}

// requests lists the purchases of a namespace, oldest attempt first.
func (s *scene) requests(ctx context.Context, namespace string) ([]v1alpha1.CapacityRequest, error) {
	list := &v1alpha1.CapacityRequestList{}
	err := s.Client.List(ctx, list, client.InNamespace(namespace))
	slices.SortFunc(list.Items, func(a, b v1alpha1.CapacityRequest) int { return int(a.Spec.Attempt - b.Spec.Attempt) })
	return list.Items, err
}

// awaitCondition waits until the n-th purchase of a namespace (from 1) says so, and returns it.
func (s *scene) awaitCondition(t *testing.T, namespace string, attempt int, kind, reason string, most time.Duration) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, most, fmt.Sprintf("CapacityRequest %d of %s to be %s(%s)", attempt, namespace, kind, reason), func(ctx context.Context) (bool, string, error) {
		all, err := s.requests(ctx, namespace)
		if err != nil || len(all) < attempt {
			return false, fmt.Sprintf("%d CapacityRequests", len(all)), err
		}
		c := meta.FindStatusCondition(all[attempt-1].Status.Conditions, kind)
		if c == nil {
			return false, fmt.Sprintf("%+v", all[attempt-1].Status.Conditions), nil
		}
		found = *c
		return c.Status == metav1.ConditionTrue && c.Reason == reason, fmt.Sprintf("%+v", *c), nil
	})
	return found
}

// ledger is what the fake AWS knows of one group.
type ledger struct {
	launches  []fakeaws.Call     // LaunchInstances, in the order of arrival
	ends      []fakeaws.Call     // TerminateInstanceInAutoScalingGroup
	instances []fakeaws.Instance // all that ever were
}

func (s *scene) ledger(ctx context.Context, group string) (ledger, error) {
	var l ledger
	calls, err := s.AWS.Calls(ctx, 0)
	if err != nil {
		return l, err
	}
	all, err := s.AWS.Instances(ctx)
	for _, i := range all {
		if i.Group == group {
			l.instances = append(l.instances, i)
		}
	}
	for _, c := range calls {
		switch {
		case c.Operation == "LaunchInstances" && c.Param("AutoScalingGroupName") == group:
			l.launches = append(l.launches, c)
		case c.Operation == "TerminateInstanceInAutoScalingGroup" && slices.ContainsFunc(l.instances, func(i fakeaws.Instance) bool {
			return slices.Contains(c.InstanceIDs, i.ID)
		}):
			l.ends = append(l.ends, c)
		}
	}
	return l, err
}

func (s *scene) ledgerNow(t *testing.T, group string) ledger {
	t.Helper()
	l, err := s.ledger(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tokens are the idempotency tokens that a group was ever asked with.
func (l ledger) tokens() []string {
	var out []string
	for _, c := range l.launches {
		out = append(out, c.Param("ClientToken"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// alive counts the instances that cost money.
func (l ledger) alive() (n int) {
	for _, i := range l.instances {
		if i.Alive() {
			n++
		}
	}
	return n
}

// awaitGone waits until a group is back at zero, and checks that every instance that ever was went
// by its name.
func (s *scene) awaitGone(t *testing.T, group string, most time.Duration) {
	t.Helper()
	var l ledger
	eventually(t, most, "node group "+group+" to be empty", func(ctx context.Context) (bool, string, error) {
		var err error
		if l, err = s.ledger(ctx, group); err != nil {
			return false, "", err
		}
		groups, err := s.AWS.Groups(ctx)
		if err != nil {
			return false, "", err
		}
		k := slices.IndexFunc(groups, func(g fakeaws.GroupView) bool { return g.Name == group })
		g := groups[k]
		return l.alive() == 0 && g.Desired == 0 && len(g.InstanceIDs) == 0, fmt.Sprintf("%+v", g), nil
	})
	for _, i := range l.instances {
		if i.TerminatedBy != "TerminateInstanceInAutoScalingGroup" {
			t.Errorf("instance %s was ended by %s, want by its name", i.ID, i.TerminatedBy)
		}
	}
	calls, err := s.AWS.Calls(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if c.Operation == "SetDesiredCapacity" || c.Operation == "UpdateAutoScalingGroup" {
			t.Errorf("absolute write of a desired count: %s %v", c.Operation, c.Params)
		}
	}
}

// wasWhole checks how many pods of a gang were ever bound. The watch that saw it may lag behind: after
// an outage it connects again only when its own back-off ends.
func (s *scene) wasWhole(t *testing.T, name string, want int) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("%d pods of %s to be seen bound", want, name), func(context.Context) (bool, string, error) {
		binds := s.seen.Bound(name)
		return len(binds) >= want, fmt.Sprintf("%v", binds), nil
	})
	if binds := s.seen.Bound(name); len(binds) != want {
		t.Errorf("%d pods of %s were bound, want %d: %v", len(binds), name, want, binds)
	}
}

func container(name, cpu, memory, gpus string) corev1.PodTemplateSpec {
	room := resources(cpu, memory, gpus)
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: name, Image: "rayproject/ray:2.52.0", Resources: corev1.ResourceRequirements{Requests: room, Limits: room}}}}}
}

// keep runs a manager and starts it again whenever it ends, as a Deployment does, until the test is
// over. The kubelet would wait ten seconds and more before it starts a container again.
func (s *scene) keep(t *testing.T, name string) {
	t.Helper()
	first, err := s.LaunchManager(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for m := first; ; {
			select {
			case <-ctx.Done():
				return
			case <-m.Done():
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(2 * time.Second):
			}
			next, err := s.LaunchManager(ctx, name)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("start %s again: %v", name, err)
				}
				return
			}
			m = next
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	if err := first.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func resources(cpu, memory, gpus string) corev1.ResourceList {
	out := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	if gpus != "" {
		out[v1alpha1.GPUResource] = resource.MustParse(gpus)
	}
	return out
}

func (s *scene) inject(t *testing.T, f fakeaws.Fault) {
	t.Helper()
	if _, err := s.AWS.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// slowBoot makes the nodes of a group take as long as a test needs to do its harm meanwhile.
func (s *scene) slowBoot(t *testing.T, group string, ready, gpu time.Duration) {
	t.Helper()
	s.inject(t, fakeaws.Fault{Kind: fakeaws.BootDelays, Group: group, Delays: &fakeaws.Delays{Ready: fakeaws.For(ready), GPU: fakeaws.For(gpu)}})
}

// awaitInstances waits until a group's launches have started so many instances.
func (s *scene) awaitInstances(t *testing.T, group string, want int) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("%d instances of %s", want, group), func(ctx context.Context) (bool, string, error) {
		l, err := s.ledger(ctx, group)
		return len(l.instances) == want, fmt.Sprintf("%d", len(l.instances)), err
	})
}

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}
