package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/test/fakedashboard"
	"github.com/capmgr/capmgr/test/fakegcs"
	"github.com/capmgr/capmgr/test/localcluster"
	"github.com/capmgr/capmgr/test/stack"
)

// rayScene is a stack whose KubeRay knows of no batch scheduler: capmgr's webhook stamps its pods.
// Dashboards and heads are played.
type rayScene struct {
	*scene
	dashboards *fakedashboard.Server
	proxy      *fakegcs.Proxy // to the heads that are played
	config     *v1alpha1.Config
	mirror     *state.Mirror // what a decision sees
}

// rayStage is the one that the tests of Ray's objects share, with a manager running.
var rayStage struct {
	once  sync.Once
	scene *rayScene
	dir   string
	err   error
}

func stopRayStage() error {
	if s := rayStage.scene; s != nil {
		return errors.Join(s.stop(), s.dashboards.Stop(), s.proxy.Stop(), os.RemoveAll(rayStage.dir))
	}
	return nil
}

// onRayStage returns the shared stack and a namespace of the test's own.
func onRayStage(t *testing.T, namespace string) *rayScene {
	t.Helper()
	rayStage.once.Do(func() {
		ctx := context.Background() // outlives the test that comes first
		//nolint:usetesting // the stack outlives the test that comes first
		if rayStage.dir, rayStage.err = os.MkdirTemp("", "capmgr-e2e-ray-"); rayStage.err != nil {
			return
		}
		rayStage.scene, rayStage.err = raiseRay(ctx, rayStage.dir)
	})
	if rayStage.err != nil {
		t.Fatal(rayStage.err)
	}
	s := rayStage.scene
	s.watchOver(t, namespace)
	s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	return s
}

func raiseRay(ctx context.Context, dir string) (*rayScene, error) {
	one.Lock()
	defer one.Unlock()
	dashboards, err := fakedashboard.Start(ctx)
	if err != nil {
		return nil, err
	}
	proxy, err := fakegcs.StartProxy(ctx)
	if err != nil {
		return nil, errors.Join(err, dashboards.Stop())
	}
	port, err := localcluster.FreePort()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`apiVersion: config.capmgr.io/v1alpha1
kind: CapacityManagerConfiguration
defaults: {scaling: {maxGPUs: 0}}
webhook: {port: %d, hosts: [127.0.0.1]}
queues: {waits: {hold: suspend}, held: {hold: suspend}}
`, port)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	config, err := v1alpha1.Load(path)
	if err != nil {
		return nil, err
	}
	raised, err := stack.Start(ctx, stack.Options{Dir: filepath.Join(dir, "stack"), Config: path, Audit: true, Proxy: proxy.URL,
		KubeRay: &localcluster.KubeRay{Dashboards: dashboards.URL}})
	if err != nil {
		return nil, errors.Join(err, dashboards.Stop(), proxy.Stop())
	}
	watch, end := context.WithCancel(context.Background())
	s := &rayScene{scene: &scene{Stack: raised, end: end}, dashboards: dashboards, proxy: proxy, config: config}
	queues, err := os.ReadFile(filepath.Join("testdata", "ray-queues.yaml"))
	for _, do := range []func() error{
		func() error { return err },
		func() error { return s.ApplyText(ctx, string(queues)) },
		func() error { return s.AddNode(ctx, "cpu-1", "64", "256Gi", 0) },
		func() error { return s.installWebhook(ctx, port) },
		func() error { s.seen, err = s.Record(watch); return err },
		func() error { return s.StartManager(ctx) },
		func() error { return s.awaitWebhook(ctx) },
		func() error { return s.watch(watch) },
	} {
		if err := do(); err != nil {
			return nil, errors.Join(err, s.stop(), dashboards.Stop(), proxy.Stop())
		}
	}
	return s, nil
}

// installWebhook applies what deploy/components/webhook ships, reached at a port of this machine: the
// manager runs as a process.
func (s *rayScene) installWebhook(ctx context.Context, port int) error {
	for _, name := range []string{"secret.yaml", "rbac.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.Root, "deploy", "components", "webhook", name))
		if err != nil {
			return err
		}
		if err := s.ApplyText(ctx, string(text)); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(s.Root, "deploy", "components", "webhook", "webhook.yaml"))
	if err != nil {
		return err
	}
	var c admissionregistrationv1.MutatingWebhookConfiguration
	if err := yaml.Unmarshal(text, &c); err != nil {
		return err
	}
	for k := range c.Webhooks {
		w := &c.Webhooks[k]
		url := fmt.Sprintf("https://127.0.0.1:%d%s", port, *w.ClientConfig.Service.Path)
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url}
		w.TimeoutSeconds = ptr.To[int32](10) // two seconds are long, but not on a machine that builds besides
	}
	return s.Client.Create(ctx, &c)
}

// awaitWebhook waits until the API server has been told what to verify the webhook by.
func (s *rayScene) awaitWebhook(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		// What the webhook answers is the proof: a job that is held comes back suspended.
		j := heldJob("default", "probe")
		err := s.Client.Create(ctx, j, client.DryRunAll)
		if err == nil && j.Spec.Suspend {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for the webhook: %w, %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// watch keeps a mirror of the cluster, as a decision sees it.
func (s *rayScene) watch(ctx context.Context) error {
	config, err := s.AccountConfig()
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	custom, err := cache.New(config, cache.Options{Scheme: s.Client.Scheme()})
	if err != nil {
		return err
	}
	s.mirror = state.New(s.config)
	core := informers.NewSharedInformerFactory(kube, 0)
	var synced []toolscache.InformerSynced
	var errs []error
	add := func(informer interface {
		AddEventHandler(toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error)
	}, handler toolscache.ResourceEventHandler) {
		reg, err := informer.AddEventHandler(handler)
		if err != nil {
			errs = append(errs, err)
			return
		}
		synced = append(synced, reg.HasSynced)
	}
	add(core.Core().V1().Pods().Informer(), s.mirror.Pods())
	add(core.Core().V1().Nodes().Informer(), s.mirror.Nodes())
	add(core.Batch().V1().Jobs().Informer(), s.mirror.Jobs())
	for o, h := range map[client.Object]toolscache.ResourceEventHandler{
		&queuev2.Queue{}: s.mirror.Queues(), &rayv1.RayCluster{}: s.mirror.RayClusters(),
		&rayv1.RayJob{}: s.mirror.RayJobs(), &rayv1.RayService{}: s.mirror.RayServices(),
	} {
		informer, err := custom.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		add(informer, h)
	}
	core.Start(ctx.Done())
	go func() { _ = custom.Start(ctx) }()
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		errs = append(errs, errors.New("the mirror did not come up"))
	}
	return errors.Join(errs...)
}

// gang is a RayCluster or a RayJob as a decision sees it.
func (s *rayScene) gang(t *testing.T, namespace, name string) *snapshot.Gang {
	t.Helper()
	var found *snapshot.Gang
	eventually(t, 30*time.Second, "the gang "+name, func(context.Context) (bool, string, error) {
		for _, g := range s.mirror.Snapshot(time.Now()).Gangs {
			if g.Namespace == namespace && g.Name == name {
				found = g
			}
		}
		return found != nil, "none", nil
	})
	return found
}

// head plays the head of a RayCluster for the manager. Workers are told of by tell.
func (s *rayScene) head(t *testing.T, namespace, name string) *fakegcs.Server {
	t.Helper()
	h := fakegcs.Start()
	t.Cleanup(h.Stop)
	var rc *rayv1.RayCluster
	eventually(t, time.Minute, "the head of "+name+" to have an address", func(ctx context.Context) (ok bool, _ string, err error) {
		rc, err = s.cluster(ctx, namespace, name)
		return rc.Status.Head.PodIP != "", "none", err
	})
	at, _ := ray.HeadOf(rc)
	s.proxy.Route(at.Address, h)
	return h
}

// tell makes a head say of its workers who idles, all others work, and waits until the manager has heard it.
func tell(t *testing.T, h *fakegcs.Server, pods []corev1.Pod, idle ...string) {
	t.Helper()
	s := &autoscalerpb.ClusterResourceState{}
	for k, p := range pods {
		id := make([]byte, 28)
		id[0] = byte(k + 1)
		n := &autoscalerpb.NodeState{NodeId: id, InstanceId: p.Name, RayNodeTypeName: p.Labels[ray.GroupLabel], Status: autoscalerpb.NodeStatus_RUNNING,
			TotalResources: map[string]float64{"CPU": 1}}
		if slices.Contains(idle, p.Name) {
			n.Status, n.IdleDurationMs = autoscalerpb.NodeStatus_IDLE, 600_000
		}
		s.NodeStates = append(s.NodeStates, n)
	}
	before := h.Calls()
	h.Answer(s)
	eventually(t, time.Minute, "the head to be heard", func(context.Context) (bool, string, error) {
		n := h.Calls() - before
		return n > 1, fmt.Sprintf("%d calls", n), nil // the first may have been under way
	})
}

// queue creates a queue of the test's own that may use so many thousandths of a CPU.
func (s *rayScene) queue(t *testing.T, name string, milliCPU int) {
	t.Helper()
	q := &queuev2.Queue{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: queuev2.QueueSpec{ParentQueue: "e2e", Resources: room(milliCPU)}}
	s.create(t, q)
}

// limit sets what a queue may use.
func (s *rayScene) limit(t *testing.T, name string, milliCPU int) {
	t.Helper()
	q := &queuev2.Queue{}
	if err := s.Client.Get(t.Context(), client.ObjectKey{Name: name}, q); err != nil {
		t.Fatal(err)
	}
	before := q.DeepCopy()
	q.Spec.Resources = room(milliCPU)
	if err := s.Client.Patch(t.Context(), q, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func room(milliCPU int) *queuev2.QueueResources {
	free := queuev2.QueueResource{Quota: queuev2.Unlimited, Limit: queuev2.Unlimited}
	return &queuev2.QueueResources{GPU: free, Memory: free, CPU: queuev2.QueueResource{Quota: float64(milliCPU), Limit: float64(milliCPU)}}
}

// urgent is a RayCluster that pushes others out, and is never pushed out.
func urgent(namespace, name, queue string, workers int32) *rayv1.RayCluster {
	rc := plain(namespace, name, queue, workers, workers, workers)
	rc.Labels[v1alpha1.PriorityClassLabel] = v1alpha1.PriorityClassInference
	return rc
}

// plain is a RayCluster of CPU workers, without a scheduler's name anywhere.
func plain(namespace, name, queue string, replicas, least, most int32) *rayv1.RayCluster {
	return &rayv1.RayCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.QueueLabel: queue}},
		Spec:       plainSpec(replicas, least, most),
	}
}

func plainSpec(replicas, least, most int32) rayv1.RayClusterSpec {
	return rayv1.RayClusterSpec{
		RayVersion:    "2.52.0",
		HeadGroupSpec: rayv1.HeadGroupSpec{RayStartParams: map[string]string{}, Template: container("ray-head", "500m", "1Gi", "")},
		WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: &replicas, MinReplicas: &least, MaxReplicas: &most,
			RayStartParams: map[string]string{}, Template: container("ray-worker", "500m", "1Gi", "")}},
	}
}

// workers lists the workers of a RayCluster that are not on their way out, oldest first.
func (s *scene) workers(ctx context.Context, namespace, name string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := s.Client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{ray.ClusterLabel: name, ray.NodeTypeLabel: "worker"})
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return pods, err
}

func (s *scene) workersNow(t *testing.T, namespace, name string) []corev1.Pod {
	t.Helper()
	pods, err := s.workers(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return pods
}

func names(pods []corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func (s *scene) clusterNow(t *testing.T, namespace, name string) *rayv1.RayCluster {
	t.Helper()
	rc, err := s.cluster(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return rc
}
