package execute_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// policy is an API server on which an admission policy refuses to bind some pods, and which fails to
// evict a few times.
type policy struct {
	kubernetes.Interface
	corev1client.CoreV1Interface
	corev1client.PodInterface

	refuses string
	fails   int // evictions

	mu   sync.Mutex
	does []string
}

func (p *policy) CoreV1() corev1client.CoreV1Interface  { return p }
func (p *policy) Pods(string) corev1client.PodInterface { return p }
func (p *policy) note(format string, args ...any) {
	p.does = append(p.does, fmt.Sprintf(format, args...))
}
func (p *policy) answer(f func() error) error { p.mu.Lock(); defer p.mu.Unlock(); return f() }
func (p *policy) Bind(_ context.Context, b *corev1.Binding, _ metav1.CreateOptions) error {
	return p.answer(func() error {
		if b.Name == p.refuses {
			p.note("refused %s", b.Name)
			return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, b.Name, fmt.Errorf("no"))
		}
		p.note("bound %s with %s", b.Name, b.Annotations[v1alpha1.BoundMinimumAnnotation])
		return nil
	})
}

func (p *policy) EvictV1(_ context.Context, e *policyv1.Eviction) error {
	return p.answer(func() error {
		if p.fails > 0 {
			p.fails--
			return apierrors.NewServiceUnavailable("away")
		}
		p.note("evicted %s", e.Name)
		return nil
	})
}

// gang puts a RayCluster of a head and two workers into the mirror, with some of them bound, and returns
// the bind of the others.
func gang(e *execute.Executor, bound ...string) plan.Bind {
	two, yes := int32(2), true
	rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "train", UID: "u"}}
	rc.Spec.WorkerGroupSpecs = []rayv1.WorkerGroupSpec{{GroupName: "w", Replicas: &two}}
	e.Mirror.RayClusters().OnAdd(rc, true)
	e.Mirror.Nodes().OnAdd(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, true)
	b := plan.Bind{Gang: train}
	for _, name := range []string{"head", "w-0", "w-1"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{ray.GroupLabel: "w"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "RayCluster", Name: "train", UID: "u", Controller: &yes}}}, Spec: corev1.PodSpec{SchedulerName: "capmgr"}}
		if name == "head" {
			p.Labels[ray.GroupLabel] = ray.HeadGroup
		}
		if slices.Contains(bound, name) {
			p.Spec.NodeName = "n"
			p.Annotations = map[string]string{v1alpha1.BoundMinimumAnnotation: "headgroup=1,w=2"}
		} else {
			b.Assignments = append(b.Assignments, plan.Assignment{Namespace: "default", Pod: name, UID: name, Node: "n"})
		}
		e.Mirror.Pods().OnAdd(p, true)
	}
	return b
}

func TestARefusedBindIsTakenBack(t *testing.T) {
	cases := map[string]struct {
		reason string
		api    *policy
		bound  []string
		after  time.Duration // since the gang was first seen
		want   []string
	}{
		"FirstTime": {
			"half a gang is of no use to anyone",
			&policy{refuses: "w-1"}, nil, 0,
			[]string{"bound head with headgroup=1,w=2", "bound w-0 with headgroup=1,w=2", "evicted head", "evicted w-0", "refused w-1"},
		},
		"APIServerAway": {
			"it is insisted on",
			&policy{refuses: "w-1", fails: 1}, nil, 0,
			[]string{"bound head with headgroup=1,w=2", "bound w-0 with headgroup=1,w=2", "evicted head", "evicted w-0", "refused w-1"},
		},
		"Running": {
			"it lost a member a moment ago, and has its grace",
			&policy{refuses: "w-1"}, []string{"head", "w-0"}, time.Second,
			[]string{"refused w-1"},
		},
		"Stale": {
			"it has been in part for too long, and nothing more is to be had",
			&policy{refuses: "w-1"}, []string{"head", "w-0"}, time.Minute,
			[]string{"evicted head", "evicted w-0", "refused w-1"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e, _ := world(t, &stub{})
			e.Kube = c.api
			b := gang(e, c.bound...)
			e.Mirror.Snapshot(noon.Add(-c.after))
			e.Mirror.Snapshot(noon)
			if err := e.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{b}}); err == nil {
				t.Error("a refused bind is an error")
			}
			e.Wait()
			slices.Sort(c.api.does)
			if diff := cmp.Diff(c.want, c.api.does); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

// A disruption budget keeps a member of half a gang, and the gang becomes whole meanwhile: it keeps all.
func TestAGangThatBecameWholeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := world(t, &stub{})
		api := &policy{refuses: "w-1", fails: 4} // two tries for each of two members
		e.Kube = api
		b := gang(e)
		e.Mirror.Snapshot(noon)
		_ = e.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{b}})
		time.Sleep(time.Second)
		e.Mirror.AssumeBound("w-1", "n")
		e.Mirror.Snapshot(noon)
		e.Wait()
		if slices.ContainsFunc(api.does, func(s string) bool { return strings.HasPrefix(s, "evicted") }) {
			t.Errorf("%v", api.does)
		}
	})
}

// Whoever was refused goes first the next time, and each refusal doubles the wait.
func TestARefusedBindIsTriedWithCare(t *testing.T) {
	e, _ := world(t, &stub{})
	api := &policy{refuses: "w-1"}
	e.Kube = api
	b := gang(e)
	at := noon
	e.Now = func() time.Time { return at }
	for try, wait := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		e.Mirror.Snapshot(at)
		api.does = nil
		_ = e.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{b}})
		e.Wait()
		if try > 0 && !slices.Equal(api.does, []string{"refused w-1"}) {
			t.Errorf("try %d: %v; nobody else is to be bound before the one that was refused", try, api.does)
		}
		if held := e.Mirror.Snapshot(at).Gangs[0].HeldUntil; held != at.Add(wait) {
			t.Errorf("try %d: held for %s, want %s", try, held.Sub(at), wait)
		}
		for _, evicted := range []types.UID{"head", "w-0"} { // others take their place
			e.Mirror.Forget(evicted)
		}
		at = at.Add(wait)
	}
	api.refuses, api.does = "", nil
	e.Mirror.Snapshot(at)
	if err := e.Execute(t.Context(), &plan.Plan{Steps: []plan.Step{b}}); err != nil || len(api.does) != 3 || api.does[0] != "bound w-1 with headgroup=1,w=2" {
		t.Errorf("when it is allowed: %v, %v", api.does, err)
	}
}
