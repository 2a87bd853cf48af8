package gcs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
	"github.com/capmgr/capmgr/test/fakegcs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var nodeID = strings.Repeat("ab", nodeIDLength)

func idle() *autoscalerpb.ClusterResourceState {
	return &autoscalerpb.ClusterResourceState{NodeStates: []*autoscalerpb.NodeState{{
		NodeId: []byte(strings.Repeat("\xab", nodeIDLength)), InstanceId: "pod-1", RayNodeTypeName: "workers",
		Status: autoscalerpb.NodeStatus_IDLE, IdleDurationMs: 9000,
	}}}
}

// fleet is heads by address, in virtual time.
type fleet struct {
	poller *Poller
	heads  map[string]*fakegcs.Server
	stop   func()
}

// play runs a test in virtual time with so many heads, "head-0" and on, which is UID and address.
func play(t *testing.T, heads int, opts Options, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{heads: map[string]*fakegcs.Server{}}
		var targets []Target
		for i := range heads {
			name := fmt.Sprintf("head-%d", i)
			f.heads[name] = fakegcs.Start()
			f.heads[name].Answer(idle())
			targets = append(targets, Target{UID: name, Name: name, Address: name})
		}
		opts.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return f.heads[address].Dial(ctx, address)
		}
		opts.Jitter = func(d time.Duration) time.Duration { return d }
		f.poller = NewPoller(opts)
		f.poller.Watch(targets)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		f.stop = cancel
		go func() { done <- f.poller.Start(ctx) }()
		test(t, f)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the poller ended with %v", err)
		}
		for _, h := range f.heads {
			h.Stop()
		}
		synctest.Wait()
	})
}

func (f *fleet) last(t *testing.T, uid string) Answer {
	t.Helper()
	synctest.Wait()
	a, ok := f.poller.Last(uid)
	if !ok {
		t.Fatalf("%s is not watched", uid)
	}
	return a
}

func TestAnswersAreKeptWithTheirAge(t *testing.T) {
	play(t, 1, Options{}, func(t *testing.T, f *fleet) {
		time.Sleep(100 * time.Millisecond)
		if a := f.last(t, "head-0"); !a.Fresh(time.Now(), time.Second) || a.State.Nodes[0].Pod != "pod-1" {
			t.Fatalf("no fresh answer after the start: %+v", a)
		}
		f.heads["head-0"].BeSlow(true)
		time.Sleep(30 * time.Second)
		a := f.last(t, "head-0")
		if !a.Known() || a.Fresh(time.Now(), 20*time.Second) || a.Err == nil || a.Failed.IsZero() {
			t.Errorf("a head that went silent: %+v, want the old answer, aged, and why", a)
		}
		f.heads["head-0"].BeSlow(false)
		time.Sleep(longest)
		if a := f.last(t, "head-0"); a.Err != nil || !a.Fresh(time.Now(), 10*time.Second) {
			t.Errorf("a head that came back: %+v", a)
		}
	})
}

func TestDeadHeadsHoldUpNobody(t *testing.T) {
	for name, fail := range map[string]func(*fakegcs.Server){
		"Slow": func(s *fakegcs.Server) { s.BeSlow(true) },
		"Dead": func(s *fakegcs.Server) { s.Die(true) },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 40, Options{Workers: 4}, func(t *testing.T, f *fleet) {
				for i := range 39 {
					fail(f.heads[fmt.Sprintf("head-%d", i)])
				}
				// Nobody is suspected yet: one round over all of them may pass.
				time.Sleep(40 * 2 * time.Second / 4)
				for range 60 {
					time.Sleep(time.Second)
					if a := f.last(t, "head-39"); !a.Fresh(time.Now(), 6*time.Second) {
						t.Fatalf("the living head's answer is %s old", a.Age(time.Now()))
					}
				}
			})
		})
	}
}

func TestOneConnectionPerCluster(t *testing.T) {
	play(t, 1, Options{}, func(t *testing.T, f *fleet) {
		time.Sleep(time.Minute)
		if _, err := f.poller.Drain(t.Context(), "head-0", DrainRequest{Node: nodeID, Reason: IdleTermination}); err != nil {
			t.Fatal(err)
		}
		if dials, calls := f.heads["head-0"].Dials(), f.heads["head-0"].Calls(); dials != 1 || calls < 20 {
			t.Errorf("%d calls over %d connections, want one connection", calls, dials)
		}
		f.poller.Watch(nil)
		if _, ok := f.poller.Last("head-0"); ok {
			t.Error("a cluster that is gone is still known")
		}
		calls := f.heads["head-0"].Calls()
		time.Sleep(time.Minute)
		if f.heads["head-0"].Calls() != calls {
			t.Error("a cluster that is gone is still asked")
		}
	})
}

func TestBreakerLeavesDeadHeadsAlone(t *testing.T) {
	play(t, 1, Options{}, func(t *testing.T, f *fleet) {
		f.heads["head-0"].BeSlow(true)
		time.Sleep(10 * time.Minute)
		if calls := f.heads["head-0"].Calls(); calls > 20 {
			t.Errorf("a silent head was asked %d times in 10 minutes", calls)
		}
		synctest.Wait()
		started := time.Now()
		_, err := f.poller.Drain(t.Context(), "head-0", DrainRequest{Node: nodeID, Reason: Preemption})
		if !errors.Is(err, ErrLeftAlone) || time.Since(started) > 0 {
			t.Errorf("a drain over it took %s: %v", time.Since(started), err)
		}
	})
}

func TestTokens(t *testing.T) {
	play(t, 1, Options{}, func(t *testing.T, f *fleet) {
		f.heads["head-0"].RequireToken("secret")
		time.Sleep(30 * time.Second)
		a := f.last(t, "head-0")
		if !Denied(a.Err) || f.heads["head-0"].Calls() > 2 {
			t.Errorf("without the token: %v after %d calls", a.Err, f.heads["head-0"].Calls())
		}
		// The Secret was read meanwhile: asked at once, not when the breaker would.
		f.poller.Watch([]Target{{UID: "head-0", Name: "head-0", Address: "head-0", Token: "secret"}})
		time.Sleep(time.Second)
		if a := f.last(t, "head-0"); a.Err != nil || !a.Known() {
			t.Errorf("with the token: %v", a.Err)
		}
	})
}

func TestPassiveHeadsAreAskedAgain(t *testing.T) {
	play(t, 1, Options{}, func(t *testing.T, f *fleet) {
		f.heads["head-0"].BePassive(3)
		time.Sleep(time.Second)
		if a := f.last(t, "head-0"); a.Err != nil || !a.Known() {
			t.Errorf("a head that was promoted within the deadline: %v", a.Err)
		}
		f.heads["head-0"].BePassive(1000)
		time.Sleep(10 * time.Second)
		if a := f.last(t, "head-0"); !a.Known() || !Passive(a.Err) {
			t.Errorf("a head that stays passive: %v", a.Err)
		}
	})
}

func TestDrain(t *testing.T) {
	busy, free := func() bool { return true }, func() bool { return false }
	deadline := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	cases := map[string]struct {
		reason Reason
		busy   func() bool
		want   bool
	}{
		"Idle":        {IdleTermination, free, true},
		"IdleRace":    {IdleTermination, busy, false}, // it was given work since it was seen idle
		"PreemptBusy": {Preemption, busy, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			play(t, 1, Options{}, func(t *testing.T, f *fleet) {
				head := f.heads["head-0"]
				head.BusyAtDrain(c.busy)
				got, err := f.poller.Drain(t.Context(), "head-0", DrainRequest{Node: nodeID, Reason: c.reason, Deadline: deadline, Message: "team-b needs it"})
				if err != nil || got.Accepted != c.want || got.Accepted != (got.Message == "") {
					t.Fatalf("got %+v, %v; want accepted %v", got, err, c.want)
				}
				time.Sleep(4 * time.Second)
				want := demand.Idle
				if c.want {
					want = demand.Draining
					d := head.Drains()[0]
					if d.GetDeadlineTimestampMs() != deadline.UnixMilli() || d.GetReasonMessage() != "team-b needs it" {
						t.Errorf("the node was told %v", d)
					}
				}
				if a := f.last(t, "head-0"); a.State.Nodes[0].Status != want {
					t.Errorf("the node is %s afterwards, want %s", a.State.Nodes[0].Status, want)
				}
			})
		})
	}
}

func TestDrainRefusesWhatWouldAbortTheHead(t *testing.T) {
	play(t, 1, Options{}, func(t *testing.T, f *fleet) {
		time.Sleep(time.Second)
		calls := f.heads["head-0"].Calls()
		for _, r := range []DrainRequest{{Node: "ab", Reason: Preemption}, {Node: "xyz", Reason: Preemption}, {Node: nodeID}} {
			if _, err := f.poller.Drain(t.Context(), "head-0", r); err == nil {
				t.Errorf("%+v was sent", r)
			}
		}
		if _, err := f.poller.Drain(t.Context(), "other", DrainRequest{Node: nodeID, Reason: Preemption}); !errors.Is(err, ErrUnknown) {
			t.Errorf("a cluster that is not watched: %v", err)
		}
		if f.heads["head-0"].Calls() != calls {
			t.Error("the head was asked")
		}
	})
}
