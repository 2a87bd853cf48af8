package kubelet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/test/localcluster"
	"github.com/capmgr/capmgr/test/stack"
)

const (
	rayName   = "docker.io/capmgr/ray:local"
	pauseName = "docker.io/capmgr/pause:local"
)

const config = `apiVersion: config.capmgr.io/v1alpha1
kind: CapacityManagerConfiguration
defaults: {scaling: {maxGPUs: 0}}
`

const queue = `apiVersion: scheduling.run.ai/v2
kind: Queue
metadata: {name: real}
spec:
  resources: {gpu: {quota: -1, limit: -1}, cpu: {quota: -1, limit: -1}, memory: {quota: -1, limit: -1}}
`

// program waits for a placement group of four GPUs, works on each, and ends.
const program = `
import ray, sys
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
@ray.remote(num_cpus=0, num_gpus=1)
def work(n):
    return n * n
pg = placement_group([{"GPU": 1}] * 4, strategy="PACK")
print("asked", flush=True)
ray.get(pg.ready())
inside = PlacementGroupSchedulingStrategy(placement_group=pg)
print("sum", sum(ray.get([work.options(scheduling_strategy=inside).remote(n) for n in range(4)])), flush=True)
`

// The bind of the gang is the running manager's. That a worker group grows and shrinks is granted by hand
// here, on a mirror and an executor beside it: when the decision grants, granting is all that goes.
func TestRealRayCluster(t *testing.T) {
	bin := os.Getenv("CAPMGR_RAY")
	if bin == "" {
		t.Skip("needs a real node: run make test-kubelet")
	}
	s := startStack(t)
	images := filepath.Join(s.Root, "_output", "kubelet")
	rayFile, pauseFile := filepath.Join(images, "ray-"+os.Getenv("CAPMGR_RAY_VERSION")+".tar"), filepath.Join(images, "pause.tar")
	rayImage(t, bin, rayFile, rayName)
	pauseImage(t, filepath.Join(s.Root, "_output", "bin", "pause"), pauseFile, pauseName)
	serveNames(t, s.Kube)
	n := startNode(t, s, pauseFile, rayFile)
	n.claim(t, 8)
	if err := s.ApplyText(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	if err := s.StartManager(t.Context()); err != nil {
		t.Fatal(err)
	}
	rc := realCluster()
	if err := s.Client.Create(t.Context(), rc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removePods(t, s, rc) })
	d := newDirector(t, s)

	d.await(t, 3*time.Minute, "the cluster to be ready", nil, func(now *rayv1.RayCluster, _ *snapshot.Gang) bool {
		return now.Status.State == rayv1.Ready //nolint:staticcheck // what kubectl shows
	})
	out := runInHead(t, s, bin)
	waiting := func(g *snapshot.Gang) bool { return g != nil && g.Heard != nil && g.Heard.Fresh && g.Heard.Waiting }
	d.await(t, 2*time.Minute, "the placement group to be heard of", nil, func(_ *rayv1.RayCluster, g *snapshot.Gang) bool {
		asked := g != nil && len(g.Groups) > 1 && g.Groups[1].Workers.Asked != nil && *g.Groups[1].Workers.Asked == 2
		return waiting(g) && asked
	})
	began := time.Now()
	d.await(t, 3*time.Minute, "the program to have its four GPUs", ptr.To(2), func(*rayv1.RayCluster, *snapshot.Gang) bool {
		return strings.Contains(out(), "sum 14")
	})
	t.Logf("from the grant to the program's end: %s", time.Since(began).Round(time.Second))

	// The program has ended: both workers idle. One is asked to leave, ends itself, and is named.
	d.await(t, 2*time.Minute, "the workers to idle", nil, func(_ *rayv1.RayCluster, g *snapshot.Gang) bool {
		return g != nil && len(d.idle(g)) == 2
	})
	began = time.Now()
	d.await(t, 2*time.Minute, "one worker to be gone", ptr.To(1), func(now *rayv1.RayCluster, g *snapshot.Gang) bool {
		w := now.Spec.WorkerGroupSpecs[0]
		return *w.Replicas == 1 && len(w.ScaleStrategy.WorkersToDelete) == 0 && g != nil && len(workers(g)) == 1
	})
	t.Logf("from the grant to the worker's end: %s", time.Since(began).Round(time.Second))
}

func startStack(t *testing.T) *stack.Stack {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Start(t.Context(), stack.Options{Dir: filepath.Join(dir, "stack"), Config: file, WithoutKWOK: true,
		// Its probes call wget, which the image does not have.
		KubeRay: &localcluster.KubeRay{BatchScheduler: "kai-scheduler", Env: []string{"ENABLE_PROBES_INJECTION=false"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tellLogs(t, s)
		}
		if err := s.Stop(); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
	})
	return s
}

func tellLogs(t *testing.T, s *stack.Stack) {
	t.Helper()
	for _, name := range []string{"capmgr", "kubelet", "containerd", "kuberay-operator"} {
		text, err := os.ReadFile(filepath.Join(s.Dir, "logs", name+".log"))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("%s ends with:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}

// tellPods prints what the containers said.
func tellPods(t *testing.T, s *stack.Stack) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := s.Client.List(context.Background(), pods, client.InNamespace("default")); err != nil {
		t.Logf("pods: %v", err)
	}
	for _, p := range pods.Items {
		t.Logf("pod %s: %+v", p.Name, p.Status.ContainerStatuses)
		for _, previous := range []string{"--previous=true", "--previous=false"} {
			said, err := s.Kubectl(context.Background(), nil, "logs", p.Name, "--all-containers", "--tail=30", previous)
			t.Logf("%s: %s %v", previous, said, err)
		}
	}
}

// realCluster is a head and one worker of two GPUs; two more may come.
func realCluster() *rayv1.RayCluster {
	container := func(name, cpu, memory, gpus string) corev1.PodTemplateSpec {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		if gpus != "" {
			list[v1alpha1.GPUResource] = resource.MustParse(gpus)
		}
		// The machine is small, and Ray looks at what it has rather than at what it is given.
		limits := list.DeepCopy()
		delete(limits, corev1.ResourceCPU)
		return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](2),
			AutomountServiceAccountToken:  ptr.To(false),
			Containers: []corev1.Container{{Name: name, Image: rayName, ImagePullPolicy: corev1.PullNever,
				Resources: corev1.ResourceRequirements{Requests: list, Limits: limits}}}}}
	}
	params := func(more ...string) map[string]string {
		out := map[string]string{"object-store-memory": "80000000", "include-log-monitor": "false"}
		for k := 0; k < len(more); k += 2 {
			out[more[k]] = more[k+1]
		}
		return out
	}
	return &rayv1.RayCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "real", Labels: map[string]string{v1alpha1.QueueLabel: "real"},
			Annotations: map[string]string{v1alpha1.ElasticAnnotation: v1alpha1.ElasticOpportunistic}},
		Spec: rayv1.RayClusterSpec{
			RayVersion:    os.Getenv("CAPMGR_RAY_VERSION"),
			HeadGroupSpec: rayv1.HeadGroupSpec{RayStartParams: params("num-cpus", "0", "include-dashboard", "false"), Template: container("ray-head", "200m", "1Gi", "")},
			WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "gpu", Replicas: ptr.To[int32](1), MinReplicas: ptr.To[int32](1), MaxReplicas: ptr.To[int32](3),
				RayStartParams: params("num-cpus", "1"), Template: container("ray-worker", "200m", "1Gi", "2")}},
		},
	}
}

// runInHead runs the program in the head's container and returns what it has said so far.
func runInHead(t *testing.T, s *stack.Stack, bin string) func() string {
	t.Helper()
	heads := &corev1.PodList{}
	if err := s.Client.List(t.Context(), heads, client.MatchingLabels{ray.ClusterLabel: "real", ray.NodeTypeLabel: "head"}); err != nil || len(heads.Items) != 1 {
		t.Fatalf("%d heads: %v", len(heads.Items), err)
	}
	file := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(s.Root, "_output", "bin", "kubectl"), "--kubeconfig="+s.Kubeconfig,
		"exec", heads.Items[0].Name, "-c", "ray-head", "--", filepath.Join(bin, "python"), "-c", program)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it may have been cut short
		out.Close()
		if t.Failed() {
			said, _ := os.ReadFile(file)
			t.Logf("the program said: %s", said)
		}
	})
	return func() string {
		said, _ := os.ReadFile(file)
		return string(said)
	}
}

// removePods deletes the cluster and waits until its containers are gone, while the kubelet is there to
// see to it.
func removePods(t *testing.T, s *stack.Stack, rc *rayv1.RayCluster) {
	t.Helper()
	ctx := context.Background()
	if t.Failed() {
		tellPods(t, s)
	}
	if err := s.Client.Delete(ctx, rc); client.IgnoreNotFound(err) != nil {
		t.Errorf("delete the RayCluster: %v", err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		pods := &corev1.PodList{}
		if err := s.Client.List(ctx, pods, client.InNamespace("default")); err == nil && len(pods.Items) == 0 {
			return
		}
	}
	t.Error("pods are left over after a minute")
}

// director grants by hand.
type director struct {
	s        *stack.Stack
	mirror   *state.Mirror
	poller   *gcs.Poller
	executor *execute.Executor
}

func newDirector(t *testing.T, s *stack.Stack) *director {
	t.Helper()
	d := &director{s: s, mirror: state.New(&v1alpha1.Config{SchedulerNames: v1alpha1.DefaultSchedulerNames()})}
	d.poller = gcs.NewPoller(gcs.Options{Every: time.Second, Changed: func(uid string) {
		if a, ok := d.poller.Last(uid); ok {
			d.mirror.Hear(uid, a)
		}
	}})
	d.executor = &execute.Executor{Kube: s.Kube, Client: s.Client, Mirror: d.mirror, Heads: d.poller,
		Observe: func(context.Context) error { return nil }, Events: record.NewFakeRecorder(1000), Log: logr.Discard(), Now: time.Now}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.poller.Start(ctx) }()
	core := informers.NewSharedInformerFactory(s.Kube, 0)
	if _, err := core.Core().V1().Pods().Informer().AddEventHandler(d.mirror.Pods()); err != nil {
		t.Fatal(err)
	}
	core.Start(ctx.Done())
	core.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		d.executor.Wait()
		cancel()
		core.Shutdown()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

// await waits for something while so many replicas are granted; nil: none that differ from what there is.
func (d *director) await(t *testing.T, most time.Duration, what string, granted *int, done func(*rayv1.RayCluster, *snapshot.Gang) bool) {
	t.Helper()
	awaitFor(t, most, what, func() error {
		rc := &rayv1.RayCluster{}
		if err := d.s.Client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "real"}, rc); err != nil {
			return err
		}
		d.mirror.RayClusters().OnUpdate(nil, rc)
		snap := d.mirror.Snapshot(time.Now())
		var targets []gcs.Target
		for _, h := range d.mirror.Heads() {
			targets = append(targets, gcs.Target{UID: h.UID, Name: h.Name, Address: h.Address})
		}
		d.poller.Watch(targets)
		var g *snapshot.Gang
		if len(snap.Gangs) > 0 {
			g = snap.Gangs[0]
		}
		if done(rc, g) {
			return nil
		}
		if granted != nil && g != nil {
			steps, _ := scaling.WorkerSteps(snap, []scaling.Grant{{Gang: g.ID, Group: "gpu", Replicas: *granted, Because: "by hand"}})
			if err := d.executor.Execute(t.Context(), &plan.Plan{Steps: steps}); err != nil {
				return err
			}
		}
		return fmt.Errorf("cluster %s, gang %s", statusOf(rc), gangOf(g))
	})
}

func statusOf(rc *rayv1.RayCluster) string {
	return fmt.Sprintf("%+v, verdict %s", rc.Status, rc.Annotations[v1alpha1.VerdictAnnotation])
}

func gangOf(g *snapshot.Gang) string {
	if g == nil {
		return "none"
	}
	var pods []string
	for _, p := range g.Members {
		pods = append(pods, fmt.Sprintf("%s on %q %+v", p.Name, p.Node, p.Ray))
	}
	return fmt.Sprintf("heard %+v, %v", g.Heard, pods)
}

func workers(g *snapshot.Gang) (out []*snapshot.Pod) {
	for _, p := range g.Members {
		if p.Group == "gpu" {
			out = append(out, p)
		}
	}
	return out
}

func (d *director) idle(g *snapshot.Gang) []*snapshot.Pod {
	return slices.DeleteFunc(workers(g), func(p *snapshot.Pod) bool { return p.Ray == nil || p.Ray.IdleSince.IsZero() })
}
