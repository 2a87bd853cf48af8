package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/test/autoscaler"
	"github.com/capmgr/capmgr/test/localcluster"
	"github.com/capmgr/capmgr/test/stack"
)

// beside is a stack with two other autoscalers: one that answers ProvisioningRequests as Cluster
// Autoscaler does, and one that looks for pods that wait and removes idle nodes as fast as Karpenter.
type beside struct {
	*scene
	direct    client.Client // knows ProvisioningRequests
	asked     *autoscaler.Autoscaler
	karpenter *autoscaler.Autoscaler
}

func besideAutoscalers(t *testing.T) *beside {
	t.Helper()
	_, share, err := localcluster.Output()
	if err != nil {
		t.Fatal(err)
	}
	s := ownOf(t, filepath.Join("testdata", "autoscaler"), filepath.Join(share, "autoscaler", "crds"))
	rights, err := os.ReadFile(filepath.Join(s.Root, "deploy", "autoscaler", "provisioning-request.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ApplyText(t.Context(), string(rights)); err != nil {
		t.Fatal(err)
	}
	b := &beside{scene: s, direct: knowing(t, s)}
	config, err := v1alpha1.Load(s.ConfigPath())
	if err != nil {
		t.Fatal(err)
	}
	var onRequest, onSight []autoscaler.Group
	for _, g := range config.NodeGroups {
		switch {
		case !g.Delegated() || g.Name == "unheard":
		case g.Provider == v1alpha1.ProviderSignal:
			onSight = append(onSight, made(g))
		default:
			onRequest = append(onRequest, made(g))
		}
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	b.asked = b.play(t, autoscaler.Options{Scan: 300 * time.Millisecond, Booking: 12 * time.Second, Retry: 5 * time.Second, Idle: time.Minute},
		log.With("autoscaler", "on request"), onRequest)
	b.karpenter = b.play(t, autoscaler.Options{Scan: 300 * time.Millisecond, Idle: 2 * time.Second, Karpenter: true}, log.With("autoscaler", "on sight"), onSight)
	s.keep(t, stack.ManagerProcess)
	return b
}

// knowing is an administrator's client that knows ProvisioningRequests.
func knowing(t *testing.T, s *scene) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(s.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// made is a configured group as the autoscaler has it that makes its nodes.
func made(g v1alpha1.NodeGroup) autoscaler.Group {
	labels := map[string]string{isolation: g.Labels[isolation]}
	maps.Copy(labels, g.NodeSelector())
	out := autoscaler.Group{Name: g.Name, Labels: labels, Max: int(*g.MaxNodes), Stock: -1, Boot: time.Second, GPU: time.Second,
		Allocatable: corev1.ResourceList{corev1.ResourceCPU: g.Capacity.CPU, corev1.ResourceMemory: g.Capacity.Memory,
			corev1.ResourcePods: *resource.NewQuantity(g.Capacity.Pods, resource.DecimalSI), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi")}}
	if g.Capacity.GPUs > 0 {
		out.Allocatable[v1alpha1.GPUResource] = *resource.NewQuantity(g.Capacity.GPUs, resource.DecimalSI)
	}
	switch g.Name {
	case "short":
		out.Max = 1
	case "lost":
		out.Stock = 1
	case "killed", "shown":
		out.Boot = 3 * time.Second
	case "held-heads":
		out.Boot = 8 * time.Second
	}
	return out
}

func (b *beside) play(t *testing.T, o autoscaler.Options, log *slog.Logger, groups []autoscaler.Group) *autoscaler.Autoscaler {
	t.Helper()
	a := autoscaler.New(b.Kube, b.direct, o, log, groups...)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return a
}

// askedFor lists the ProvisioningRequests that capmgr has ever made in a namespace, from the API
// server's own record.
func (b *beside) askedFor(t *testing.T, namespace string) (n int) {
	t.Helper()
	entries, err := b.audit()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path, _, _ := strings.Cut(e.RequestURI, "?")
		if e.Verb == "create" && strings.HasSuffix(path, "/namespaces/"+namespace+"/provisioningrequests") && e.ResponseStatus.Code == 201 {
			n++
		}
	}
	return n
}

// left lists the ProvisioningRequests and PodTemplates of a namespace.
func (b *beside) left(ctx context.Context, namespace string) (out []string, err error) {
	requests, templates := &v1.ProvisioningRequestList{}, &corev1.PodTemplateList{}
	if err := b.direct.List(ctx, requests, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	if err := b.direct.List(ctx, templates, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	for _, r := range requests.Items {
		out = append(out, "ProvisioningRequest "+r.Name)
	}
	for _, p := range templates.Items {
		out = append(out, "PodTemplate "+p.Name)
	}
	return out, nil
}

// awaitWithdrawn waits until nothing is asked for in a namespace any more.
func (b *beside) awaitWithdrawn(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, time.Minute, "nothing to be asked for in "+namespace, func(ctx context.Context) (bool, string, error) {
		left, err := b.left(ctx, namespace)
		return len(left) == 0, strings.Join(left, ", "), err
	})
}

// start makes a namespace, and a gang in it that asks the queue of the same name.
func (b *beside) start(t *testing.T, name string, workers int32, change ...func(*rayv1.RayCluster)) {
	t.Helper()
	b.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			b.tell(ctx, t, name)
		}
	})
	rc := gang(name, name, name, workers)
	for _, f := range change {
		f(rc)
	}
	b.create(t, rc)
}

// workers lists the pods of a gang that have a device.
func (b *beside) workers(ctx context.Context, namespace, cluster string) ([]corev1.Pod, error) {
	pods := &corev1.PodList{}
	err := b.Client.List(ctx, pods, client.InNamespace(namespace), client.MatchingLabels{"ray.io/cluster": cluster, "ray.io/node-type": "worker"})
	return pods.Items, err
}

// pool lists the nodes of a group.
func (b *beside) pool(t *testing.T, name string) []corev1.Node {
	t.Helper()
	nodes := &corev1.NodeList{}
	if err := b.Client.List(t.Context(), nodes, client.MatchingLabels{"node-restriction.kubernetes.io/pool": name}); err != nil {
		t.Fatal(err)
	}
	return nodes.Items
}

// notHeld waits until no node of a pool is held for anybody.
func (b *beside) notHeld(t *testing.T, pool string) {
	t.Helper()
	eventually(t, time.Minute, "the nodes of "+pool+" to be let go", func(ctx context.Context) (bool, string, error) {
		nodes := &corev1.NodeList{}
		err := b.Client.List(ctx, nodes, client.MatchingLabels{"node-restriction.kubernetes.io/pool": pool})
		var held []string
		for _, n := range nodes.Items {
			for _, key := range []string{v1alpha1.IntentAnnotation, v1alpha1.HoldsAnnotation, v1alpha1.ScaleDownDisabledAnnotation, v1alpha1.DoNotDisruptAnnotation} {
				if n.Annotations[key] != "" {
					held = append(held, n.Name+" "+key)
				}
			}
		}
		return len(held) == 0, strings.Join(held, ", "), err
	})
}

// Beside a stock Cluster Autoscaler that is asked, and beside one that only looks.
func TestBesideAStockAutoscaler(t *testing.T) {
	t.Parallel()
	b := besideAutoscalers(t)
	t.Run("each in its own namespace", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"the gang runs on what was asked for": b.runsOnWhatWasAskedFor,
			"two groups for one gang":             b.asksTwoGroups,
			"no capacity, the next rung": func(t *testing.T) {
				b.movesOn(t, "short", v1alpha1.ReasonInsufficientCapacity, "CapacityIsNotFound", 2)
			},
			"a booking that expires":                      func(t *testing.T) { b.movesOn(t, "lost", v1alpha1.ReasonInsufficientCapacity, "BookingExpired", 1) },
			"nobody answers":                              func(t *testing.T) { b.movesOn(t, "deaf", v1alpha1.ReasonProvisionTimeout, "", 2) },
			"only those that nodes were decided for show": b.showsOnlyClassA,
			"a signal that nobody hears":                  b.signalsInVain,
			"a node that waits for the rest of its gang":  b.holdsNodes,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t) })
		}
	})
	t.Run("the manager is killed while it waits", b.killedWhileWaiting)
}

func (b *beside) runsOnWhatWasAskedFor(t *testing.T) {
	b.start(t, "asked", 3)
	var request v1.ProvisioningRequest
	eventually(t, 40*time.Second, "Cluster Autoscaler to call it provisioned", func(ctx context.Context) (bool, string, error) {
		list := &v1.ProvisioningRequestList{}
		if err := b.direct.List(ctx, list, client.InNamespace("asked")); err != nil || len(list.Items) != 1 {
			return false, fmt.Sprintf("%d requests", len(list.Items)), err
		}
		request = list.Items[0]
		return meta.IsStatusConditionTrue(request.Status.Conditions, v1.Provisioned), fmt.Sprintf("%+v", request.Status), nil
	})
	if s := request.Spec; s.ProvisioningClassName != v1.ProvisioningClassBestEffortAtomicScaleUp || len(s.PodSets) != 1 || s.PodSets[0].Count != 3 {
		t.Errorf("three pods of one kind are asked for as %+v", s)
	}
	// Provisioned, it says, before any node exists.
	all, err := b.requests(t.Context(), "asked")
	if err != nil || len(all) != 1 {
		t.Fatalf("%d CapacityRequests, %v", len(all), err)
	}
	if n := len(b.pool(t, "asked")); n < 3 && meta.IsStatusConditionTrue(all[0].Status.Conditions, v1alpha1.ConditionProvisioned) {
		t.Errorf("capmgr believed it with %d nodes", n)
	}
	b.awaitReady(t, "asked", "asked", time.Minute)
	provisioned := b.awaitCondition(t, "asked", 1, v1alpha1.ConditionProvisioned, v1alpha1.ReasonLaunched, 10*time.Second)
	nodes := b.pool(t, "asked")
	if len(nodes) != 3 {
		t.Fatalf("%d nodes", len(nodes))
	}
	for _, n := range nodes {
		if provisioned.LastTransitionTime.Before(&n.CreationTimestamp) {
			t.Errorf("provisioned at %s, and node %s came at %s", provisioned.LastTransitionTime, n.Name, n.CreationTimestamp)
		}
	}
	b.wasWhole(t, "asked", 4)
	b.annotatedBeforeBound(t, request.Name)
	b.awaitCondition(t, "asked", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 20*time.Second)
	b.awaitWithdrawn(t, "asked")
	b.notHeld(t, "asked")
	if n := b.askedFor(t, "asked"); n != 1 || b.asked.Asked("asked") != 3 {
		t.Errorf("asked %d times, %d nodes were bought", n, b.asked.Asked("asked"))
	}
	// Not capmgr's to remove: nothing but annotations is ever written on them.
	b.remove(t, gang("asked", "asked", "asked", 3))
	entries, err := b.audit()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Verb == "delete" && strings.Contains(e.RequestURI, "/nodes/") {
			t.Errorf("capmgr deleted a node: %s", e.RequestURI)
		}
	}
}

// annotatedBeforeBound checks that the workers consume the request, and did when they were bound.
func (b *beside) annotatedBeforeBound(t *testing.T, request string) {
	t.Helper()
	pods, err := b.workers(t.Context(), "asked", "asked")
	if err != nil || len(pods) != 3 {
		t.Fatalf("%d workers, %v", len(pods), err)
	}
	entries, err := b.audit()
	if err != nil {
		t.Fatal(err)
	}
	first := func(verb, path string) int {
		return slices.IndexFunc(entries, func(e auditEntry) bool {
			uri, _, _ := strings.Cut(e.RequestURI, "?")
			return e.Verb == verb && strings.HasSuffix(uri, path) && e.ResponseStatus.Code < 300
		})
	}
	for _, p := range pods {
		if p.Annotations[v1.ProvisioningRequestPodAnnotationKey] != request || p.Annotations[v1.ProvisioningClassPodAnnotationKey] != v1.ProvisioningClassBestEffortAtomicScaleUp {
			t.Errorf("pod %s consumes nothing: %v", p.Name, p.Annotations)
		}
		at, bound := first("patch", "/namespaces/asked/pods/"+p.Name), first("create", "/namespaces/asked/pods/"+p.Name+"/binding")
		if at < 0 || bound < at {
			t.Errorf("pod %s was annotated at line %d of the record and bound at line %d", p.Name, at, bound)
		}
	}
}

func (b *beside) asksTwoGroups(t *testing.T) {
	b.start(t, "mixed", 2, func(rc *rayv1.RayCluster) {
		rc.Spec.HeadGroupSpec.Template.Spec.NodeSelector = map[string]string{isolation: "mixed-heads"}
	})
	b.awaitReady(t, "mixed", "mixed", time.Minute)
	b.wasWhole(t, "mixed", 3)
	b.awaitCondition(t, "mixed", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 20*time.Second)
	all, err := b.requests(t.Context(), "mixed")
	if err != nil || len(all) != 1 || all[0].Spec.GroupNames() != "mixed,mixed-heads" {
		t.Errorf("one purchase of two groups, not %+v, %v", all, err)
	}
	b.awaitWithdrawn(t, "mixed")
	if n := b.askedFor(t, "mixed"); n != 2 {
		t.Errorf("asked %d times, want once for each group", n)
	}
	if heads, workers := b.asked.Asked("mixed-heads"), b.asked.Asked("mixed"); heads != 1 || workers != 2 {
		t.Errorf("%d nodes for heads and %d for workers were bought", heads, workers)
	}
}

// movesOn shows a gang that its first rung does not serve: it runs on the second, as a whole, and nothing
// stays asked for. own is how many nodes the second has to bring.
func (b *beside) movesOn(t *testing.T, queue, reason, says string, own int) {
	b.start(t, queue, 2)
	failed := b.awaitCondition(t, queue, 1, v1alpha1.ConditionFailed, reason, 50*time.Second)
	if !strings.Contains(failed.Message, says) {
		t.Errorf("the failure does not say %q: %s", says, failed.Message)
	}
	released := b.awaitCondition(t, queue, 1, v1alpha1.ConditionReleased, map[string]string{
		v1alpha1.ReasonProvisionTimeout: reason, v1alpha1.ReasonInsufficientCapacity: v1alpha1.ReasonNodesReturned}[reason], time.Minute)
	if took := released.LastTransitionTime.Sub(failed.LastTransitionTime.Time); took > time.Minute {
		t.Errorf("it took %s until nothing was asked for any more", took)
	}
	b.awaitWithdrawn(t, queue)
	t.Logf("nothing was asked for any more %.1f s after the purchase had failed", time.Since(failed.LastTransitionTime.Time).Seconds())
	b.awaitReady(t, queue, queue, time.Minute)
	b.wasWhole(t, queue, 3)
	if n := b.askedFor(t, queue); n != 1 {
		t.Errorf("the first rung was asked %d times", n)
	}
	b.awaitCondition(t, queue, 2, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 20*time.Second)
	if l := b.ledgerNow(t, "own-"+queue); len(l.instances) != own || len(l.tokens()) != 1 {
		t.Errorf("%d instances of the second rung under %d tokens, want %d", len(l.instances), len(l.tokens()), own)
	}
	pods, err := b.workers(t.Context(), queue, queue)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if request := p.Annotations[v1.ProvisioningRequestPodAnnotationKey]; request != "" {
			t.Errorf("pod %s still consumes %s: Cluster Autoscaler would pass over it", p.Name, request)
		}
	}
	b.notHeld(t, queue)
}

// Two GPUs are the limit of the queue. One gang may have them; one waits until they are free, one is
// above the limit by itself, and one of a higher priority takes them by preemption.
func (b *beside) showsOnlyClassA(t *testing.T) {
	b.start(t, "shown", 2)
	b.awaitVerdict(t, "shown", "shown", 30*time.Second, plan.WaitingForNodes)
	b.create(t, gang("shown", "next", "shown", 2))
	b.create(t, gang("shown", "large", "shown", 3))
	eventually(t, 40*time.Second, "both workers to be shown to Karpenter", func(ctx context.Context) (bool, string, error) {
		pods, err := b.workers(ctx, "shown", "shown")
		n := 0
		for _, p := range pods {
			if b.karpenter.Looked("shown", p.Name) {
				n++
			}
		}
		return n == 2, fmt.Sprintf("%d", n), err
	})
	eventually(t, 30*time.Second, "a worker to be nominated to the node that came for it", func(ctx context.Context) (bool, string, error) {
		pods, err := b.workers(ctx, "shown", "shown")
		return slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Status.NominatedNodeName != "" && p.Spec.NodeName == "" }), podsOf(pods), err
	})
	b.awaitReady(t, "shown", "shown", time.Minute)
	b.wasWhole(t, "shown", 3)
	b.awaitCondition(t, "shown", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 20*time.Second)
	b.saysOnPods(t, "next", plan.WaitingForQuota)
	b.saysOnPods(t, "large", plan.ExceedsLimit)

	// Class B: of a higher priority, at the queue's limit. It evicts, and buys nothing.
	urgent := gang("shown", "urgent", "shown", 2)
	urgent.Labels[v1alpha1.PriorityClassLabel] = v1alpha1.PriorityClassBuild
	b.create(t, urgent)
	b.awaitReady(t, "shown", "urgent", time.Minute)
	b.wasWhole(t, "urgent", 3)
	b.awaitVerdict(t, "shown", "shown", 20*time.Second, plan.WaitingForQuota) // without pods: it is suspended

	if n := b.karpenter.Asked("shown"); n != 2 {
		t.Errorf("%d nodes were bought for two GPUs", n)
	}
	for _, name := range []string{"next", "large", "urgent"} {
		pods, err := b.workers(t.Context(), "shown", name)
		if err != nil || len(pods) == 0 {
			t.Fatalf("%d workers of %s, %v", len(pods), name, err)
		}
		for _, p := range pods {
			if b.seen.Unschedulable("shown", p.Name) || b.karpenter.Looked("shown", p.Name) {
				t.Errorf("pod %s was shown to other autoscalers", p.Name)
			}
		}
	}
	if removed := b.removed("shown"); len(removed) > 0 {
		t.Errorf("Karpenter removed %v, which were held or in use", removed)
	}

	// Once nobody uses them, they are Karpenter's to remove.
	for _, name := range []string{"shown", "next", "large", "urgent"} {
		b.remove(t, gang("shown", name, "shown", 1))
	}
	eventually(t, time.Minute, "Karpenter to remove its idle nodes", func(context.Context) (bool, string, error) {
		removed := b.removed("shown")
		return len(removed) == 2, fmt.Sprint(removed), nil
	})
}

// removed lists the nodes of a group that Karpenter has removed.
func (b *beside) removed(group string) []string {
	return slices.DeleteFunc(b.karpenter.Removed(), func(node string) bool { return !strings.HasPrefix(node, group+"-") })
}

func podsOf(pods []corev1.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, fmt.Sprintf("%s on %q for %q", p.Name, p.Spec.NodeName, p.Status.NominatedNodeName))
	}
	return strings.Join(out, ", ")
}

// saysOnPods waits until every pod of a gang that waits carries its reason.
func (b *beside) saysOnPods(t *testing.T, name string, want plan.Reason) {
	t.Helper()
	eventually(t, 40*time.Second, fmt.Sprintf("the workers of %s to say %s", name, want), func(ctx context.Context) (bool, string, error) {
		pods, err := b.workers(ctx, "shown", name)
		all, saw := len(pods) > 0, ""
		for _, p := range pods {
			said := ""
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodScheduled {
					said = string(c.Status) + " " + c.Reason
				}
			}
			all, saw = all && said == "False "+string(want), saw+" "+p.Name+": "+said
		}
		return all, saw, err
	})
}

// Nobody makes nodes for what is shown. When the time is up, it is not shown any more.
func (b *beside) signalsInVain(t *testing.T) {
	b.start(t, "unheard", 1)
	eventually(t, 40*time.Second, "the worker to be shown", func(ctx context.Context) (bool, string, error) {
		pods, err := b.workers(ctx, "unheard", "unheard")
		return len(pods) == 1 && b.seen.Unschedulable("unheard", pods[0].Name), podsOf(pods), err
	})
	failed := b.awaitCondition(t, "unheard", 1, v1alpha1.ConditionFailed, v1alpha1.ReasonProvisionTimeout, 30*time.Second)
	eventually(t, time.Minute, "the worker not to be shown any more", func(ctx context.Context) (bool, string, error) {
		pods, err := b.workers(ctx, "unheard", "unheard")
		if err != nil || len(pods) != 1 {
			return false, podsOf(pods), err
		}
		k := slices.IndexFunc(pods[0].Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
		return k >= 0 && pods[0].Status.Conditions[k].Reason == string(plan.BackingOff), fmt.Sprintf("%+v", pods[0].Status.Conditions), nil
	})
	if took := time.Since(failed.LastTransitionTime.Time); took > time.Minute {
		t.Errorf("it was shown for %s after the purchase had failed", took)
	}
	// Until when is known as soon as the end of the purchase is written.
	eventually(t, 20*time.Second, "the verdict to say what is done and when", func(ctx context.Context) (bool, string, error) {
		rc, err := b.cluster(ctx, "unheard", "unheard")
		if err != nil {
			return false, "", err
		}
		text := rc.Annotations[v1alpha1.VerdictAnnotation]
		v, err := plan.ParseVerdict(text)
		return v.Reason == plan.BackingOff && v.Doing != "" && !v.ETA.IsZero(), text, err
	})
}

// The worker's node comes long before the head's, from another autoscaler. It stands idle meanwhile,
// and stays.
func (b *beside) holdsNodes(t *testing.T) {
	b.start(t, "held", 1, func(rc *rayv1.RayCluster) {
		rc.Spec.HeadGroupSpec.Template.Spec.NodeSelector = map[string]string{isolation: "held-heads"}
	})
	b.awaitReady(t, "held", "held", time.Minute)
	b.wasWhole(t, "held", 2)
	if n := b.karpenter.Asked("held"); n != 1 {
		t.Errorf("%d nodes were bought for one GPU: the first did not stay", n)
	}
	b.awaitCondition(t, "held", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 20*time.Second)
	b.awaitWithdrawn(t, "held")
	b.notHeld(t, "held")
}

// A successor goes on waiting for what was asked for, and asks nothing twice.
func (b *beside) killedWhileWaiting(t *testing.T) {
	b.start(t, "killed", 2)
	eventually(t, 40*time.Second, "the first node to come", func(ctx context.Context) (bool, string, error) {
		all, err := b.requests(ctx, "killed")
		if err != nil || len(all) != 1 || len(all[0].Status.Nodes) != 1 {
			return false, fmt.Sprintf("%+v", all), err
		}
		return len(all[0].Status.Nodes[0].Instances) == 1, fmt.Sprintf("%+v", all[0].Status), nil
	})
	if err := b.Process(stack.ManagerProcess).Kill(); err != nil {
		t.Fatal(err)
	}
	b.awaitReady(t, "killed", "killed", 90*time.Second)
	b.wasWhole(t, "killed", 3)
	b.awaitCondition(t, "killed", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 20*time.Second)
	b.awaitWithdrawn(t, "killed")
	if n := b.askedFor(t, "killed"); n != 1 || b.asked.Asked("killed") != 2 {
		t.Errorf("asked %d times, %d nodes were bought", n, b.asked.Asked("killed"))
	}
	b.notHeld(t, "killed")
}
