package faults

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/loop"
	"github.com/capmgr/capmgr/pkg/state"
)

// manage runs one life of the manager after the other.
func (w *world) manage(ctx context.Context) {
	for ctx.Err() == nil {
		living, cancel := context.WithCancel(ctx)
		l := &life{w: w, ctx: living, cancel: cancel}
		w.locked(func() { w.lives++; w.born = time.Now(); w.note("life %d begins", w.lives) })
		w.live(living, l)
		w.locked(func() { w.born = time.Time{} })
		cancel()
		_ = rest(ctx, time.Duration(1+w.dice.roll("restart").IntN(30))*time.Second)
	}
}

// alive is how long the manager lived of the last second. A process needs some to come up.
func (w *world) alive() time.Duration {
	if w.born.IsZero() || time.Since(w.born) < 15*time.Second {
		return 0
	}
	return time.Second
}

// live is one process, wired as the program wires it.
func (w *world) live(ctx context.Context, l *life) {
	mirror := state.New(w.config)
	synced := make(chan struct{})
	providers := map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: provider{l}}
	observer := &state.Observer{Mirror: mirror, Providers: providers, Groups: w.config.NodeGroups, Interval: 10 * time.Second}
	go l.watch(ctx, mirror, synced)
	go func() { _ = observer.Run(ctx) }()
	main := &loop.Loop{
		Mirror: mirror, Fit: checkers[0], Log: logr.Discard(), Now: w.now,
		Synced: func(ctx context.Context) bool {
			select {
			case <-synced:
				return true
			case <-ctx.Done():
				return false
			}
		},
		Executor: &execute.Executor{Kube: kube{l: l}, Client: objects{l: l}, Mirror: mirror, Observe: observer.Observe,
			Memory: types.NamespacedName{Namespace: "capmgr-system", Name: "memory"}, Providers: providers, Events: recorder{w: w}, Log: logr.Discard(), Now: w.now},
	}
	if err := main.Start(ctx); err != nil {
		w.tell("the manager gave up: %v", err)
	}
	l.cancel()
}

// now is the manager's clock. It waits for what is being shown at this moment to be shown in full, so
// that a decision sees all of it or nothing.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now()
}

// checkers are made outside the bubbles: the plugins of the fit check keep a goroutine. The first is
// the manager's, the second that of the last look.
var checkers [2]*fit.Checker

func makeCheckers(t *testing.T) {
	t.Helper()
	if checkers[0] != nil {
		return
	}
	for k := range checkers {
		c, err := fit.New(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
		if err != nil {
			t.Fatal(err)
		}
		checkers[k] = c
	}
}
