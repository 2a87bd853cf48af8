package v2

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// QueueConditionType names a condition of a queue.
type QueueConditionType string

const (
	// QueueOrphan is True while the parent that the queue names does not exist, or
	// while following parents leads in a circle. Nothing runs in such a queue.
	QueueOrphan QueueConditionType = "Orphan"

	// QueueOverQuota is True while the queue uses more than its quota of some resource.
	QueueOverQuota QueueConditionType = "OverQuota"

	// QueueActive is True while work in the queue is considered for placement; its
	// reason says why not otherwise, or names non-preemptible work that keeps the
	// queue above a limit that was lowered.
	QueueActive QueueConditionType = "Active"
)

// QueueStatus is what the scheduler last saw of a queue and of everything below it.
// Quantities are ordinary Kubernetes quantities (cores, bytes), unlike those of the
// spec; keys are the resource names used by pods.
type QueueStatus struct {
	// Conditions hold one entry per type.
	Conditions []QueueCondition `json:"conditions,omitempty"`

	// ChildQueues are the names of the queues that name this one as their parent, sorted.
	ChildQueues []string `json:"childQueues,omitempty"`

	// Allocated is what running work holds.
	Allocated corev1.ResourceList `json:"allocated,omitempty"`

	// AllocatedNonPreemptible is the part of Allocated that may not be evicted.
	AllocatedNonPreemptible corev1.ResourceList `json:"allocatedNonPreemptible,omitempty"`

	// Requested is what running and waiting work asks for.
	Requested corev1.ResourceList `json:"requested,omitempty"`
}

// QueueCondition is one condition of a queue. It is not a metav1.Condition, because
// the published schema has a probe time and no observed generation.
type QueueCondition struct {
	// Type is unique within a queue.
	Type QueueConditionType `json:"type"`
	// Status is True, False or Unknown.
	Status corev1.ConditionStatus `json:"status"`
	// LastProbeTime is in the schema for other writers; capmgr leaves it unset,
	// because a time that moves by itself would rewrite every status in every cycle.
	LastProbeTime metav1.Time `json:"lastProbeTime,omitempty,omitzero"`
	// LastTransitionTime is when Status last changed.
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitempty,omitzero"`
	// Reason is one CamelCase word for the last transition.
	Reason string `json:"reason,omitempty"`
	// Message says the same to a person.
	Message string `json:"message,omitempty"`
}
