package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultPriority is the priority of a queue that names none.
const DefaultPriority = 100

// Unlimited as a quota or a limit means that there is no bound.
const Unlimited = -1

// Queue is a share of the cluster's resources. Queues form a tree through
// spec.parentQueue; work runs in leaves only, and what a leaf uses counts in every
// queue above it.
//
// +kubebuilder:object:root=true
type Queue struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the administrator grants.
	Spec QueueSpec `json:"spec,omitempty"`
	// Status is what the scheduler last saw.
	Status QueueStatus `json:"status,omitempty,omitzero"`
}

// QueueList is a list of queues.
//
// +kubebuilder:object:root=true
type QueueList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the queues, in no promised order.
	Items []Queue `json:"items"`
}

// QueueSpec is what the administrator grants to a queue.
type QueueSpec struct {
	// DisplayName is the name that people see; it has no meaning to the scheduler.
	DisplayName string `json:"displayName,omitempty"`

	// ParentQueue is the name of the queue above; empty means a top queue.
	ParentQueue string `json:"parentQueue,omitempty"`

	// Resources are the shares. The field is a pointer because an object without
	// it is refused, not read as all zero.
	Resources *QueueResources `json:"resources,omitempty"`

	// Priority orders siblings: the higher queue is first to get surplus and to
	// have its work placed, and last to be reclaimed from. Absent means
	// DefaultPriority; EffectivePriority applies that.
	Priority *int `json:"priority,omitempty"`

	// PreemptMinRuntime protects work of this queue from more important work of
	// the same queue until it has run this long. Absent means no protection.
	PreemptMinRuntime *metav1.Duration `json:"preemptMinRuntime,omitempty"`

	// ReclaimMinRuntime protects work of this queue from other queues until it has
	// run this long. Absent means no protection.
	ReclaimMinRuntime *metav1.Duration `json:"reclaimMinRuntime,omitempty"`
}

// EffectivePriority is the priority that counts: the one named, else DefaultPriority.
func (s *QueueSpec) EffectivePriority() int {
	if s.Priority == nil {
		return DefaultPriority
	}
	return *s.Priority
}

// QueueResources are the shares of a queue, each in its own unit.
type QueueResources struct {
	// GPU is counted in devices; fractions are allowed, 0.5 is half a device.
	GPU QueueResource `json:"gpu,omitempty,omitzero"`

	// CPU is counted in millicores: 1000 is one core. A quota of 8 is eight
	// thousandths of a core, which is hardly ever what was meant.
	CPU QueueResource `json:"cpu,omitempty,omitzero"`

	// Memory is counted in units of 10^6 bytes (not 2^20): 1000 is one gigabyte.
	Memory QueueResource `json:"memory,omitempty,omitzero"`
}

// QueueResource is the share of one resource. A field that is not set counts as
// zero: no quota guarantees nothing, no limit allows nothing, no weight earns no
// surplus. Unlimited (-1) lifts a quota or a limit.
type QueueResource struct {
	// Quota is guaranteed: what a queue uses up to it is not reclaimed by others.
	Quota float64 `json:"quota,omitempty"`

	// OverQuotaWeight is the share of unused resources that this queue gets,
	// relative to the weights of its siblings of the same priority.
	OverQuotaWeight float64 `json:"overQuotaWeight,omitempty"`

	// Limit is the most that the queue, with everything below it, may ever use.
	Limit float64 `json:"limit,omitempty"`
}
