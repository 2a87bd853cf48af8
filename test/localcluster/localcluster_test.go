package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience bounds each wait: a busy two-core machine under the race detector is
// several times slower than an idle one.
const patience = 2 * time.Minute

// TestCluster walks through the life of one cluster. Its steps build on each
// other, because a cluster costs too much to start one for each.
func TestCluster(t *testing.T) {
	_, share, err := Output()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	cluster, err := Start(t.Context(), Options{
		Dir:      filepath.Join(t.TempDir(), "cluster"),
		CRDs:     []string{filepath.Join(share, "kuberay", "crds")},
		Progress: func(what string) { t.Logf("%5.1fs %s", time.Since(began).Seconds(), what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Stop() }) // the last step checks it; this is for those that fail before
	s := &scene{
		Cluster: cluster,
		client:  kubernetes.NewForConfigOrDie(cluster.Config),
		dynamic: dynamic.NewForConfigOrDie(cluster.Config),
	}
	for _, step := range []struct {
		name string
		run  func(*scene, *testing.T)
	}{
		{"second cluster in the same directory", (*scene).refusesSecondRun},
		{"service account kubeconfig", (*scene).limitsServiceAccount},
		{"KWOK", (*scene).startsKWOK},
		{"KubeRay", (*scene).startsKubeRay},
		{"node becomes ready", (*scene).readiesNode},
		{"RayCluster sample makes three pods", (*scene).appliesSample},
		{"bound RayCluster becomes ready", (*scene).bindsPods},
		{"API server outage", (*scene).survivesOutage},
		{"deletion is finished by the controllers", (*scene).deletesSample},
		{"stop leaves nothing behind", (*scene).stops},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(s, t) }) {
			s.showLogs(t)
			return
		}
	}
}

const (
	namespace   = metav1.NamespaceDefault
	nodeName    = "gpu-node"
	rayName     = "raycluster-sample"
	raySelector = "ray.io/cluster=" + rayName
)

var rayClusters = schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"}

type scene struct {
	*Cluster
	client  kubernetes.Interface
	dynamic dynamic.Interface
}

func (s *scene) refusesSecondRun(t *testing.T) {
	if _, err := Start(t.Context(), Options{Dir: s.Dir}); err == nil || !strings.Contains(err.Error(), "earlier run") {
		t.Errorf("starting again in %s gave %v", s.Dir, err)
	}
}

func (s *scene) limitsServiceAccount(t *testing.T) {
	ctx := t.Context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "reader"}},
	}
	_, err := s.client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	must(t, err)
	_, err = s.client.RbacV1().Roles(namespace).Create(ctx, role, metav1.CreateOptions{})
	must(t, err)
	_, err = s.client.RbacV1().RoleBindings(namespace).Create(ctx, binding, metav1.CreateOptions{})
	must(t, err)

	path, err := s.ServiceAccountKubeconfig(ctx, namespace, "reader")
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the kubeconfig's mode is %o, want 600", mode)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	reader := kubernetes.NewForConfigOrDie(config)
	// The API server's own copy of the rules follows in its time.
	eventually(t, func(ctx context.Context) error {
		_, err := reader.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		return err
	})
	if _, err := reader.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("listing nodes without permission gave %v, want forbidden", err)
	}
}

func (s *scene) startsKWOK(t *testing.T) { must(t, s.StartKWOK(t.Context())) }
func (s *scene) startsKubeRay(t *testing.T) {
	must(t, s.StartKubeRay(t.Context(), KubeRay{BatchScheduler: "kai-scheduler"}))
}

func (s *scene) readiesNode(t *testing.T) {
	resources := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("32"),
		corev1.ResourceMemory: resource.MustParse("128Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
		"nvidia.com/gpu":      resource.MustParse("4"),
	}
	_, err := s.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status:     corev1.NodeStatus{Capacity: resources, Allocatable: resources},
	}, metav1.CreateOptions{})
	must(t, err)
	eventually(t, func(ctx context.Context) error {
		node, err := s.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := node.Status.Allocatable["nvidia.com/gpu"]; got.Value() != 4 {
			return fmt.Errorf("the node has %s GPUs, want 4", got.String())
		}
		if len(node.Spec.Taints) > 0 {
			return fmt.Errorf("the node has taints %v", node.Spec.Taints)
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("the node is not ready: %v", node.Status.Conditions)
	})
}

// appliesSample applies the RayCluster of KubeRay's sample as it stands. The
// queues beside it belong to the scheduler, which has no part here.
func (s *scene) appliesSample(t *testing.T) {
	sample := filepath.Join(s.share, "kuberay", "samples", "ray-cluster.kai-scheduler.yaml")
	text := document(t, sample, "RayCluster")
	_, err := s.Kubectl(t.Context(), strings.NewReader(text), "apply", "--server-side", "--filename=-")
	must(t, err)
	eventually(t, func(ctx context.Context) error {
		pods, err := s.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: raySelector})
		if err != nil {
			return err
		}
		if len(pods.Items) != 3 {
			return fmt.Errorf("%d pods, want 3", len(pods.Items))
		}
		for _, pod := range pods.Items {
			if pod.Spec.SchedulerName != "kai-scheduler" {
				return fmt.Errorf("pod %s is for scheduler %q", pod.Name, pod.Spec.SchedulerName)
			}
		}
		return nil
	})
}

func (s *scene) bindsPods(t *testing.T) {
	pods, err := s.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: raySelector})
	must(t, err)
	for _, pod := range pods.Items {
		must(t, s.client.CoreV1().Pods(namespace).Bind(t.Context(), &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name},
			Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
		}, metav1.CreateOptions{}))
	}
	eventually(t, func(ctx context.Context) error { return s.rayState(ctx, "ready") })
}

func (s *scene) rayState(ctx context.Context, want string) error {
	ray, err := s.dynamic.Resource(rayClusters).Namespace(namespace).Get(ctx, rayName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if state, _, _ := unstructured.NestedString(ray.Object, "status", "state"); state != want {
		return fmt.Errorf("the RayCluster's state is %q, want %q", state, want)
	}
	return nil
}

func (s *scene) survivesOutage(t *testing.T) {
	before := s.Config.Host
	must(t, s.StopAPIServer(t.Context()))
	if _, err := s.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("a stopped API server answers")
	}
	if err := s.StopAPIServer(t.Context()); err == nil {
		t.Error("a stopped API server was stopped again")
	}
	must(t, s.StartAPIServer(t.Context()))
	if s.Config.Host != before {
		t.Errorf("the API server moved from %s to %s", before, s.Config.Host)
	}
	must(t, s.rayState(t.Context(), "ready"))
	for _, name := range programs {
		if p := s.Process(name); p != nil && !running(p) {
			t.Errorf("%s did not survive: %v", name, p.Err())
		}
	}
}

// deletesSample sees the garbage collector, the operator and KWOK work together
// again after the outage.
func (s *scene) deletesSample(t *testing.T) {
	must(t, s.dynamic.Resource(rayClusters).Namespace(namespace).Delete(t.Context(), rayName, metav1.DeleteOptions{}))
	eventually(t, func(ctx context.Context) error {
		pods, err := s.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: raySelector})
		if err != nil {
			return err
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("%d pods are left", len(pods.Items))
		}
		return nil
	})
}

func (s *scene) stops(t *testing.T) {
	names := commands(t, s.Dir)
	if len(names) != 5 {
		t.Errorf("%d processes run before: %v, want 5", len(names), names)
	}
	began := time.Now()
	must(t, s.Stop())
	t.Logf("stopped in %.1fs", time.Since(began).Seconds())
	if names := commands(t, s.Dir); len(names) > 0 {
		t.Errorf("processes are left: %v", names)
	}
	must(t, s.Stop())
}

// commands lists the running processes that name the directory in their
// arguments, as all of a cluster's do.
func commands(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	var found []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended while we looked
		}
		if strings.Contains(string(text), dir) {
			program, _, _ := strings.Cut(string(text), "\x00")
			found = append(found, program)
		}
	}
	return found
}

// document returns the first document of a kind in a file of several.
func document(t *testing.T, path, kind string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	for _, doc := range strings.Split(string(text), "\n---\n") {
		if strings.Contains(doc, "\nkind: "+kind+"\n") {
			return doc
		}
	}
	t.Fatalf("%s has no %s", path, kind)
	return ""
}

// eventually asks until the answer is nil, and fails with the last answer.
func eventually(t *testing.T, answer func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = answer(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(errors.Join(err, last))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) showLogs(t *testing.T) {
	for _, name := range programs {
		if p := s.Process(name); p != nil {
			t.Logf("the log of %s ends with:\n%s", name, p.log.tail())
		}
	}
}
