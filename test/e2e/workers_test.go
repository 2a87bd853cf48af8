package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
)

// shrink-named: when its queue is given less, of four workers the idle one and the youngest busy one go,
// each asked to before, and no other; the names are cleared, and the wish is honoured again when there is
// room.
func TestWorkersShrinkByNameAndGrowBack(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "by-name")
	s.queue(t, "by-name", 2600) // a head and four workers
	s.create(t, plain("by-name", "rc", "by-name", 4, 1, 8))
	s.awaitReady(t, "by-name", "rc", time.Minute)
	before := s.workersNow(t, "by-name", "rc")
	head := s.head(t, "by-name", "rc")
	idle := before[1].Name
	tell(t, head, before, idle)
	s.limit(t, "by-name", 1600)
	eventually(t, time.Minute, "two workers to be left", func(ctx context.Context) (bool, string, error) {
		pods, err := s.workers(ctx, "by-name", "rc")
		return len(pods) == 2, fmt.Sprint(names(pods)), err
	})
	for _, p := range s.workersNow(t, "by-name", "rc") {
		k := slices.IndexFunc(before, func(b corev1.Pod) bool { return b.UID == p.UID })
		if k < 0 || p.Name == idle {
			t.Errorf("worker %s stayed or came; there were %v, and %s was idle", p.Name, names(before), idle)
		}
	}
	var reasons []autoscalerpb.DrainNodeReason
	for _, r := range head.Drains() {
		reasons = append(reasons, r.GetReason())
	}
	slices.Sort(reasons)
	if !slices.Equal(reasons, []autoscalerpb.DrainNodeReason{autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION, autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION}) {
		t.Errorf("the workers were asked to leave by %v", reasons)
	}
	eventually(t, 30*time.Second, "the names to be cleared", func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, "by-name", "rc")
		return len(rc.Spec.WorkerGroupSpecs[0].ScaleStrategy.WorkersToDelete) == 0, fmt.Sprintf("%+v", rc.Spec.WorkerGroupSpecs[0].ScaleStrategy), err
	})
	rc := s.clusterNow(t, "by-name", "rc")
	if *rc.Spec.WorkerGroupSpecs[0].Replicas != 2 || rc.Annotations[v1alpha1.DesiredReplicasAnnotation] != "w=4" {
		t.Errorf("replicas %d, wish %q", *rc.Spec.WorkerGroupSpecs[0].Replicas, rc.Annotations[v1alpha1.DesiredReplicasAnnotation])
	}
	generation := rc.Generation
	s.limit(t, "by-name", 2600)
	eventually(t, 90*time.Second, "four workers again", func(ctx context.Context) (bool, string, error) {
		pods, err := s.workers(ctx, "by-name", "rc")
		return len(pods) == 4, fmt.Sprint(names(pods)), err
	})
	rc = s.clusterNow(t, "by-name", "rc")
	// Written once: nothing changed before there was room again.
	if *rc.Spec.WorkerGroupSpecs[0].Replicas != 4 || rc.Annotations[v1alpha1.DesiredReplicasAnnotation] != "" || rc.Generation != generation+1 {
		t.Errorf("replicas %d, wish %q, generation %d after %d", *rc.Spec.WorkerGroupSpecs[0].Replicas, rc.Annotations[v1alpha1.DesiredReplicasAnnotation], rc.Generation, generation)
	}
	s.awaitEvent(t, "by-name", "RayCluster", "rc", "WorkerGroupResized")
}

// kuberay#4066: KubeRay calls a cluster ready when all its replicas run. One that wants more than its
// queue gives becomes ready with what it has.
func TestAClusterIsReadyWithWhatIsGranted(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "small")
	s.create(t, plain("small", "rc", "tight", 4, 2, 8))
	s.awaitReady(t, "small", "rc", time.Minute)
	pods := s.workersNow(t, "small", "rc")
	if len(pods) != 2 {
		t.Errorf("it is ready with %v", names(pods))
	}
	for _, p := range pods {
		if p.Spec.NodeName == "" {
			t.Errorf("worker %s stayed, and it does not run", p.Name)
		}
	}
	rc := s.clusterNow(t, "small", "rc")
	if *rc.Spec.WorkerGroupSpecs[0].Replicas != 2 || rc.Annotations[v1alpha1.DesiredReplicasAnnotation] != "w=4" {
		t.Errorf("replicas %d, wish %q", *rc.Spec.WorkerGroupSpecs[0].Replicas, rc.Annotations[v1alpha1.DesiredReplicasAnnotation])
	}
	s.awaitScheduled(t, "small", "rc", "True", plan.Running)
}

// awaitScheduled waits for capmgr's condition on a RayCluster, and for KubeRay's own beside it.
func (s *scene) awaitScheduled(t *testing.T, namespace, name string, status metav1.ConditionStatus, reason plan.Reason) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("the condition %s of %s to be %s", v1alpha1.ConditionScheduled, name, reason), func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, namespace, name)
		c := meta.FindStatusCondition(rc.Status.Conditions, v1alpha1.ConditionScheduled)
		return c != nil && c.Status == status && c.Reason == string(reason) && meta.FindStatusCondition(rc.Status.Conditions, "HeadPodReady") != nil,
			fmt.Sprintf("%+v", rc.Status.Conditions), err
	})
}

// replicas-fight (kuberay#4149): a GitOps tool writes the manifest's replicas again and again.
func TestFieldContentionWithGitOps(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "gitops")
	s.queue(t, "gitops", 1600) // a head and two workers
	manifest := manifestOf(t, plain("gitops", "rc", "gitops", 3, 1, 8))
	sync := func() {
		t.Helper()
		if err := s.Client.Patch(t.Context(), manifest.DeepCopy(), client.Apply, client.FieldOwner("argocd-controller"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	lowered := func(why string) {
		t.Helper()
		eventually(t, time.Minute, why, func(ctx context.Context) (bool, string, error) {
			rc, err := s.cluster(ctx, "gitops", "rc")
			return *rc.Spec.WorkerGroupSpecs[0].Replicas == 2, "three", err
		})
	}
	lowered("replicas to be lowered")
	sync()
	lowered("one write over theirs")
	sync()
	eventually(t, time.Minute, "capmgr to give way", func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, "gitops", "rc")
		c := meta.FindStatusCondition(rc.Status.Conditions, v1alpha1.ConditionFieldContention)
		return c != nil && c.Status == "True" && c.Message == "argocd-controller also writes spec.workerGroupSpecs[w].replicas", fmt.Sprintf("%+v", rc.Status.Conditions), err
	})
	rc := s.clusterNow(t, "gitops", "rc")
	sync()
	// Something else is decided on meanwhile.
	s.create(t, plain("gitops", "other", "open", 1, 1, 1))
	s.awaitReady(t, "gitops", "other", time.Minute)
	if now := s.clusterNow(t, "gitops", "rc"); now.Generation != rc.Generation || *now.Spec.WorkerGroupSpecs[0].Replicas != 3 {
		t.Errorf("generation %d after %d, %d replicas", now.Generation, rc.Generation, *now.Spec.WorkerGroupSpecs[0].Replicas)
	}
	// KubeRay's own conditions are still there: they are entries of the same list.
	eventually(t, time.Minute, "KubeRay's conditions", func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, "gitops", "rc")
		return meta.FindStatusCondition(rc.Status.Conditions, "HeadPodReady") != nil, fmt.Sprintf("%+v", rc.Status.Conditions), err
	})
	if g := s.gang(t, "gitops", "rc"); g.ContendedBy != "argocd-controller" || g.ContendedUntil.IsZero() {
		t.Errorf("a decision does not see who writes: %+v", g)
	}
}

// ray-demand-storm (kuberay#5002): Ray's own autoscaler asks for more and more. Its ceiling is what the
// queue has room for, so it never asks for what the queue will not give.
func TestRaysAutoscalerIsToldNo(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "storm")
	s.queue(t, "storm", 2100) // a head and three workers
	rc := plain("storm", "rc", "storm", 1, 1, 20)
	rc.Spec.EnableInTreeAutoscaling = ptr.To(true)
	rc.Spec.AutoscalerOptions = &rayv1.AutoscalerOptions{Resources: &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}, Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}}}
	s.create(t, rc)
	ceiling := func(n int) {
		t.Helper()
		eventually(t, 90*time.Second, fmt.Sprintf("a ceiling of %d", n), func(ctx context.Context) (bool, string, error) {
			rc, err := s.cluster(ctx, "storm", "rc")
			return int(*rc.Spec.WorkerGroupSpecs[0].MaxReplicas) == n, fmt.Sprint(*rc.Spec.WorkerGroupSpecs[0].MaxReplicas), err
		})
	}
	// autoscaler is one round of Ray's: it reads the object anew and patches by index, without a test.
	autoscaler := func(wants int32) int32 {
		t.Helper()
		rc := s.clusterNow(t, "storm", "rc")
		wants = min(wants, *rc.Spec.WorkerGroupSpecs[0].MaxReplicas)
		patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/workerGroupSpecs/0/replicas","value":%d}]`, wants)
		if err := s.Client.Patch(t.Context(), rc, client.RawPatch(types.JSONPatchType, []byte(patch)), client.FieldOwner("ray-autoscaler")); err != nil {
			t.Fatal(err)
		}
		return wants
	}
	ceiling(3)
	for range 5 {
		autoscaler(100)
	}
	s.awaitReady(t, "storm", "rc", time.Minute)
	if pods := s.workersNow(t, "storm", "rc"); len(pods) != 3 {
		t.Errorf("there are %v", names(pods))
	}
	if own := s.clusterNow(t, "storm", "rc").Annotations[v1alpha1.DesiredMaxReplicasAnnotation]; own != "w=20" {
		t.Errorf("the user's own ceiling is remembered as %q", own)
	}
	s.limit(t, "storm", 20_000)
	ceiling(20)
	if got := autoscaler(5); got != 5 {
		t.Errorf("the autoscaler may have %d", got)
	}
	rc = s.clusterNow(t, "storm", "rc")
	if own := rc.Annotations[v1alpha1.DesiredMaxReplicasAnnotation]; own != "" || meta.FindStatusCondition(rc.Status.Conditions, v1alpha1.ConditionFieldContention) != nil {
		t.Errorf("ceiling restored, and yet %q is remembered; conditions %+v", own, rc.Status.Conditions)
	}
}

// kuberay#3552: a replica of several hosts goes whole.
func TestAReplicaOfTwoHostsGoesWhole(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "hosts")
	s.queue(t, "hosts", 3600) // a head and three replicas
	rc := plain("hosts", "rc", "hosts", 3, 1, 4)
	rc.Spec.WorkerGroupSpecs[0].NumOfHosts = 2
	s.create(t, rc)
	s.awaitReady(t, "hosts", "rc", time.Minute)
	if n := len(s.workersNow(t, "hosts", "rc")); n != 6 {
		t.Fatalf("%d hosts", n)
	}
	s.limit(t, "hosts", 3100) // half a replica less
	eventually(t, time.Minute, "two replicas", func(ctx context.Context) (bool, string, error) {
		pods, err := s.workers(ctx, "hosts", "rc")
		return len(pods) == 4, fmt.Sprint(names(pods)), err
	})
	hosts := map[string]int{}
	for _, p := range s.workersNow(t, "hosts", "rc") {
		hosts[p.Labels["ray.io/worker-group-replica-name"]]++
	}
	for replica, n := range hosts {
		if n != 2 {
			t.Errorf("replica %s has %d of 2 hosts", replica, n)
		}
	}
}

// ray#63452: a cluster that idles keeps no more than its minimum, and then is suspended, never deleted.
func TestIdleClusterComesDown(t *testing.T) {
	t.Parallel()
	s := onRayStage(t, "idle")
	rc := plain("idle", "rc", "open", 3, 1, 4)
	rc.Annotations = map[string]string{v1alpha1.IdleAfterAnnotation: "2s"}
	s.create(t, rc)
	s.awaitReady(t, "idle", "rc", time.Minute)
	head := s.head(t, "idle", "rc")
	all := s.podsIn(t, "idle")
	tell(t, head, all, names(all)...)
	eventually(t, time.Minute, "its workers to leave", func(ctx context.Context) (bool, string, error) {
		pods, err := s.workers(ctx, "idle", "rc")
		return len(pods) <= 1, fmt.Sprint(names(pods)), err
	})
	for _, r := range head.Drains() {
		if r.GetReason() != autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION {
			t.Errorf("an idle worker was asked to leave by %s", r.GetReason())
		}
	}
	eventually(t, time.Minute, "it to be suspended", func(ctx context.Context) (bool, string, error) {
		rc, err := s.cluster(ctx, "idle", "rc")
		return rc.Spec.Suspend != nil && *rc.Spec.Suspend && rc.Annotations[v1alpha1.SuspensionAnnotation] == "idle", fmt.Sprintf("%+v", rc.Annotations), err
	})
	eventually(t, time.Minute, "its pods to be gone", func(context.Context) (bool, string, error) {
		n := len(s.podsIn(t, "idle"))
		return n == 0, fmt.Sprint(n), nil
	})
	if g := s.gang(t, "idle", "rc"); g.Held {
		t.Error("its user resumes it, and nobody else")
	}
}

// manifestOf is a RayCluster as somebody keeps it in git: what Go's types write beyond that is left out.
func manifestOf(t *testing.T, rc *rayv1.RayCluster) *unstructured.Unstructured {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rc)
	if err != nil {
		t.Fatal(err)
	}
	delete(object, "status")
	clean(object)
	u := &unstructured.Unstructured{Object: object}
	u.SetAPIVersion("ray.io/v1")
	u.SetKind("RayCluster")
	return u
}

func clean(value any) {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "creationTimestamp")
		for _, inner := range v {
			clean(inner)
		}
	case []any:
		for _, inner := range v {
			clean(inner)
		}
	}
}
