package execute_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// stub is a cloud that answers every launch of a group alike.
type stub struct {
	cloud.Provider
	refusal    error
	comes      int
	terminated []string
}

func (s *stub) Launch(_ context.Context, r cloud.LaunchRequest) (ids []string, err error) {
	for k := range s.comes {
		ids = append(ids, fmt.Sprintf("i-%d", k))
	}
	if s.refusal != nil {
		return ids, &cloud.Shortfall{Group: r.Group.Name, Asked: r.Count, Got: s.comes, Err: s.refusal}
	}
	return ids, nil
}

func (s *stub) Terminate(_ context.Context, _ cloud.GroupConfig, ids []string) error {
	s.terminated = append(s.terminated, ids...)
	return nil
}

// configuration is one group.
func configuration() *v1alpha1.Config {
	sixteen := int32(16)
	config := &v1alpha1.Config{NodeGroups: []v1alpha1.NodeGroup{{Name: "g5-a", Provider: v1alpha1.ProviderAWS,
		AWS: &v1alpha1.AWSNodeGroup{AutoScalingGroup: "g5-a"}, MaxNodes: &sixteen}}}
	v1alpha1.SetDefaults(config)
	return config
}

// world is an executor on an API server and a cloud that are played.
func world(t *testing.T, provider cloud.Provider, objects ...client.Object) (*execute.Executor, client.Client) {
	t.Helper()
	return worldOf(t, configuration(), provider, objects...)
}

func worldOf(t *testing.T, config *v1alpha1.Config, provider cloud.Provider, objects ...client.Object) (*execute.Executor, client.Client) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mirror := state.New(config)
	mirror.SetGroups([]cloud.Group{{Name: "g5-a", InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: "on-demand", Max: 16}})
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1alpha1.CapacityRequest{}).
		WithInterceptorFuncs(interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			o.SetCreationTimestamp(metav1.Now())
			return c.Create(ctx, o, opts...)
		}}).Build()
	e := &execute.Executor{Client: c, Mirror: mirror, Observe: func(context.Context) error { return nil },
		Providers: map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: provider},
		Events:    record.NewFakeRecorder(100), Log: logr.Discard(), Now: func() time.Time { return noon }}
	return e, c
}

// purchase is the plan of one purchase.
func purchase(owner plan.Owner, queue string, count int) *plan.Plan {
	p := plan.Purchase{Group: "g5-a", Count: count, Zone: "us-east-1a", Token: "token"}
	return &plan.Plan{Steps: []plan.Step{
		plan.Book{Gang: owner, Queue: queue, Request: "x", Attempt: 1, Shape: "s", Purchases: []plan.Purchase{p}},
		plan.GrowNodeGroup{Namespace: owner.Namespace, Request: "x", Purchase: p}}}
}

var train = plan.Owner{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "default", Name: "train", UID: "u"}

func TestARefusalIsWrittenWithItsMarket(t *testing.T) {
	cases := map[string]struct {
		reason  string
		refusal error
		comes   int
		want    string
		back    []string
	}{
		"InsufficientCapacity": {"nothing came", cloud.ErrInsufficientCapacity, 0, v1alpha1.ReasonInsufficientCapacity, nil},
		"PartialFill":          {"the market had too few, and what came goes back by name", cloud.ErrInsufficientCapacity, 1, v1alpha1.ReasonInsufficientCapacity, []string{"i-0"}},
		"Quota":                {"the account has no more", cloud.ErrQuota, 0, v1alpha1.ReasonQuotaExceeded, nil},
		"Rejected":             {"a person has to act", cloud.ErrRejected, 0, v1alpha1.ReasonProviderRefused, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			provider := &stub{refusal: tc.refusal, comes: tc.comes}
			e, c := world(t, provider)
			if err := e.Execute(t.Context(), purchase(train, "team-a", 2)); err != nil {
				t.Fatal(err)
			}
			e.Wait()
			r := &v1alpha1.CapacityRequest{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, r); err != nil {
				t.Fatal(err)
			}
			want := &v1alpha1.Refusal{Reason: tc.want, InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: "on-demand", At: metav1.NewTime(noon)}
			if len(r.Status.Nodes) != 1 {
				t.Fatalf("%s: status %+v", tc.reason, r.Status)
			}
			if diff := cmp.Diff(want, r.Status.Nodes[0].Refusal); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if diff := cmp.Diff(tc.back, provider.terminated); diff != "" {
				t.Errorf("%s: given back (-want +got):\n%s", tc.reason, diff)
			}
			if g := e.Mirror.Snapshot(noon.Add(time.Second)).NodeGroup("g5-a"); g.BlockedUntil.IsZero() {
				t.Errorf("%s: the next decision would ask again", tc.reason)
			}
		})
	}
}

// busy is a cloud that delivers from one group, and takes no calls for another.
type busy struct{ stub }

func (b *busy) Launch(ctx context.Context, r cloud.LaunchRequest) ([]string, error) {
	if r.Group.Name == "g5-b" {
		return nil, cloud.ErrThrottled
	}
	return b.stub.Launch(ctx, r)
}

// A purchase of two groups of which one is throttled is not left in half for longer than a minute.
func TestAThrottledPartDoesNotKeepTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := configuration()
		other := config.NodeGroups[0]
		other.Name = "g5-b"
		config.NodeGroups = append(config.NodeGroups, other)
		provider := &busy{stub{comes: 2}}
		e, c := worldOf(t, config, provider)
		e.Now = time.Now
		p := purchase(train, "team-a", 2)
		book := p.Steps[0].(plan.Book)
		book.Purchases = append(book.Purchases, plan.Purchase{Group: "g5-b", Count: 1, Token: "b"})
		p.Steps[0] = book
		began := time.Now()
		if err := e.Execute(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		e.Wait()
		if took := time.Since(began); took < 30*time.Second || took > time.Minute {
			t.Errorf("what came was given back after %s", took)
		}
		if diff := cmp.Diff([]string{"i-0", "i-1"}, provider.terminated); diff != "" {
			t.Errorf("given back (-want +got):\n%s", diff)
		}
		r := &v1alpha1.CapacityRequest{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, r); err != nil {
			t.Fatal(err)
		}
		if failed := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionFailed); failed == nil || failed.Reason != v1alpha1.ReasonThrottled {
			t.Errorf("conditions %+v", r.Status.Conditions)
		}
	})
}

func TestAWarmPurchaseNamesWhatKeepsIt(t *testing.T) {
	cases := map[string]struct {
		reason string
		owner  plan.Owner
		want   []metav1.OwnerReference
	}{
		"Queue": {
			"it goes with its queue",
			plan.Owner{APIVersion: v1alpha1.QueueAPIVersion, Kind: v1alpha1.QueueKind, Namespace: "capmgr-system", Name: "team-a", UID: "q"},
			[]metav1.OwnerReference{{APIVersion: v1alpha1.QueueAPIVersion, Kind: v1alpha1.QueueKind, Name: "team-a", UID: "q"}},
		},
		"NodeGroup": {
			"a group of the configuration is no object: a reference to it would have the request collected at once",
			plan.Owner{APIVersion: v1alpha1.NodeGroupAPIVersion, Kind: v1alpha1.NodeGroupKind, Namespace: "capmgr-system", Name: "g5-a", UID: "g5-a"},
			nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e, c := world(t, &stub{comes: 2})
			if err := e.Execute(t.Context(), purchase(tc.owner, "", 2)); err != nil {
				t.Fatal(err)
			}
			e.Wait()
			r := &v1alpha1.CapacityRequest{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: "capmgr-system", Name: "x"}, r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, r.OwnerReferences); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if !r.Spec.Gang.KeepsWarm() {
				t.Errorf("%s: %+v does not pass for a warm purchase", tc.reason, r.Spec.Gang)
			}
		})
	}
}

func TestSpentWarmRequestsAreDeleted(t *testing.T) {
	spent := func(attempt int32, age time.Duration, kind string, released bool) *v1alpha1.CapacityRequest {
		r := &v1alpha1.CapacityRequest{
			ObjectMeta: metav1.ObjectMeta{Namespace: "capmgr-system", Name: fmt.Sprintf("r-%d", attempt), UID: "u", CreationTimestamp: metav1.NewTime(noon.Add(-age))},
			Spec: v1alpha1.CapacityRequestSpec{Attempt: attempt,
				Gang: v1alpha1.GangReference{APIVersion: v1alpha1.QueueAPIVersion, Kind: kind, Name: "team-a", UID: "q"}}}
		if released {
			r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReleased, Status: metav1.ConditionTrue}}
		}
		return r
	}
	cases := map[string]struct {
		reason  string
		request *v1alpha1.CapacityRequest
		gone    bool
	}{
		"Spent":      {"over for three hours, and another attempt counts them", spent(1, 3*time.Hour, "Queue", true), true},
		"Remembered": {"what it bought still counts for the hour", spent(1, time.Hour, "Queue", true), false},
		"Open":       {"its booking is not over", spent(1, 3*time.Hour, "Queue", false), false},
		"Latest":     {"without it the next attempt would have an old token, and the cloud would answer with old machines", spent(9, 3*time.Hour, "Queue", true), false},
		"AGangs":     {"it goes with its gang", spent(1, 3*time.Hour, "RayCluster", true), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e, c := world(t, &stub{}, tc.request)
			e.Mirror.AssumeRequest(tc.request)
			e.Mirror.AssumeRequest(func() *v1alpha1.CapacityRequest {
				r := spent(5, time.Minute, "Queue", true)
				r.Name = "newest"
				return r
			}())
			e.Resume(t.Context())
			e.Wait()
			err := c.Get(t.Context(), client.ObjectKeyFromObject(tc.request), &v1alpha1.CapacityRequest{})
			if gone := err != nil; gone != tc.gone {
				t.Errorf("%s: gone %t, %v", tc.reason, gone, err)
			}
		})
	}
}

func TestErrorsOfTheCloudDoNotOutgrowTheStatus(t *testing.T) {
	e, c := world(t, &stub{refusal: fmt.Errorf("%w: %0*d", cloud.ErrRejected, 5000, 1)})
	if err := e.Execute(t.Context(), purchase(train, "team-a", 1)); err != nil {
		t.Fatal(err)
	}
	e.Wait()
	r := &v1alpha1.CapacityRequest{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "x"}, r); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Status.Nodes[0].Message); n > 1024 {
		t.Errorf("the message has %d characters: the API server refuses it, and the answer is never written", n)
	}
}

// patient is a cloud that counts the calls it does not take.
type patient struct {
	stub
	answer error
	calls  atomic.Int32
}

func (p *patient) Launch(context.Context, cloud.LaunchRequest) ([]string, error) {
	p.calls.Add(1)
	return nil, p.answer
}

// A gang is deleted while the cloud takes no calls: what was asked for it is not asked for any more, unless
// it may have been launched already, and is not forgotten when the next purchase is counted.
func TestNothingIsLaunchedForAGangThatIsGone(t *testing.T) {
	cases := map[string]struct {
		reason string
		answer error
		goesOn bool
	}{
		"Throttled": {"the cloud has launched nothing", cloud.ErrThrottled, false},
		"Unknown":   {"it may have, and what has no answer must be known", cloud.ErrUnknownOutcome, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				provider := &patient{answer: c.answer}
				e, api := world(t, provider)
				e.Now = time.Now
				ctx, stop := context.WithCancel(t.Context())
				if err := e.Execute(ctx, purchase(train, "team-a", 1)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				e.Mirror.CapacityRequests().OnDelete(e.Mirror.Request("default", "x"))
				other := train
				other.Name, other.UID = "other", "v"
				next := purchase(other, "team-a", 1)
				book := next.Steps[0].(plan.Book)
				book.Request = "y"
				next.Steps[0] = book
				if err := e.Execute(ctx, next); err != nil {
					t.Fatal(err)
				}
				if err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: "y"}, &v1alpha1.CapacityRequest{}); !apierrors.IsNotFound(err) {
					t.Errorf("%s: the next purchase was booked without it: %v", c.reason, err)
				}
				before := provider.calls.Load()
				time.Sleep(time.Minute)
				if goesOn := provider.calls.Load() > before; goesOn != c.goesOn {
					t.Errorf("%s: asked for %d times more", c.reason, provider.calls.Load()-before)
				}
				if err := e.Execute(ctx, next); err != nil {
					t.Fatal(err)
				}
				err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: "y"}, &v1alpha1.CapacityRequest{})
				if booked := err == nil; booked == c.goesOn {
					t.Errorf("%s: a minute later: %v", c.reason, err)
				}
				stop()
				e.Wait()
			})
		})
	}
}
