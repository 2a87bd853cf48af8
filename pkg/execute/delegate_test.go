package execute_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

// asker is a provider that has another autoscaler make nodes, and what it was asked.
type asker struct {
	cloud.Provider
	signal bool

	mu        sync.Mutex
	answer    error // to the next look at a request
	away      bool  // nobody answers
	asked     []cloud.LaunchRequest
	withdrawn int
}

func (a *asker) Launch(_ context.Context, r cloud.LaunchRequest) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return nil, cloud.ErrUnknownOutcome
	}
	a.asked = append(a.asked, r)
	return nil, nil
}

func (a *asker) Follow(context.Context, cloud.LaunchRequest, []cloud.Pod) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answer
}

func (a *asker) Withdraw(context.Context, cloud.LaunchRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.withdrawn++
	return nil
}

func (a *asker) Annotations(r cloud.LaunchRequest) map[string]string {
	if a.signal {
		return nil
	}
	return map[string]string{"consumes/request": r.Token}
}

func (a *asker) say(answer error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *asker) count() (asked, withdrawn int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked), a.withdrawn
}

// bazaar is an executor before an API server that is played, a cloud, and another autoscaler. The
// mirror sees what a test shows it.
type bazaar struct {
	*execute.Executor
	t       *testing.T
	cloud   *stub
	asker   *asker
	kube    *kubefake.Clientset
	objects client.Client
	config  *v1alpha1.Config
}

func openBazaar(t *testing.T, provider v1alpha1.Provider) *bazaar {
	t.Helper()
	sixteen, price := int32(16), v1alpha1.Dollar
	delegated := v1alpha1.NodeGroup{Name: "asked", Provider: provider, MaxNodes: &sixteen, HourlyPrice: &price,
		Capacity: &v1alpha1.NodeCapacity{CPU: resource.MustParse("4"), Memory: resource.MustParse("16Gi"), Pods: 58}}
	selector := map[string]string{"pool": "asked"}
	if provider == v1alpha1.ProviderSignal {
		delegated.Signal = &v1alpha1.SignalNodeGroup{NodeSelector: selector}
	} else {
		delegated.ProvisioningRequest = &v1alpha1.ProvisioningRequestNodeGroup{NodeSelector: selector}
	}
	config := &v1alpha1.Config{SchedulerNames: []string{"capmgr"}, NodeGroups: []v1alpha1.NodeGroup{delegated,
		{Name: "g5-a", Provider: v1alpha1.ProviderAWS, AWS: &v1alpha1.AWSNodeGroup{AutoScalingGroup: "g5-a"}, MaxNodes: &sixteen}}}
	v1alpha1.SetDefaults(config)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b := &bazaar{t: t, cloud: &stub{}, asker: &asker{signal: provider == v1alpha1.ProviderSignal}, kube: kubefake.NewClientset(), config: config,
		objects: fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.CapacityRequest{}).Build()}
	b.restart()
	return b
}

// restart replaces the manager by a fresh one that is told of all there is.
func (b *bazaar) restart() {
	ctx := b.t.Context()
	mirror := state.New(b.config)
	mirror.SetGroups(append(cloud.Promised([]cloud.GroupConfig{state.GroupConfig(b.config.NodeGroups[0])}),
		cloud.Group{Name: "g5-a", InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: "on-demand", Max: 16}))
	b.Executor = &execute.Executor{Kube: b.kube, Client: b.objects, Mirror: mirror, Observe: func(context.Context) error { return nil },
		Providers: map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: b.cloud, b.config.NodeGroups[0].Provider: b.asker},
		Events:    record.NewFakeRecorder(1000), Log: logr.Discard(), Now: time.Now}
	b.see(ctx)
	list := &v1alpha1.CapacityRequestList{}
	if err := b.objects.List(ctx, list); err != nil {
		b.t.Fatal(err)
	}
	for k := range list.Items {
		mirror.CapacityRequests().OnAdd(&list.Items[k], true)
	}
}

// see shows the mirror the pods and nodes as they are.
func (b *bazaar) see(ctx context.Context) {
	nodes, err := b.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	for k := range nodes.Items {
		b.Mirror.Nodes().OnUpdate(nil, &nodes.Items[k])
	}
	pods, err := b.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	for k := range pods.Items {
		b.Mirror.Pods().OnUpdate(nil, &pods.Items[k])
	}
}

// pod creates a pod that waits.
func (b *bazaar) pod(name string, change ...func(*corev1.Pod)) {
	b.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: "train", UID: "u", Controller: yes()}}},
		Spec: corev1.PodSpec{SchedulerName: "capmgr"}}
	for _, f := range change {
		f(p)
	}
	if _, err := b.kube.CoreV1().Pods("default").Create(b.t.Context(), p, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	b.see(b.t.Context())
}

func yes() *bool { is := true; return &is }

// node lets another autoscaler make a node.
func (b *bazaar) node(name string, annotations map[string]string) {
	b.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "asked"}, Annotations: annotations,
		CreationTimestamp: metav1.NewTime(time.Now())}}
	if _, err := b.kube.CoreV1().Nodes().Create(b.t.Context(), n, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	b.see(b.t.Context())
}

// turn lets the manager decide, as far as that matters here, and look after what is open.
func (b *bazaar) turn(verdicts []*plan.Verdict, steps ...plan.Step) {
	b.t.Helper()
	b.Mirror.Snapshot(time.Now())
	if err := b.Execute(b.t.Context(), &plan.Plan{Steps: steps, Verdicts: verdicts}); err != nil {
		b.t.Fatal(err)
	}
	b.Resume(b.t.Context())
	time.Sleep(3 * time.Second) // of the bubble's: all that was begun has gone a step further
	b.see(b.t.Context())
}

// buys is a purchase of two nodes that another autoscaler makes, for one pod each; more come from others.
func (b *bazaar) buys(more ...plan.Purchase) []plan.Step {
	pods := []plan.Tenant{
		{PodRef: plan.PodRef{Namespace: "default", Name: "a", UID: "uid-a"}, Node: 0},
		{PodRef: plan.PodRef{Namespace: "default", Name: "b", UID: "uid-b"}, Node: 1}}
	book := plan.Book{Gang: train, Queue: "team-a", Request: "x", Attempt: 1, Shape: "s",
		Purchases: append([]plan.Purchase{{Group: "asked", Count: 2, Token: "token", Pods: pods}}, more...)}
	steps := []plan.Step{book}
	for _, p := range book.Purchases {
		steps = append(steps, plan.GrowNodeGroup{Namespace: "default", Request: "x", Purchase: p})
	}
	return steps
}

func (b *bazaar) request() *v1alpha1.CapacityRequest {
	b.t.Helper()
	r := &v1alpha1.CapacityRequest{}
	if err := b.objects.Get(b.t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

// is lists the conditions of the request that are true, with their reasons.
func (b *bazaar) is() (out []string) {
	b.t.Helper()
	for _, c := range b.request().Status.Conditions {
		if c.Status == metav1.ConditionTrue && c.Type != v1alpha1.ConditionAccepted {
			out = append(out, c.Type+" "+c.Reason)
		}
	}
	slices.Sort(out)
	return out
}

func (b *bazaar) check(what string, want []string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.is()); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// marked lists the pods that carry the other autoscaler's annotation.
func (b *bazaar) marked() (out []string) {
	pods, _ := b.kube.CoreV1().Pods("default").List(b.t.Context(), metav1.ListOptions{})
	for _, p := range pods.Items {
		if p.Annotations["consumes/request"] == "token" {
			out = append(out, p.Name)
		}
	}
	return out
}

// held maps nodes to whom they are held for and by which annotations.
func (b *bazaar) held() map[string]string {
	out := map[string]string{}
	nodes, _ := b.kube.CoreV1().Nodes().List(b.t.Context(), metav1.ListOptions{})
	for _, n := range nodes.Items {
		text := ""
		for _, key := range []string{v1alpha1.IntentAnnotation, v1alpha1.ScaleDownDisabledAnnotation, v1alpha1.DoNotDisruptAnnotation} {
			text += n.Annotations[key] + "|"
		}
		out[n.Name] = text
	}
	return out
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, provider v1alpha1.Provider, test func(*bazaar)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := openBazaar(t, provider)
		b.pod("a")
		b.pod("b")
		test(b)
	})
}

func TestProvisionedWhenEveryNodeHasCome(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.turn(nil, b.buys()...)
		b.check("asked, and nothing came", nil)
		if asked, _ := b.asker.count(); asked != 1 || len(b.asker.asked[0].Pods) != 2 || b.asker.asked[0].Intent != "default/x" {
			t.Errorf("asked %+v", b.asker.asked)
		}
		if diff := cmp.Diff([]string{"a", "b"}, b.marked()); diff != "" {
			t.Errorf("pods that consume the request (-want +got):\n%s", diff)
		}
		b.node("n1", nil)
		b.turn(nil)
		b.turn(nil)
		b.check("half is not all", nil)
		if got := b.request().Status.Nodes; len(got) != 1 || !cmp.Equal(got[0].Instances, []string{"n1"}) || got[0].Message != "1 of 2 nodes have come" {
			t.Errorf("what has come is written down: %+v", got)
		}
		b.node("n2", map[string]string{v1alpha1.DoNotDisruptAnnotation: "true"})
		b.turn(nil)
		b.turn(nil)
		b.check("all have come", []string{"Provisioned Launched"})
		if got := b.request().Status.Nodes[0].Instances; !cmp.Equal(got, []string{"n1", "n2"}) {
			t.Errorf("instances %v", got)
		}
		if diff := cmp.Diff(map[string]string{"n1": "default/x|true|true|", "n2": "default/x|true|true|"}, b.held()); diff != "" {
			t.Errorf("nodes that are held (-want +got):\n%s", diff)
		}
		done := plan.Settle{Namespace: "default", Request: "x", State: plan.RequestReleased, Reason: v1alpha1.ReasonGangPlaced, Message: "the gang runs"}
		b.turn(nil, done)
		b.turn(nil)
		b.check("over", []string{"Provisioned Launched", "Released GangPlaced"})
		if _, withdrawn := b.asker.count(); withdrawn == 0 {
			t.Error("the request is still there: room is kept for it")
		}
		// What somebody else had put on a node stays.
		if diff := cmp.Diff(map[string]string{"n1": "|||", "n2": "||true|"}, b.held()); diff != "" {
			t.Errorf("nodes that are held for nobody (-want +got):\n%s", diff)
		}
	})
}

func TestARefusalOfAnotherAutoscaler(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.turn(nil, b.buys()...)
		b.asker.say(fmt.Errorf("%w: none found", cloud.ErrInsufficientCapacity))
		refused := time.Now()
		b.turn(nil)
		b.check("refused, and withdrawn", []string{"Failed InsufficientCapacity", "Released NodesReturned"})
		r := b.request()
		if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReleased); c.LastTransitionTime.Sub(refused) > time.Minute {
			t.Errorf("withdrawn after %s", c.LastTransitionTime.Sub(refused))
		}
		if f := r.Status.Nodes[0].Refusal; f == nil || f.Reason != v1alpha1.ReasonInsufficientCapacity || f.InstanceType != "" {
			t.Errorf("the refusal is %+v, of the group and of no market", f)
		}
		if asked, withdrawn := b.asker.count(); asked != 1 || withdrawn != 1 || len(b.marked()) > 0 {
			t.Errorf("asked %d times, withdrawn %d times, marked %v", asked, withdrawn, b.marked())
		}
		if g := b.Mirror.Snapshot(time.Now()).NodeGroup("asked"); g.BlockedUntil.IsZero() {
			t.Error("the next decision would ask the same again")
		}
	})
}

// A trouble of the API server's or of the autoscaler's own is no refusal.
func TestTroubleOnTheWayIsNoRefusal(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.asker.say(fmt.Errorf("%w: away", cloud.ErrUnknownOutcome))
		b.turn(nil, b.buys()...)
		b.check("still asked for", nil)
		b.asker.say(nil)
		b.node("n1", nil)
		b.node("n2", nil)
		b.turn(nil)
		b.turn(nil)
		b.check("all have come", []string{"Provisioned Launched"})
	})
}

// One gang asks two at once: all of it comes, or none of it stays asked for.
func TestMixedPurchases(t *testing.T) {
	own := plan.Purchase{Group: "g5-a", Count: 1, Zone: "us-east-1a", Token: "own"}
	t.Run("TheCloudRefuses", func(t *testing.T) {
		bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
			b.cloud.refusal = cloud.ErrInsufficientCapacity
			b.turn(nil, b.buys(own)...)
			b.check("refused, and withdrawn", []string{"Failed InsufficientCapacity", "Released NodesReturned"})
			for _, st := range b.request().Status.Nodes {
				if (st.Refusal != nil) != (st.NodeGroup == "g5-a") {
					t.Errorf("the refusal is that of the group which refused: %+v", st)
				}
			}
			if _, withdrawn := b.asker.count(); withdrawn != 1 {
				t.Errorf("withdrawn %d times", withdrawn)
			}
		})
	})
	t.Run("TheOtherRefuses", func(t *testing.T) {
		bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
			b.cloud.comes = 1
			b.asker.say(fmt.Errorf("%w: none found", cloud.ErrInsufficientCapacity))
			b.turn(nil, b.buys(own)...)
			b.check("refused, and given back", []string{"Failed InsufficientCapacity", "Released NodesReturned"})
			if diff := cmp.Diff([]string{"i-0"}, b.cloud.terminated); diff != "" {
				t.Errorf("given back by name (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("Overtaken", func(t *testing.T) {
		bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
			b.cloud.comes = 1
			b.turn(nil, b.buys(own)...)
			b.turn(nil, plan.Settle{Namespace: "default", Request: "x", State: plan.RequestReleased, Reason: v1alpha1.ReasonNotNeeded, Message: "found room"})
			b.check("over; what came is an ordinary node", []string{"Released NotNeeded"})
			if len(b.cloud.terminated) > 0 {
				t.Errorf("terminated %v: the next decisions give it back when it is idle", b.cloud.terminated)
			}
			s := b.Mirror.Snapshot(time.Now())
			if got := s.NodeGroup("g5-a").Instances; len(got) != 1 || got[0].ID != "i-0" || len(s.Bookings) > 0 {
				t.Errorf("an instance that is not listed yet costs all the same: %+v, booked %v", got, s.Bookings)
			}
		})
	})
}

// What a decision says while the nodes are still awaited is done at once: nothing stays asked for.
func TestAWaitThatADecisionEnds(t *testing.T) {
	cases := map[string]struct {
		settle plan.Settle
		want   []string
	}{
		"Late": {plan.Settle{State: plan.RequestFailed, Reason: v1alpha1.ReasonProvisionTimeout, Message: "late"},
			[]string{"Failed ProvisionTimeout", "Released ProvisionTimeout"}},
		"NotNeeded": {plan.Settle{State: plan.RequestReleased, Reason: v1alpha1.ReasonNotNeeded, Message: "found room"}, []string{"Released NotNeeded"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
				b.turn(nil, b.buys()...)
				b.node("n1", nil)
				b.turn(nil)
				tc.settle.Namespace, tc.settle.Request = "default", "x"
				began := time.Now()
				b.turn(nil, tc.settle)
				b.check("withdrawn, then written", tc.want)
				b.turn(nil)
				if _, withdrawn := b.asker.count(); withdrawn != 1 || time.Since(began) > time.Minute || len(b.marked()) > 0 {
					t.Errorf("withdrawn %d times after %s, marked %v", withdrawn, time.Since(began), b.marked())
				}
				if got := b.held()["n1"]; got != "|||" {
					t.Errorf("the node that came is still held: %q", got)
				}
			})
		})
	}
}

// The owner went, and the garbage collector took the request: nobody decides about it any more.
func TestAWaitWhoseRequestIsGone(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.turn(nil, b.buys()...)
		r := b.request()
		if err := b.objects.Delete(b.t.Context(), r); err != nil {
			t.Fatal(err)
		}
		b.Mirror.CapacityRequests().OnDelete(r)
		b.turn(nil)
		if _, withdrawn := b.asker.count(); withdrawn != 1 {
			t.Errorf("withdrawn %d times", withdrawn)
		}
		done := make(chan struct{})
		go func() { b.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("somebody still waits for its nodes")
		}
	})
}

// A successor goes on waiting for the same nodes: what has come stays, and nothing is asked twice for
// more than the same token.
func TestASuccessorWaitsOn(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		dying, die := context.WithCancel(b.t.Context())
		b.Mirror.Snapshot(time.Now())
		if err := b.Execute(dying, &plan.Plan{Steps: b.buys()}); err != nil {
			t.Fatal(err)
		}
		b.node("n1", nil)
		b.Mirror.Snapshot(time.Now())
		b.Resume(dying)
		time.Sleep(3 * time.Second)
		die()
		b.Wait()
		if got := b.request().Status.Nodes[0].Instances; !cmp.Equal(got, []string{"n1"}) {
			t.Fatalf("instances %v", got)
		}
		b.restart()
		b.Resume(b.t.Context()) // before the first decision, as the loop does
		time.Sleep(3 * time.Second)
		if got := b.request().Status.Nodes[0].Instances; !cmp.Equal(got, []string{"n1"}) {
			t.Errorf("a successor that has decided nothing yet wrote the instances %v", got)
		}
		b.see(b.t.Context())
		if got := b.held()["n1"]; got != "default/x|true|true|" {
			t.Errorf("and let the node go: %q", got)
		}
		b.node("n2", nil)
		b.turn(nil)
		b.turn(nil)
		b.check("all have come", []string{"Provisioned Launched"})
		if b.asker.asked[0].Token != b.asker.asked[len(b.asker.asked)-1].Token {
			t.Errorf("asked under two tokens: %+v", b.asker.asked)
		}
	})
}

// A pod that was shown is gone. The other in its place is asked for anew, and nobody is blamed.
func TestReplacedPodsAreAskedForAnew(t *testing.T) {
	bubble(t, v1alpha1.ProviderSignal, func(b *bazaar) {
		b.turn(nil, b.buys()...)
		b.asker.say(fmt.Errorf("pod a is gone: %w", cloud.ErrStale))
		b.turn(nil)
		b.check("over", []string{"Failed PodsReplaced", "Released NodesReturned"})
		if f := b.request().Status.Nodes[0].Refusal; f != nil {
			t.Errorf("refused: %+v", f)
		}
		if g := b.Mirror.Snapshot(time.Now()).NodeGroup("asked"); !g.BlockedUntil.IsZero() || len(g.Unfit) > 0 {
			t.Errorf("the group is not asked again before %s; unfit %v", g.BlockedUntil, g.Unfit)
		}
	})
}

// The API server is away when the request is to be made, and stays away until the time is up.
func TestALaunchThatNeverSucceedsEndsWithItsTime(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.asker.away = true
		b.turn(nil, b.buys()...)
		b.turn(nil, plan.Settle{Namespace: "default", Request: "x", State: plan.RequestFailed, Reason: v1alpha1.ReasonProvisionTimeout, Message: "late"})
		b.check("over", []string{"Failed ProvisionTimeout", "Released ProvisionTimeout"})
	})
}

// A node that came and went is not forgotten: the next decision is to see that it was lost.
func TestANodeThatCameAndWentStaysWritten(t *testing.T) {
	bubble(t, v1alpha1.ProviderProvisioningRequest, func(b *bazaar) {
		b.turn(nil, b.buys()...)
		b.node("n1", nil)
		b.turn(nil)
		n, err := b.kube.CoreV1().Nodes().Get(b.t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.kube.CoreV1().Nodes().Delete(b.t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		b.Mirror.Nodes().OnDelete(n)
		b.node("n2", nil)
		b.turn(nil)
		b.turn(nil)
		b.check("one is lost", nil)
		if got := b.request().Status.Nodes[0].Instances; !cmp.Equal(got, []string{"n1", "n2"}) {
			t.Errorf("instances %v", got)
		}
	})
}
