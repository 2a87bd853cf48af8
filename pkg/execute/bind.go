package execute

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

const (
	// bindParallel is how many binds are under way at once: enough to keep an API server busy,
	// few enough for its default fairness level.
	bindParallel = 24
	// refusedFor and refusedMost are how long a gang waits after the API server refused one of its
	// binds: first, and at most after refusals in a row.
	refusedFor, refusedMost = 15 * time.Second, 5 * time.Minute
)

// bindAll binds gangs in the order of the plan. Each is reserved whole before any of its pods is
// bound; a gang that cannot be reserved any more is left out and decided anew. Pods that were refused
// before go first: if they are refused again, there is nothing to take back.
func (e *Executor) bindAll(ctx context.Context, binds []plan.Bind, p *plan.Plan) error {
	results := make([]bindResult, len(binds))
	for k, b := range binds {
		if e.reserve(b) {
			results[k].begin(&binds[k], e.Mirror.Gang(b.Gang.Gang()), e.refusals[b.Gang.Gang()])
		}
	}
	for range 2 {
		var group errgroup.Group
		group.SetLimit(bindParallel)
		for k := range results {
			r := &results[k]
			for _, a := range r.turn() {
				group.Go(func() error {
					r.add(a, e.bindPod(ctx, a, r.minimum))
					return nil
				})
			}
		}
		_ = group.Wait() // errors are collected per gang
	}
	var errs []error
	for k := range results {
		switch r := &results[k]; {
		case r.bind == nil:
		case len(r.failed) > 0:
			errs = append(errs, e.repair(ctx, r))
		default:
			delete(e.refusals, r.bind.Gang.Gang())
			if !p.EvictsFor(r.bind.Gang) {
				e.Mirror.ForgetEviction(r.bind.Gang.Gang())
			}
			e.announce(r.bind)
		}
	}
	return errors.Join(errs...)
}

// announce tells the users of a gang where its pods went.
func (e *Executor) announce(b *plan.Bind) {
	const most = 8 // an event is one line
	var pods []string
	for k, a := range b.Assignments {
		if k == most {
			pods = append(pods, fmt.Sprintf("and %d more", len(b.Assignments)-most))
			break
		}
		pods = append(pods, a.Pod+" to "+a.Node)
	}
	e.Log.Info("Bound pods", "gang", b.Gang.String(), "queue", b.Queue, "pods", len(b.Assignments))
	e.event(b.Gang, "Normal", "Scheduled", fmt.Sprintf("Bound %s in one decision: %s", count(len(b.Assignments)), strings.Join(pods, ", ")))
}

// reserve checks every assignment of a gang against what is known by now and assumes them all, or
// none.
func (e *Executor) reserve(b plan.Bind) bool {
	for _, a := range b.Assignments {
		if why := e.Mirror.Unbindable(types.UID(a.UID), a.Node); why != "" {
			e.Log.V(1).Info("Left out a bind that was overtaken", "gang", b.Gang.String(), "pod", a.Pod, "reason", why)
			return false
		}
	}
	for _, a := range b.Assignments {
		e.Mirror.AssumeBound(types.UID(a.UID), a.Node)
	}
	return true
}

// bindPod binds one pod. The API server refuses when the pod is another one by now (UID) or bound; what
// the gang needs goes onto the pod with the bind, for whoever finds the gang in part.
func (e *Executor) bindPod(ctx context.Context, a plan.Assignment, minimum string) error {
	var annotations map[string]string
	if minimum != "" {
		annotations = map[string]string{v1alpha1.BoundMinimumAnnotation: minimum}
	}
	err := e.Kube.CoreV1().Pods(a.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: a.Pod, UID: types.UID(a.UID), Annotations: annotations},
		Target:     corev1.ObjectReference{Kind: "Node", Name: a.Node},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("bind %s/%s to %s: %w", a.Namespace, a.Pod, a.Node, err)
	}
	return nil
}

// bindResult is what becomes of one gang's binds.
type bindResult struct {
	mu      sync.Mutex
	bind    *plan.Bind
	minimum string            // see BoundMinimumAnnotation
	first   []plan.Assignment // to be bound in this turn, and in the next
	then    []plan.Assignment
	bound   []plan.Assignment
	failed  []plan.Assignment
	errs    []error
}

func (r *bindResult) begin(b *plan.Bind, g *snapshot.Gang, before *refusal) {
	r.bind, r.minimum = b, ray.FormatMinimum(g)
	for _, a := range b.Assignments {
		if before != nil && before.pods[a.UID] {
			r.first = append(r.first, a)
		} else {
			r.then = append(r.then, a)
		}
	}
}

// turn takes what is to be bound now: nothing more when something has failed.
func (r *bindResult) turn() (now []plan.Assignment) {
	if len(r.failed) > 0 {
		return nil
	}
	if len(r.first) == 0 {
		r.first, r.then = r.then, nil
	}
	now, r.first = r.first, nil
	return now
}

func (r *bindResult) add(a plan.Assignment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed, r.errs = append(r.failed, a), append(r.errs, err)
		return
	}
	r.bound = append(r.bound, a)
}

// repair deals with a gang that was bound in part. Where the API server was merely away or the pod
// changed, the next decision completes the gang on the room that is still assumed for it. Where the
// server refuses for good, the members that were bound are evicted, so that no half of a gang stays,
// and the gang waits before it is tried again.
func (e *Executor) repair(ctx context.Context, r *bindResult) error {
	for _, a := range r.then { // not tried
		e.Mirror.Forget(types.UID(a.UID))
	}
	for k, a := range r.failed {
		if answered(r.errs[k]) {
			e.Mirror.Forget(types.UID(a.UID))
			continue
		}
		e.once("verify "+a.UID, func() { e.verify(ctx, a) })
	}
	if refused(r.errs) {
		e.rollBack(ctx, r)
	}
	return errors.Join(r.errs...)
}

// answered says whether the API server said that a bind did not happen. A lost connection, a time-out
// or a server in trouble says nothing: the bind may have been made.
func answered(err error) bool {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonNotFound, metav1.StatusReasonConflict, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid,
		metav1.StatusReasonBadRequest, metav1.StatusReasonUnauthorized, metav1.StatusReasonTooManyRequests:
		return true
	default:
		return false
	}
}

// verify finds out what became of a bind whose answer was lost. Until then it is assumed to have been
// made: room that may be taken must not be given to others.
func (e *Executor) verify(ctx context.Context, a plan.Assignment) {
	for pace := again; ; {
		pod, err := e.Kube.CoreV1().Pods(a.Namespace).Get(ctx, a.Pod, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && (string(pod.UID) != a.UID || pod.Spec.NodeName == ""):
			e.Mirror.Forget(types.UID(a.UID))
			return
		case err == nil:
			return // it was made; the watch will show it
		}
		if !sleep(ctx, pace.Step()) {
			return
		}
	}
}

// refused says whether any bind was rejected for what it is, rather than for when it came.
func refused(errs []error) bool {
	for _, err := range errs {
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return true
		}
	}
	return false
}
