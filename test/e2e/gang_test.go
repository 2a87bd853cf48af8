package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/test/fakeaws"
	"github.com/capmgr/capmgr/test/stack"
)

// The cloud has two of the four instances that a gang needs. Nothing of the gang may be bound, and
// the two must go back, by name and within a minute.
func TestPartialGangNeverBinds(t *testing.T) {
	t.Parallel()
	s := stage(t, "sold-out")
	s.inject(t, fakeaws.Fault{Kind: fakeaws.InsufficientCapacity, Group: "sold-out", Allow: 2})
	s.slowBoot(t, "sold-out", time.Minute, time.Minute) // so that they cannot go as idle nodes meanwhile
	s.create(t, gang("sold-out", "half", "sold-out", 4))

	failed := s.awaitCondition(t, "sold-out", 1, v1alpha1.ConditionFailed, v1alpha1.ReasonPartialFill, 30*time.Second)
	for _, word := range []string{"sold-out", "got 2", "insufficient"} {
		if !strings.Contains(strings.ToLower(failed.Message), word) {
			t.Errorf("the failure's message does not say %q: %s", word, failed.Message)
		}
	}
	released := s.awaitCondition(t, "sold-out", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonNodesReturned, time.Minute)
	if released.Message == "" {
		t.Error("the return of the nodes has no message")
	}
	s.awaitGone(t, "sold-out", time.Minute)
	l := s.ledgerNow(t, "sold-out")
	if len(l.instances) != 2 {
		t.Errorf("%d instances came, want the 2 that there were", len(l.instances))
	}
	for _, i := range l.instances {
		if i.TerminatedAt == nil || i.TerminatedAt.Sub(i.Launched) > time.Minute {
			t.Errorf("instance %s was launched %s and gone %v, want within a minute", i.ID, i.Launched, i.TerminatedAt)
		}
		if i.ReadyAt != nil {
			t.Errorf("instance %s was kept until it had become a node", i.ID)
		}
	}
	v := s.awaitVerdict(t, "sold-out", "half", 10*time.Second, plan.CapacityUnavailable)
	if v.Doing == "" || v.ETA.IsZero() {
		t.Errorf("the verdict does not say what is done and when: %+v", v)
	}
	if tokens := l.tokens(); len(tokens) != 1 {
		t.Errorf("a group that refused was asked again at once: %v", tokens)
	}
	s.wasWhole(t, "half", 0)

	// Where the user looks: the purchase's own row says how it ended.
	row, err := s.Kubectl(t.Context(), nil, "get", "capacityrequests", "-n", "sold-out", "--no-headers")
	if err != nil || !strings.Contains(row, v1alpha1.ReasonPartialFill) {
		t.Errorf("kubectl get capacityrequests does not show %s: %s %v", v1alpha1.ReasonPartialFill, row, err)
	}
}

// The first rung of the ladder has two of four instances, the second has enough. The gang must move
// on as a whole and run there. The two cannot be given back for a while: nobody may count on them.
func TestPartialGangMovesOnWhole(t *testing.T) {
	t.Parallel()
	s := own(t)
	s.keep(t, stack.ManagerProcess)
	s.slowBoot(t, "scarce", 5*time.Minute, 5*time.Minute)
	s.inject(t, fakeaws.Fault{Kind: fakeaws.InsufficientCapacity, Group: "scarce", Allow: 2})
	stuck, err := s.AWS.Inject(t.Context(), fakeaws.Fault{Kind: fakeaws.Throttle, Operation: "TerminateInstanceInAutoScalingGroup"})
	if err != nil {
		t.Fatal(err)
	}
	s.create(t, gang("default", "climber", "ladder", 4))
	s.awaitCondition(t, "default", 1, v1alpha1.ConditionFailed, v1alpha1.ReasonPartialFill, 30*time.Second)
	s.movedOn(t, "climber", 5)
	// By now the manager has seen the two in the cloud's listing, where they look like any that boot.
	s.create(t, gang("default", "follower", "ladder", 2))
	s.movedOn(t, "follower", 3)
	if l := s.ledgerNow(t, "scarce"); l.alive() != 2 {
		t.Fatalf("%d instances of scarce live, want the 2 that could not be given back", l.alive())
	}
	if l := s.ledgerNow(t, "plenty"); len(l.instances) != 6 || l.alive() != 6 || len(l.tokens()) != 2 {
		t.Errorf("%d instances of plenty were launched under %d tokens, %d live, want 6 in two purchases", len(l.instances), len(l.tokens()), l.alive())
	}
	if err := s.AWS.Clear(t.Context(), stuck); err != nil {
		t.Fatal(err)
	}
	s.awaitGone(t, "scarce", time.Minute)
	s.remove(t, gang("default", "climber", "ladder", 4))
	s.remove(t, gang("default", "follower", "ladder", 2))
	s.awaitGone(t, "plenty", time.Minute)
}

// movedOn waits until a gang runs, and checks that none of it runs on the group that it left.
func (s *scene) movedOn(t *testing.T, name string, pods int) {
	t.Helper()
	s.awaitReady(t, "default", name, time.Minute)
	s.wasWhole(t, name, pods)
	for _, b := range s.seen.Bound(name) {
		if strings.HasPrefix(b.Node, "scarce") {
			t.Errorf("pod %s was bound to %s, a node of the failed purchase", b.Pod, b.Node)
		}
	}
}

// A node joins, is Ready, and never advertises its GPU. Nothing may be bound to it, it must go when
// its time is up, and the next ones must not be bought in a loop.
func TestNodeWithoutGPUsIsGivenUp(t *testing.T) {
	t.Parallel()
	s := stage(t, "broken")
	s.inject(t, fakeaws.Fault{Kind: fakeaws.NoGPUs, Group: "broken"})
	s.create(t, gang("broken", "unlucky", "broken", 1))
	s.awaitCondition(t, "broken", 1, v1alpha1.ConditionFailed, v1alpha1.ReasonProvisionTimeout, 40*time.Second)
	eventually(t, time.Minute, "the first node to be terminated", func(ctx context.Context) (bool, string, error) {
		l, err := s.ledger(ctx, "broken")
		if err != nil || len(l.instances) == 0 {
			return false, "no instance", err
		}
		i := l.instances[0]
		return i.State == fakeaws.Terminated, fmt.Sprintf("%+v", i), nil
	})
	// The back-off is 5 minutes at least; without one, the next node would be there by now.
	v := s.awaitVerdict(t, "broken", "unlucky", 30*time.Second, plan.NoNodeFits, plan.BackingOff)
	if v.Doing == "" {
		t.Errorf("the verdict does not say that buying is suspended: %+v", v)
	}
	s.awaitGone(t, "broken", time.Minute)
	l := s.ledgerNow(t, "broken")
	if len(l.instances) > 2 {
		t.Errorf("%d nodes of a kind that never works were bought, want at most 2", len(l.instances))
	}
	for _, i := range l.instances {
		if i.ReadyAt == nil || i.GPUAt != nil {
			t.Errorf("instance %s is no node without GPUs: %+v", i.ID, i)
		}
	}
	s.wasWhole(t, "unlucky", 0)
}

// A node comes as bought, and the gang's pods do not fit it after all. It must go back, and the pair
// of shape and group must not be bought again in a loop.
func TestNodeNeverFits(t *testing.T) {
	t.Parallel()
	s := stage(t, "liar")
	s.create(t, gang("liar", "picky", "liar", 1, func(p *corev1.PodSpec) {
		p.NodeSelector["e2e/promise"] = "kept"
	}))
	failed := s.awaitCondition(t, "liar", 1, v1alpha1.ConditionFailed, v1alpha1.ReasonNodeDidNotFit, 40*time.Second)
	if !strings.Contains(failed.Message, "of group gpu") || !strings.Contains(failed.Message, "e2e/promise=kept") {
		t.Errorf("the failure does not say what fits nowhere, and why: %s", failed.Message)
	}
	v := s.awaitVerdict(t, "liar", "picky", 20*time.Second, plan.NoNodeFits)
	s.awaitScheduled(t, "liar", "picky", "False", plan.NoNodeFits)
	if v.Doing == "" || v.Advice == "" {
		t.Errorf("the verdict does not say what is done and what to do: %+v", v)
	}
	s.awaitGone(t, "liar", time.Minute)
	if l := s.ledgerNow(t, "liar"); len(l.instances) > 2 {
		t.Errorf("%d nodes that do not fit were bought, want at most 2", len(l.instances))
	}
	s.wasWhole(t, "picky", 0)
}

// Pods that are no gang's are scheduled one by one. One that has to wait says why on itself, and
// never with the word that makes other autoscalers buy.
func TestPlainPods(t *testing.T) {
	t.Parallel()
	s := stage(t, "plain")
	s.create(t, pod("plain", "first", "narrow", "1500m"))
	s.awaitBound(t, "plain", "first")

	for name, c := range map[string]struct {
		cpu    string
		reason plan.Reason
	}{
		"second":   {"1", plan.WaitingForQuota}, // fits the limit of two cores, but the first uses most of it
		"too-wide": {"3", plan.ExceedsLimit},    // never fits it
	} {
		s.create(t, pod("plain", name, "narrow", c.cpu))
		eventually(t, 20*time.Second, fmt.Sprintf("pod %s to say %s", name, c.reason), func(ctx context.Context) (bool, string, error) {
			p := &corev1.Pod{}
			err := s.Client.Get(ctx, client.ObjectKey{Namespace: "plain", Name: name}, p)
			k := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
			if err != nil || k < 0 {
				return false, "no condition PodScheduled", err
			}
			got := p.Status.Conditions[k]
			return got.Status == corev1.ConditionFalse && got.Reason == string(c.reason) && got.Message != "", fmt.Sprintf("%+v", got), nil
		})
		s.awaitEvent(t, "plain", "Pod", name, string(c.reason))
	}
	s.remove(t, pod("plain", "first", "narrow", "1500m"))
	s.awaitBound(t, "plain", "second")
	for _, name := range []string{"first", "second", "too-wide"} {
		if s.seen.Unschedulable("plain", name) {
			t.Errorf("pod %s was marked Unschedulable: other autoscalers buy for it", name)
		}
	}
}

func (s *scene) awaitBound(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, 20*time.Second, "pod "+name+" to be bound", func(ctx context.Context) (bool, string, error) {
		p := &corev1.Pod{}
		err := s.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, p)
		return p.Spec.NodeName != "", fmt.Sprintf("%+v", p.Status.Conditions), err
	})
}

func (s *scene) awaitEvent(t *testing.T, namespace, kind, name, reason string) {
	t.Helper()
	eventually(t, 15*time.Second, fmt.Sprintf("an event %s on %s %s", reason, kind, name), func(ctx context.Context) (bool, string, error) {
		list := &corev1.EventList{}
		err := s.Client.List(ctx, list, client.InNamespace(namespace))
		var others []string
		for _, e := range list.Items {
			if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name {
				if e.Reason == reason {
					return true, "", err
				}
				others = append(others, e.Reason)
			}
		}
		return false, fmt.Sprintf("%v", others), err
	})
}
