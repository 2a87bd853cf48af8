package fakeaws

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"sort"
	"sync"
	"time"
)

// world is the state behind the APIs. Its lock is held for each change as a whole, and never while a
// node step runs.
type world struct {
	cfg   Config
	clock Clock
	nodes Nodes
	log   *slog.Logger

	ctx    context.Context //nolint:containedctx // the server's life, ended by close
	cancel context.CancelFunc
	steps  sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	rng        *rand.Rand
	launched   int64
	activities int
	groups     map[string]*group
	instances  map[string]*instance
	history    []*instance // all ever, oldest first
	tokens     map[string]*launchRecord
	faults     faults
}

func newWorld(cfg Config, nodes Nodes, clock Clock, log *slog.Logger) (*world, error) {
	w := &world{
		cfg: cfg, clock: clock, nodes: nodes, log: log,
		rng:       rand.New(rand.NewSource(cfg.Seed)), //nolint:gosec // jitter that can be repeated
		groups:    map[string]*group{},
		instances: map[string]*instance{},
		tokens:    map[string]*launchRecord{},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i, f := range cfg.Faults {
		if _, err := w.faults.add(f, clock.Now()); err != nil {
			return nil, fmt.Errorf("add fault %d: %w", i, err)
		}
	}
	for _, gc := range cfg.Groups {
		w.groups[gc.Name] = newGroup(gc, cfg, clock.Now())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.sortedGroups() {
		w.reconcile(g, byGroupCreated)
	}
	return w, nil
}

func newGroup(gc GroupConfig, cfg Config, now time.Time) *group {
	if gc.CapacityType == "" {
		gc.CapacityType = OnDemand
	}
	g := &group{
		cfg: gc, delays: gc.Delays.over(cfg.Delays), min: gc.Min, max: gc.Max, desired: max(gc.Desired, gc.Min),
		created: now, tags: map[string]groupTag{}, suspended: map[string]bool{},
	}
	for k, v := range gc.Tags {
		g.tags[k] = groupTag{value: v, propagate: true}
	}
	if gc.EKSNodegroup != "" {
		g.tags["eks:nodegroup-name"] = groupTag{value: gc.EKSNodegroup, propagate: true}
		g.tags["eks:cluster-name"] = groupTag{value: cfg.ClusterName, propagate: true}
	}
	return g
}

// close ends all timers and node steps and waits for them. Nodes stay.
func (w *world) close() {
	w.mu.Lock()
	w.closed = true
	for _, i := range w.history {
		w.stopTimers(i)
	}
	w.mu.Unlock()
	w.cancel()
	w.steps.Wait()
}

func (w *world) sortedGroups() []*group {
	out := make([]*group, 0, len(w.groups))
	for _, g := range w.groups {
		out = append(out, g)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].cfg.Name < out[j].cfg.Name })
	return out
}

func (w *world) group(name string) (*group, error) {
	if g := w.groups[name]; g != nil {
		return g, nil
	}
	return nil, invalid("AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
}

// locked runs f under the lock, unless the server has been closed.
func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		f()
	}
}

func (w *world) newActivity(g *group, cause, format string, args ...any) *activity {
	w.activities++
	a := &activity{
		id: fmt.Sprintf("%08d-0000-0000-0000-%012d", w.activities, w.cfg.Seed), group: g, cause: cause,
		description: fmt.Sprintf(format, args...), start: w.clock.Now(), status: "InProgress",
	}
	g.activities = append(g.activities, a)
	return a
}
