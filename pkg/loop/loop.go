// Package loop turns changes into decisions: snapshot, decide, execute, and again when something
// changed or time has come.
package loop

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// Loop runs on the leader only.
type Loop struct {
	Mirror   *state.Mirror
	Fit      *fit.Checker
	Executor *execute.Executor
	Log      logr.Logger
	Now      func() time.Time
	Synced   func(ctx context.Context) bool // waits until every informer has delivered its first list

	Budget time.Duration // that one decision may take; 0: as long as it needs

	decider *scheduler.Decider
	pace    pace
	passed  []snapshot.GangID // where the last decision did not get through
}

const (
	// longest is the time between two decisions when nothing happens.
	longest = 10 * time.Second
	// busiest is the share of time that deciding may take, as its inverse: after a decision of d,
	// the next one starts after d at the earliest, so that informers keep up.
	busiest = 1
)

// Start decides until ctx ends, and returns when nothing is under way any more.
func (l *Loop) Start(ctx context.Context) error {
	defer l.Executor.Wait()
	if !l.Synced(ctx) {
		return nil
	}
	if err := l.Executor.Recall(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := l.awaitCloud(ctx); err != nil {
		return err
	}
	if err := l.Executor.ReopenDraining(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("recover: %w", err)
	}
	l.Executor.Resume(ctx)
	l.decider = scheduler.NewDecider(l.Fit)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Mirror.Changed():
		case <-timer.C:
			select { // what has changed by now is in the next snapshot
			case <-l.Mirror.Changed():
			default:
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		started := l.Now()
		next := l.once(ctx)
		took := l.Now().Sub(started)
		if !pause(ctx, took*busiest) {
			return nil
		}
		timer.Reset(next)
	}
}

// once makes and executes one decision and says when the next is due if nothing changes.
func (l *Loop) once(ctx context.Context) time.Duration {
	s := l.Mirror.Snapshot(l.Now())
	s.Looks, s.Passed = l.pace.looks(l.Budget), l.passed
	l.Fit.Begin(s)
	began := l.Now()
	p := l.decider.Decide(s)
	l.pace.note(p.Looks, l.Now().Sub(began))
	goesOn := p.Unfinished && len(p.Passed) > len(l.passed)
	l.passed = p.Passed
	if len(p.Steps) > 0 || p.Unfinished {
		l.Log.V(1).Info("Decided", "rev", p.Rev, "steps", len(p.Steps), "gangs", len(p.Verdicts), "unfinished", p.Unfinished)
	}
	if err := l.Executor.Execute(ctx, p); err != nil && ctx.Err() == nil {
		l.Log.Error(err, "Some steps failed; deciding again", "rev", p.Rev)
		return time.Second
	}
	l.Executor.Resume(ctx)
	switch {
	case goesOn:
		return time.Millisecond
	case p.Unfinished: // what is held for those that wait takes up all of the time: more has to change
		return time.Second
	case p.NextLook.IsZero():
		return longest
	}
	return min(longest, max(0, p.NextLook.Sub(s.Now))+time.Millisecond)
}

// awaitCloud holds decisions back until the cloud was read once: before that, every node's group is
// unknown, and what is coming could be bought twice.
func (l *Loop) awaitCloud(ctx context.Context) error {
	for !l.Mirror.Observed() {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Mirror.Changed():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
