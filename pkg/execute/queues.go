package execute

import (
	"context"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// queueEvery is the least time between two writes of one queue's status: while a large gang is being
// bound the numbers change with every pod.
const queueEvery = time.Second

// reportQueues writes the statuses that have changed.
func (e *Executor) reportQueues(ctx context.Context, reports []plan.QueueReport) {
	if e.queueWritten == nil {
		e.queueWritten = map[string]time.Time{}
	}
	now := e.Now()
	for _, r := range reports {
		q := e.Mirror.Queue(r.Name)
		if q == nil || now.Sub(e.queueWritten[r.Name]) < queueEvery {
			continue
		}
		status := queueStatus(q.Status, r, now)
		if equality.Semantic.DeepEqual(status, q.Status) {
			continue
		}
		e.queueWritten[r.Name] = now
		e.once("queue "+r.Name, func() {
			if err := e.writeQueue(ctx, q, status); err != nil && ctx.Err() == nil {
				e.Log.V(1).Info("Could not write the status of a queue", "queue", q.Name, "reason", err.Error())
			}
		})
	}
}

func (e *Executor) writeQueue(ctx context.Context, q *queuev2.Queue, status queuev2.QueueStatus) error {
	// An update of the subresource, not a merge patch: amounts that are gone must go, and a writer
	// that came in between shows as a conflict and is met with fresh numbers.
	object := q.DeepCopy()
	object.Status = status
	if err := e.Client.Status().Update(ctx, object); err != nil {
		return fmt.Errorf("write status of queue %s: %w", q.Name, err)
	}
	return nil
}

// queueStatus is the status that a report asks for. Conditions that did not change keep their time.
func queueStatus(old queuev2.QueueStatus, r plan.QueueReport, now time.Time) queuev2.QueueStatus {
	s := queuev2.QueueStatus{
		ChildQueues: r.Children, Conditions: append([]queuev2.QueueCondition(nil), old.Conditions...),
		Allocated:               resourceList(r.Allocated),
		AllocatedNonPreemptible: resourceList(r.NonPreemptible),
		Requested:               resourceList(r.Requested),
	}
	active, orphan := "Accepted", "ParentFound"
	if r.OverLimit != "" {
		active = "AboveLimit"
	}
	if r.Invalid != "" {
		active, orphan = "Misconfigured", "ParentUnusable"
	}
	overReason, overMessage := "WithinQuota", ""
	if r.OverQuota != "" {
		overReason, overMessage = "UsesMoreThanQuota", "it uses more "+r.OverQuota+" than its quota"
	}
	set(&s, queuev2.QueueActive, r.Invalid == "", active, r.Invalid+r.OverLimit, now)
	set(&s, queuev2.QueueOrphan, r.Invalid != "", orphan, r.Invalid, now)
	set(&s, queuev2.QueueOverQuota, r.OverQuota != "", overReason, overMessage, now)
	return s
}

func set(s *queuev2.QueueStatus, kind queuev2.QueueConditionType, is bool, reason, message string, now time.Time) {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	next := queuev2.QueueCondition{Type: kind, Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))}
	for k, c := range s.Conditions {
		if c.Type != kind {
			continue
		}
		if c.Status == status {
			next.LastTransitionTime = c.LastTransitionTime
		}
		if !reflect.DeepEqual(c, next) {
			s.Conditions[k] = next
		}
		return
	}
	s.Conditions = append(s.Conditions, next)
}

// resourceList writes amounts as Kubernetes does; what is zero is left out.
func resourceList(r snapshot.Resources) corev1.ResourceList {
	out := corev1.ResourceList{}
	if r.MilliCPU != 0 {
		out[corev1.ResourceCPU] = *resource.NewMilliQuantity(r.MilliCPU, resource.DecimalSI)
	}
	if r.Memory != 0 {
		out[corev1.ResourceMemory] = *resource.NewQuantity(r.Memory, resource.BinarySI)
	}
	if r.MilliGPU != 0 {
		out[v1alpha1.GPUResource] = *resource.NewMilliQuantity(r.MilliGPU, resource.DecimalSI)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
