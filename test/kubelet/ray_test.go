package kubelet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
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

// A cluster that takes whatever room there is grows by the one worker that the rest of a placement group
// needs, and gives it back when it has idled: capmgr hears of both from Ray's own head.
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

	await(t, s, 3*time.Minute, "the cluster to be ready", func(now *rayv1.RayCluster, _ []corev1.Pod) bool {
		return now.Status.State == rayv1.Ready //nolint:staticcheck // what kubectl shows
	})
	out := runInHead(t, s, bin)
	began := time.Now()
	await(t, s, 2*time.Minute, "the placement group to be heard of, and a second worker to be granted", func(now *rayv1.RayCluster, _ []corev1.Pod) bool {
		return *now.Spec.WorkerGroupSpecs[0].Replicas == 2 && strings.Contains(out(), "asked")
	})
	t.Logf("from the program's start to the grant: %s", time.Since(began).Round(time.Second))
	await(t, s, 3*time.Minute, "the program to have its four GPUs", func(*rayv1.RayCluster, []corev1.Pod) bool {
		return strings.Contains(out(), "sum 14")
	})
	t.Logf("from the program's start to its end: %s", time.Since(began).Round(time.Second))

	// The program has ended, and both workers idle. The one beyond the wish is asked to leave, ends itself, and
	// is named.
	began = time.Now()
	await(t, s, 5*time.Minute, "one worker to be gone", func(now *rayv1.RayCluster, workers []corev1.Pod) bool {
		w := now.Spec.WorkerGroupSpecs[0]
		return *w.Replicas == 1 && len(w.ScaleStrategy.WorkersToDelete) == 0 && len(workers) == 1
	})
	t.Logf("from the program's end to the worker's: %s", time.Since(began).Round(time.Second))
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

// await waits for something of the cluster and its workers.
func await(t *testing.T, s *stack.Stack, most time.Duration, what string, done func(*rayv1.RayCluster, []corev1.Pod) bool) {
	t.Helper()
	awaitFor(t, most, what, func() error {
		rc := &rayv1.RayCluster{}
		if err := s.Client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "real"}, rc); err != nil {
			return err
		}
		workers := &corev1.PodList{}
		if err := s.Client.List(t.Context(), workers, client.MatchingLabels{ray.ClusterLabel: "real", ray.NodeTypeLabel: "worker"}); err != nil {
			return err
		}
		if done(rc, workers.Items) {
			return nil
		}
		w := rc.Spec.WorkerGroupSpecs[0]
		return fmt.Errorf("%d replicas, to delete %v, %d workers; %+v, verdict %s", *w.Replicas, w.ScaleStrategy.WorkersToDelete, len(workers.Items),
			rc.Status, rc.Annotations[v1alpha1.VerdictAnnotation])
	})
}
