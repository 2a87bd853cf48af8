package e2e

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/test/fakeaws"
	"github.com/capmgr/capmgr/test/stack"
)

// The API server goes away for longer than a lease lasts, just after four instances were launched
// and before anything about them could be written down. The gang must come out whole on exactly
// these four.
func TestOutageWhileNodesBoot(t *testing.T) {
	t.Parallel()
	s := own(t)
	s.keep(t, stack.ManagerProcess)
	s.slowBoot(t, "life", 10*time.Second, 5*time.Second)
	s.create(t, gang("default", "steady", "life", 4))
	s.awaitInstances(t, "life", 4)

	if err := s.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	over := time.After(30 * time.Second) // how long the outage lasts; nothing is waited for
	select {
	case <-over:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := s.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.back = time.Now()

	s.awaitReady(t, "default", "steady", 2*time.Minute)
	s.awaitCondition(t, "default", 1, v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, 30*time.Second)
	s.onePurchase(t, "life", 4)
	s.wasWhole(t, "steady", 5)
	s.remove(t, gang("default", "steady", "life", 4))
	s.awaitGone(t, "life", time.Minute)
}

// onePurchase checks that a group delivered so many instances once, under one token, and that all
// of them are still there.
func (s *scene) onePurchase(t *testing.T, group string, instances int) {
	t.Helper()
	l := s.ledgerNow(t, group)
	if len(l.instances) != instances || l.alive() != instances {
		t.Errorf("%d instances of %s were launched and %d live, want %d", len(l.instances), group, l.alive(), instances)
	}
	if tokens := l.tokens(); len(tokens) != 1 {
		t.Errorf("the purchase from %s was sent under %d tokens, want one: %v", group, len(tokens), tokens)
	}
	for k, c := range l.launches {
		if k > 0 && c.ErrorCode == "" && !c.Replayed {
			t.Errorf("launch %d of %s was not the repetition of the first: %+v", k+1, group, c)
		}
	}
	if len(l.ends) > 0 {
		t.Errorf("instances of %s were terminated meanwhile: %+v", group, l.ends)
	}
}

// The manager is killed between the purchase of a gang's nodes and their use, at the worst moments.
// Its successor must finish the same purchase.
func TestKilledBetweenLaunchAndBind(t *testing.T) {
	t.Parallel()
	s := own(t)
	s.keep(t, stack.ManagerProcess)
	for _, c := range []struct {
		name, group string
		fault       *fakeaws.Fault
		now         func(fakeaws.Call) bool // the moment to kill, by what the cloud has seen of the launch
		replayed    bool                    // the successor cannot know of the launch without repeating it
	}{
		{
			name: "after the launch", group: "life",
			now: func(c fakeaws.Call) bool { return c.Done },
		},
		{
			name: "while the answer is on its way", group: "told",
			fault:    &fakeaws.Fault{Kind: fakeaws.SlowResponse, Delay: fakeaws.For(time.Minute)},
			now:      func(c fakeaws.Call) bool { return c.Done },
			replayed: true,
		},
		{
			name: "after the answer was lost", group: "sold-out",
			fault:    &fakeaws.Fault{Kind: fakeaws.LostResponse},
			now:      func(c fakeaws.Call) bool { return c.Lost },
			replayed: true,
		},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			s.slowBoot(t, c.group, 3*time.Second, 2*time.Second)
			if c.fault != nil {
				f := *c.fault
				f.Operation, f.Times = "LaunchInstances", 1
				s.inject(t, f)
			}
			s.create(t, gang("default", c.group, c.group, 4))
			eventually(t, 30*time.Second, "the launch to reach the cloud", func(ctx context.Context) (bool, string, error) {
				l, err := s.ledger(ctx, c.group)
				return err == nil && len(l.launches) > 0 && c.now(l.launches[0]), "no launch", err
			})
			if err := s.Process(stack.ManagerProcess).Kill(); err != nil {
				t.Fatal(err)
			}
			if binds := s.seen.Bound(c.group); len(binds) > 0 {
				t.Fatalf("killed too late to show anything: bound already: %v", binds)
			}
			s.awaitReady(t, "default", c.group, 90*time.Second)
			s.onePurchase(t, c.group, 4)
			s.wasWhole(t, c.group, 5)
			if l := s.ledgerNow(t, c.group); c.replayed && len(l.launches) < 2 {
				t.Errorf("%d launch calls: the successor did not repeat the purchase", len(l.launches))
			}
			s.remove(t, gang("default", c.group, c.group, 4))
		})
		if !ok {
			return
		}
	}
	for _, group := range []string{"life", "told", "sold-out"} {
		s.awaitGone(t, group, time.Minute)
	}
}

// Two managers run; the one that leads is killed while the nodes boot that it bought. The other must
// take over within the time of a lease and finish, and must not have acted before.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	s := own(t)
	ctx := t.Context()
	leader, err := s.LaunchManager(ctx, stack.ManagerProcess)
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	first := s.awaitLeader(t, "")
	standby, err := s.LaunchManager(ctx, stack.ManagerProcess+"-standby")
	if err != nil {
		t.Fatal(err)
	}
	if err := standby.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}

	s.slowBoot(t, "life", 3*time.Second, 2*time.Second)
	s.create(t, gang("default", "handed-over", "life", 4))
	s.awaitInstances(t, "life", 4)
	if holder := s.leader(t); holder != first {
		t.Fatalf("the lease went from %s to %s while both lived", first, holder)
	}
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	s.awaitLeader(t, first)
	t.Logf("taken over %.1f s after the kill", time.Since(killed).Seconds())
	// A lease of 15 s, the interval of 2 s in which the standby looks, and a busy machine.
	if took := time.Since(killed); took > 25*time.Second {
		t.Errorf("taking over took %s", took)
	}
	s.awaitReady(t, "default", "handed-over", time.Minute)
	s.onePurchase(t, "life", 4)
	s.wasWhole(t, "handed-over", 5)

	// The survivor gives the lease back when it ends in order: the next one need not wait for it.
	if err := standby.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if holder := s.leader(t); holder != "" {
		t.Errorf("%s ended in order and still holds the lease", holder)
	}
}

func (s *scene) leader(t *testing.T) string {
	t.Helper()
	holder, err := s.holder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return holder
}

func (s *scene) holder(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: "capmgr-system", Name: "capmgr"}, lease)
	if err != nil || lease.Spec.HolderIdentity == nil {
		return "", err
	}
	return *lease.Spec.HolderIdentity, nil
}

// awaitLeader waits for a leader other than the one given, and returns its identity.
func (s *scene) awaitLeader(t *testing.T, not string) (holder string) {
	t.Helper()
	eventually(t, time.Minute, "a new leader", func(ctx context.Context) (bool, string, error) {
		var err error
		holder, err = s.holder(ctx)
		return holder != "" && holder != not, holder, err
	})
	return holder
}

// pod is a pod for capmgr to schedule, a gang of its own.
func pod(namespace, name, queue, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.QueueLabel: queue}},
		Spec: corev1.PodSpec{SchedulerName: "capmgr", Containers: []corev1.Container{{
			Name: "work", Image: "busybox", Resources: corev1.ResourceRequirements{Requests: resources(cpu, "64Mi", "")}}}},
	}
}
