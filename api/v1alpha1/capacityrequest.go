package v1alpha1

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// CapacityRequest is the record of one purchase of nodes for one gang. It is
// written before the cloud is asked, so that a manager that crashed in between
// finds here what to finish or undo; and it is where a user sees what was bought.
// It lives beside the gang's owner, is owned by it, and only the manager writes it.
//
// +kubebuilder:object:root=true
type CapacityRequest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the intent. It never changes: another attempt is another object.
	Spec CapacityRequestSpec `json:"spec"`
	// Status is how far the purchase has come.
	Status CapacityRequestStatus `json:"status,omitempty,omitzero"`
}

// CapacityRequestList is a list of requests.
//
// +kubebuilder:object:root=true
type CapacityRequestList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the requests, in no promised order.
	Items []CapacityRequest `json:"items"`
}

// CapacityRequestSpec says what is bought, and for whom.
type CapacityRequestSpec struct {
	// Gang is the top owner of the pods that the nodes are for.
	Gang GangReference `json:"gang"`

	// Queue is the queue that the purchase counts against; empty for the minNodes of a group.
	Queue string `json:"queue"`

	// Attempt counts the purchases tried for this gang, from 1.
	Attempt int32 `json:"attempt"`

	// Nodes are acquired all or none; each group appears once.
	Nodes []NodeRequest `json:"nodes"`

	// HourlyCost is the price of all the nodes, in dollars per hour, for people to
	// read. Budgets are computed from the configured prices, not from here.
	HourlyCost string `json:"hourlyCost,omitempty"`
}

// GangReference names the top owner of a gang in the request's own namespace. A
// purchase that keeps capacity warm is for no gang: it names the Queue whose minGPUs,
// or the NodeGroup of the configuration whose minNodes, asked for it, and lives in
// the manager's namespace.
type GangReference struct {
	// APIVersion of the owner, such as ray.io/v1.
	APIVersion string `json:"apiVersion"`
	// Kind of the owner, such as RayCluster.
	Kind string `json:"kind"`
	// Name of the owner.
	Name string `json:"name"`
	// UID of the owner: an owner made anew under the same name is another gang.
	UID types.UID `json:"uid"`
}

// Kinds of what keeps capacity warm, and the API versions that they are named with.
const (
	QueueKind           = "Queue"
	QueueAPIVersion     = "scheduling.run.ai/v2"
	NodeGroupKind       = "NodeGroup"
	NodeGroupAPIVersion = ConfigurationAPIVersion
)

// KeepsWarm says that the nodes are for nobody in particular.
func (g *GangReference) KeepsWarm() bool {
	return g.Kind == QueueKind && g.APIVersion == QueueAPIVersion ||
		g.Kind == NodeGroupKind && g.APIVersion == NodeGroupAPIVersion
}

// NodeRequest is the part of a purchase that goes to one group.
type NodeRequest struct {
	// NodeGroup is the configured name of the group.
	NodeGroup string `json:"nodeGroup"`

	// Count of nodes, 1 to 1000 (the most that one call of any provider takes).
	Count int32 `json:"count"`

	// Zone that the nodes must come up in; empty where the group decides.
	Zone string `json:"zone,omitempty"`

	// ClientToken makes repeating the call harmless: at most 64 printable ASCII
	// characters, the same on every repetition and new for every attempt.
	ClientToken string `json:"clientToken"`

	// Pods are those that the nodes are for, where another autoscaler has to be told:
	// empty for groups that the manager grows by itself.
	Pods []PodReference `json:"pods,omitempty"`
}

// PodReference names a pod in the request's own namespace, and which of the nodes is for it.
type PodReference struct {
	// Name of the pod.
	Name string `json:"name"`
	// UID of the pod: one made anew under the same name is another pod.
	UID types.UID `json:"uid"`
	// Node counts the nodes of the group from 0, in the order in which they come.
	Node int32 `json:"node"`
}

// TotalNodes is the number of nodes over all groups.
func (s *CapacityRequestSpec) TotalNodes() int32 {
	var total int32
	for _, n := range s.Nodes {
		total += n.Count
	}
	return total
}

// GroupNames are the names of the groups, sorted and joined by commas, for people to read.
func (s *CapacityRequestSpec) GroupNames() string {
	names := make([]string, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		names = append(names, n.NodeGroup)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// CapacityRequestStatus is how far a purchase has come.
type CapacityRequestStatus struct {
	// ObservedGeneration is the generation of the spec that this status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions hold one entry per type: Accepted, Provisioned, Ready, Failed, Released.
	// The reason of Ready tells in one word where the purchase stands.
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Nodes are what came of the purchase; each group appears once.
	Nodes []NodeStatus `json:"nodes,omitempty"`

	// ReadyNodes counts nodes that are usable: in the cluster, untainted by boot,
	// GPUs advertised.
	ReadyNodes int32 `json:"readyNodes,omitempty"`

	// TotalNodes repeats the sum of the spec's counts: a printer column cannot add.
	TotalNodes int32 `json:"totalNodes,omitempty"`

	// Summary repeats the spec's group names, joined: a printer column shows one value only.
	Summary string `json:"summary,omitempty"`
}

// NodeStatus is what came of the part of a purchase that went to one group.
type NodeStatus struct {
	// NodeGroup is the configured name of the group.
	NodeGroup string `json:"nodeGroup"`

	// Instances are the provider's ids of what was delivered, sorted; the names of nodes
	// where another autoscaler makes them.
	Instances []string `json:"instances,omitempty"`

	// Message is what the provider answered, where it is worth reading.
	Message string `json:"message,omitempty"`

	// Refusal is set when the provider did not deliver. Every group of the same
	// market is then left alone for a while, whichever queue asks.
	Refusal *Refusal `json:"refusal,omitempty"`

	// BootTime is the time from launch to usable of the slowest of these nodes. It is
	// absent where the manager did not watch the whole boot.
	BootTime *metav1.Duration `json:"bootTime,omitempty"`
}

// Refusal is what the cloud had none of, and when it said so.
type Refusal struct {
	// Reason is InsufficientCapacity, QuotaExceeded, Throttled or ProviderRefused.
	Reason string `json:"reason"`
	// InstanceType such as g5.xlarge.
	InstanceType string `json:"instanceType,omitempty"`
	// Zone such as us-east-1a; empty for a group that spans zones.
	Zone string `json:"zone,omitempty"`
	// CapacityType is on-demand or spot.
	CapacityType string `json:"capacityType,omitempty"`
	// At is when the answer came.
	At metav1.Time `json:"at"`
}
