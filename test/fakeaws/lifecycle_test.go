package fakeaws

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nodeLog notes node steps. block, if set, holds Join until its context ends or it is closed.
type nodeLog struct {
	mu    sync.Mutex
	lines []string
	block chan struct{}
}

func (l *nodeLog) note(what string, i Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, what+" "+i.NodeName)
}

func (l *nodeLog) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines...)
}

func (l *nodeLog) Join(ctx context.Context, i Instance) error {
	if l.block != nil {
		l.note("asked to join", i)
		select {
		case <-l.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.note("join", i)
	return nil
}

func (l *nodeLog) AdvertiseGPUs(_ context.Context, i Instance) error {
	l.note("gpus", i)
	return nil
}

func (l *nodeLog) Leave(_ context.Context, i Instance) error {
	l.note("leave", i)
	return nil
}

func onlyGPUGroup(c *Config) { c.Groups = c.Groups[:1] }

func TestBootInOrder(t *testing.T) {
	log := &nodeLog{}
	h := startWith(t, log, onlyGPUGroup)
	id := h.mustLaunch("token", 1)[0]
	steps := []struct {
		after time.Duration
		state string
		log   []string
	}{
		{9 * time.Second, Pending, []string{}},
		{time.Second, InService, []string{}},
		{19 * time.Second, InService, []string{}},
		{time.Second, InService, []string{"join g5-xlarge-a-1"}},
		{29 * time.Second, InService, []string{"join g5-xlarge-a-1"}},
		{time.Second, InService, []string{"join g5-xlarge-a-1", "gpus g5-xlarge-a-1"}},
	}
	for n, step := range steps {
		h.clock.Advance(step.after)
		eventually(t, fmt.Sprintf("step %d: %v", n, step.log), func() bool { return cmp.Equal(step.log, log.seen()) })
		if got := h.states(gpuGroup)[id]; got != step.state {
			t.Errorf("step %d: state %s, want %s", n, got, step.state)
		}
	}
	eventually(t, "the times of booting", func() bool { return h.instances()[id].GPUAt != nil })
	i := h.instances()[id]
	if !i.Launched.Equal(epoch) || !i.InServiceAt.Equal(epoch.Add(10*time.Second)) || !i.ReadyAt.Equal(epoch.Add(30*time.Second)) || !i.GPUAt.Equal(epoch.Add(time.Minute)) {
		t.Errorf("times %+v", i)
	}
	if i.PricePerHour != 1.006 || i.LaunchedBy != "LaunchInstances" || i.ClientToken != "token" {
		t.Errorf("instance %+v", i)
	}
	if _, err := h.terminate(true, id); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(40 * time.Second)
	eventually(t, "the node to leave", func() bool { return len(log.seen()) == 3 && log.seen()[2] == "leave g5-xlarge-a-1" })
	if i := h.instances()[id]; i.State != Terminated || !i.TerminatedAt.Equal(epoch.Add(100*time.Second)) || i.TerminatedBy != "TerminateInstanceInAutoScalingGroup" {
		t.Errorf("instance %+v", i)
	}
}

func TestNoNodeAfterTermination(t *testing.T) {
	log := &nodeLog{}
	h := startWith(t, log, onlyGPUGroup)
	id := h.mustLaunch("token", 1)[0]
	h.clock.Advance(20 * time.Second)
	if _, err := h.terminate(true, id); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(time.Hour)
	h.server.Close()
	if got := log.seen(); len(got) != 0 {
		t.Errorf("node steps %v of an instance that never joined", got)
	}
}

func TestTerminationEndsAHangingJoin(t *testing.T) {
	log := &nodeLog{block: make(chan struct{})}
	h := startWith(t, log, onlyGPUGroup)
	id := h.mustLaunch("token", 1)[0]
	h.clock.Advance(time.Minute)
	eventually(t, "the join to begin", func() bool { return len(log.seen()) == 1 })
	if _, err := h.terminate(true, id); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(40 * time.Second)
	want := []string{"asked to join g5-xlarge-a-1", "leave g5-xlarge-a-1"}
	eventually(t, "the node to leave", func() bool { return len(log.seen()) >= 2 && log.seen()[len(log.seen())-1] == want[1] })
	if i := h.instances()[id]; i.ReadyAt != nil {
		t.Errorf("ready at %v", i.ReadyAt)
	}
}

func TestBootFaults(t *testing.T) {
	cases := map[string]struct {
		fault       Fault
		ready, gpus time.Duration // zero: never
	}{
		"none":         {Fault{Kind: NoGPUs, Group: "spot"}, 30 * time.Second, 60 * time.Second},
		"never joins":  {Fault{Kind: NeverJoins}, 0, 0},
		"without GPUs": {Fault{Kind: NoGPUs, InstanceType: "g5.xlarge"}, 30 * time.Second, 0},
		"slow":         {Fault{Kind: BootDelays, Delays: &Delays{Ready: For(5 * time.Minute)}}, 310 * time.Second, 340 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			c.fault.Times = 1
			h.inject(c.fault)
			id := h.mustLaunch("token", 1)[0]
			second := h.mustLaunch("second", 1)[0]
			h.clock.Advance(time.Hour)
			since := func(at *time.Time) time.Duration {
				if at == nil {
					return 0
				}
				return at.Sub(epoch)
			}
			i := h.instances()[id]
			if since(i.ReadyAt) != c.ready || since(i.GPUAt) != c.gpus || i.State != InService {
				t.Errorf("%s, ready after %v and GPUs after %v, want %v and %v", i.State, since(i.ReadyAt), since(i.GPUAt), c.ready, c.gpus)
			}
			if i := h.instances()[second]; since(i.GPUAt) != time.Minute {
				t.Errorf("the fault struck a second time: GPUs after %v", since(i.GPUAt))
			}
		})
	}
}

func TestGroupDelaysAndSpread(t *testing.T) {
	ready := func(seed int64) []time.Duration {
		h := start(t, func(c *Config) {
			c.Seed = seed
			c.Groups[0].Delays = Delays{Launch: For(time.Second), Spread: For(time.Minute)}
		})
		h.mustLaunch("token", 4)
		h.clock.Advance(time.Hour)
		all, err := h.admin.Instances(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []time.Duration
		for _, i := range all {
			if i.Group == gpuGroup {
				out = append(out, i.ReadyAt.Sub(epoch))
			}
		}
		return out
	}
	first := ready(1)
	if diff := cmp.Diff(first, ready(1)); diff != "" {
		t.Errorf("the same seed gives other times:\n%s", diff)
	}
	if cmp.Equal(first, ready(2)) {
		t.Error("another seed gives the same times")
	}
	differ := false
	for _, d := range first {
		differ = differ || d != first[0]
		if d < 21*time.Second || d >= 21*time.Second+2*time.Minute {
			t.Errorf("ready after %v, outside the spread", d)
		}
	}
	if !differ {
		t.Error("there is no spread")
	}
}

func TestCPUNodesHaveNoGPUStep(t *testing.T) {
	log := &nodeLog{}
	h := startWith(t, log, func(c *Config) { c.Groups = c.Groups[1:2] })
	h.clock.Advance(time.Hour)
	eventually(t, "both to join", func() bool { return len(log.seen()) == 2 })
	h.server.Close()
	if got := log.seen(); len(got) != 2 {
		t.Errorf("steps %v", got)
	}
}
