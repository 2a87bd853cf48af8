package execute

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
)

// settle records how far a CapacityRequest has come. It returns false when that has to be said again.
func (e *Executor) settle(ctx context.Context, s plan.Settle) (done bool, err error) {
	r := e.Mirror.Request(s.Namespace, s.Request)
	if r == nil || isTrue(r, string(s.State)) {
		return true, nil // gone, or said before
	}
	if s.State != plan.RequestReady && e.delegates(r) {
		e.finish(ctx, r, s)
		return false, nil
	}
	if s.State != plan.RequestReady && !isTrue(r, v1alpha1.ConditionProvisioned) && !isTrue(r, v1alpha1.ConditionFailed) {
		// What the launch brought is not written down yet. A request that is over is never looked at
		// again: were this process to die now, nobody would give back what came of a failed launch.
		return false, nil
	}
	e.tellFailure(r, s)
	err = e.patchStatus(ctx, r, func(st *v1alpha1.CapacityRequestStatus) {
		if s.State == plan.RequestReady {
			st.ReadyNodes = r.Spec.TotalNodes()
		}
		learn(st, s.Boots)
	}, conclusion(r, s)...)
	return err == nil, err
}

// tellFailure tells the users of a request that it has failed.
func (e *Executor) tellFailure(r *v1alpha1.CapacityRequest, s plan.Settle) {
	if s.State == plan.RequestFailed {
		e.event(plan.Owner{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CapacityRequest", Namespace: r.Namespace, Name: r.Name, UID: string(r.UID)},
			"Warning", s.Reason, s.Message)
	}
}

// conclusion is what a decision says of a request, as conditions.
func conclusion(r *v1alpha1.CapacityRequest, s plan.Settle) []metav1.Condition {
	conditions := []metav1.Condition{condition(string(s.State), true, s.Reason, s.Message)}
	switch s.State {
	case plan.RequestReady:
	case plan.RequestFailed:
		// The nodes stay in their group as ordinary ones, to be used or released by the next plans.
		conditions = append(conditions, condition(v1alpha1.ConditionReleased, true, s.Reason, "the booking is over"),
			condition(v1alpha1.ConditionReady, false, s.Reason, s.Message))
	case plan.RequestReleased:
		// The reason of Ready tells where the request stands; whether it came to be ready stays.
		conditions = append(conditions, condition(v1alpha1.ConditionReady, isTrue(r, v1alpha1.ConditionReady), s.Reason, s.Message))
	}
	return conditions
}

// learn writes down how long the nodes took: the next decisions expect the same of their groups.
func learn(st *v1alpha1.CapacityRequestStatus, boots []plan.Boot) {
	for _, b := range boots {
		for k := range st.Nodes {
			if st.Nodes[k].NodeGroup == b.Group {
				st.Nodes[k].BootTime = &metav1.Duration{Duration: b.Took.Round(time.Second)}
			}
		}
	}
}

func condition(kind string, is bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: brief(message)}
}

// brief cuts a message to what the schema allows: a status is for reading, not for archives.
func brief(message string) string {
	const longest = 1024
	if len(message) > longest {
		return message[:longest]
	}
	return message
}

func isTrue(r *v1alpha1.CapacityRequest, condition string) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, condition)
}

// setStatus writes a status that must not be lost, for as long as ctx lives.
func (e *Executor) setStatus(ctx context.Context, r *v1alpha1.CapacityRequest, change func(*v1alpha1.CapacityRequestStatus), conditions ...metav1.Condition) {
	for pace := again; ; {
		err := e.patchStatus(ctx, r, change, conditions...)
		if err == nil {
			return
		}
		e.Log.Info("Writing the status of a CapacityRequest failed; trying again", "request", r.Name, "reason", err.Error())
		if !sleep(ctx, pace.Step()) {
			return
		}
	}
}

// patchStatus changes the latest version of a request's status. A request that is gone is not an
// error: its owner went and took it along.
func (e *Executor) patchStatus(ctx context.Context, r *v1alpha1.CapacityRequest, change func(*v1alpha1.CapacityRequestStatus), conditions ...metav1.Condition) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		fresh := &v1alpha1.CapacityRequest{}
		if err := e.Client.Get(ctx, client.ObjectKeyFromObject(r), fresh); err != nil {
			return err
		}
		if fresh.UID != r.UID {
			return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("capacityrequests").GroupResource(), r.Name)
		}
		if change != nil {
			change(&fresh.Status)
		}
		fresh.Status.ObservedGeneration = fresh.Generation
		fresh.Status.Summary, fresh.Status.TotalNodes = fresh.Spec.GroupNames(), fresh.Spec.TotalNodes()
		accepted := condition(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonRequested, "the intent is recorded")
		for _, c := range append([]metav1.Condition{accepted}, conditions...) {
			c.ObservedGeneration, c.LastTransitionTime = fresh.Generation, metav1.NewTime(e.Now())
			meta.SetStatusCondition(&fresh.Status.Conditions, c)
		}
		if err := e.Client.Status().Update(ctx, fresh); err != nil {
			return err
		}
		e.Mirror.AssumeRequest(fresh)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write status of CapacityRequest %s/%s: %w", r.Namespace, r.Name, err)
	}
	return nil
}
