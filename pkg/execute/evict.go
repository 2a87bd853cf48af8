package execute

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/plan"
)

// evictAll ends pods through the Eviction API, so that disruption budgets hold. What a budget keeps
// stays, and the gang that needed its room waits.
func (e *Executor) evictAll(ctx context.Context, steps []plan.Evict) error {
	e.rememberEvictions(ctx, steps)
	var group errgroup.Group
	group.SetLimit(bindParallel)
	var mu sync.Mutex
	var errs []error
	done := make([][]types.UID, len(steps))
	for k, s := range steps {
		for _, p := range s.Pods {
			group.Go(func() error {
				err := e.evict(ctx, p)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done[k] = append(done[k], types.UID(p.UID))
				case guarded(err):
					e.tellGuarded(s, p, err)
				default:
					errs = append(errs, err)
				}
				return nil
			})
		}
	}
	_ = group.Wait() // errors are collected
	for k, s := range steps {
		e.Mirror.AssumeEvicted(done[k])
		if len(done[k]) == 0 {
			continue
		}
		e.Log.Info("Evicted pods", "gang", s.Gang.String(), "queue", s.Queue, "pods", len(done[k]), "whole", s.Whole, "reason", s.Because)
		e.event(s.Gang, "Warning", "Preempted", fmt.Sprintf("Evicted %s %s", count(len(done[k])), s.Because))
	}
	return errors.Join(errs...)
}

// guarded says whether a disruption budget is what keeps a pod. Trying again does not help: the budget has
// to change, and that is seen.
func guarded(err error) bool { return apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) }

// tellGuarded tells those who wait for room that a disruption budget keeps a pod where it is.
func (e *Executor) tellGuarded(s plan.Evict, p plan.PodRef, err error) {
	whom := s.For
	if whom.UID == "" {
		whom = s.Gang
	}
	e.Log.Info("A disruption budget keeps a pod", "pod", p.Namespace+"/"+p.Name, "gang", s.Gang.String(), "for", whom.String(), "reason", err.Error())
	e.event(whom, "Warning", "EvictionRefused", fmt.Sprintf("Pod %s/%s of %s stays: a disruption budget allows no eviction of it now", p.Namespace, p.Name, s.Gang))
}

// rememberEvictions notes for whom others are about to be evicted, and leaves it to a successor. It counts
// also when nothing can be evicted: trying again at once would meet the same disruption budget.
func (e *Executor) rememberEvictions(ctx context.Context, steps []plan.Evict) {
	some := false
	for _, s := range steps {
		if s.For.UID != "" {
			some = true
			e.Mirror.RememberEviction(s.For.Gang(), e.Now())
		}
	}
	if !some {
		return
	}
	if err := e.keep(ctx); err != nil && ctx.Err() == nil {
		e.Log.Info("Could not write for whom others are evicted; a manager that takes over may evict again", "reason", err.Error())
	}
}

// evict ends one pod, if it is still the one that was meant.
func (e *Executor) evict(ctx context.Context, p plan.PodRef) error {
	err := e.Kube.CoreV1().Pods(p.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(p.UID)},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evict %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

func count(pods int) string {
	if pods == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", pods)
}
