// Package execute is the only writer: in the cluster and in the cloud. It takes a plan's steps in
// order, checks each step's preconditions against what is known by then, records intents before
// acts, and acts only while it leads.
//
// What takes long (a launch, a termination) goes on in the background and is never started twice;
// its intent is an object in the API server or its effect is visible to the next snapshot, so that
// a successor finishes what this process leaves behind.
package execute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// Executor carries out plans. Its methods are called from one goroutine.
type Executor struct {
	Kube      kubernetes.Interface // for binds, evictions, taints and the memory
	Client    client.Client        // uncached
	Mirror    *state.Mirror
	Observe   func(context.Context) error // reads the cloud into the mirror
	Providers map[v1alpha1.Provider]cloud.Provider
	Heads     Heads                // nil: no head is asked, and workers are named without
	Memory    types.NamespacedName // of the ConfigMap that holds state.Memory
	Events    record.EventRecorder
	Log       logr.Logger
	Now       func() time.Time

	began time.Time // when the first plan came

	mu       sync.Mutex
	inFlight map[string]bool                    // by what is being done: "acquire ns/name", "terminate i-0abc"
	waits    map[string]context.CancelCauseFunc // by request: ends the wait for its nodes
	work     sync.WaitGroup

	doubts       []client.ObjectKey // CapacityRequests that may have been written
	memory       memory
	refusals     map[snapshot.GangID]*refusal // of binds
	verdicts     verdictWriter
	queueWritten map[string]time.Time // by queue: when its status was last written
}

// Execute takes a plan's steps in order. Steps that a newer view has overtaken are left out; an
// error is returned for those that were tried and failed. ctx ends with the leadership.
func (e *Executor) Execute(ctx context.Context, p *plan.Plan) error {
	if e.began.IsZero() {
		e.began = e.Now()
	}
	var errs []error
	terminate := map[string][]plan.TerminateNode{}
	var binds []plan.Bind
	var evictions []plan.Evict
	unsettled := map[types.UID]bool{} // gangs of which a purchase was to end, and has not
	doubtful := len(e.doubts) > 0 || e.forNobody()
	errs = append(errs, e.settleDoubts(ctx))
	for _, step := range p.Steps {
		if ctx.Err() != nil {
			return fmt.Errorf("execute plan %d: %w", p.Rev, ctx.Err())
		}
		switch s := step.(type) {
		case plan.Book:
			// One purchase at a time: what the decision takes for over would count twice.
			if !doubtful && !unsettled[types.UID(s.Gang.UID)] {
				errs = append(errs, e.book(ctx, s))
				doubtful = len(e.doubts) > 0
			}
		case plan.GrowNodeGroup:
			// Launched with the whole request it belongs to, from what Book wrote down.
			e.grow(ctx, s)
		case plan.Evict:
			evictions = append(evictions, s)
		case plan.Suspend:
			errs = append(errs, e.suspend(ctx, s))
		case plan.Resume:
			errs = append(errs, e.resume(ctx, s))
		case plan.Resize:
			e.resize(ctx, s)
		case plan.Ceiling:
			e.moveCeiling(ctx, s)
		case plan.Bind:
			binds = append(binds, s)
		case plan.Settle:
			done, err := e.settle(ctx, s)
			if r := e.Mirror.Request(s.Namespace, s.Request); !done && r != nil {
				unsettled[r.Spec.Gang.UID] = true
			}
			errs = append(errs, err)
		case plan.TerminateNode:
			terminate[s.Group] = append(terminate[s.Group], s)
		default:
			errs = append(errs, fmt.Errorf("execute plan %d: no executor for a %s step", p.Rev, step.Kind()))
		}
	}
	errs = append(errs, e.evictAll(ctx, evictions), e.bindAll(ctx, binds, p))
	for _, group := range slices.Sorted(maps.Keys(terminate)) {
		e.terminate(ctx, group, terminate[group])
	}
	e.verdicts.submit(ctx, e, slices.Concat(p.Verdicts, plan.ForMakers(p.Verdicts)))
	e.showPods(ctx, p.Verdicts)
	e.reportQueues(ctx, p.Queues)
	return errors.Join(errs...)
}

// once runs work in the background unless the same work is under way.
func (e *Executor) once(key string, work func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inFlight == nil {
		e.inFlight = map[string]bool{}
	}
	if e.inFlight[key] {
		return
	}
	e.inFlight[key] = true
	e.work.Add(1)
	go func() {
		defer func() {
			e.mu.Lock()
			delete(e.inFlight, key)
			e.mu.Unlock()
			e.work.Done()
		}()
		work()
	}()
}

// Wait returns when nothing is under way any more. Background work ends early with its context.
func (e *Executor) Wait() { e.work.Wait() }
