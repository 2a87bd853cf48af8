package v1alpha1

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Providers that have another autoscaler make the nodes, and remove them.
const (
	// ProviderProvisioningRequest asks a stock Cluster Autoscaler by a ProvisioningRequest.
	ProviderProvisioningRequest Provider = "provisioning-request"
	// ProviderSignal asks a stock Cluster Autoscaler or Karpenter by the condition that it
	// looks for: PodScheduled is False with the reason Unschedulable.
	ProviderSignal Provider = "signal"
)

// BestEffortAtomicClass is the provisioning class with which Cluster Autoscaler makes nodes.
const BestEffortAtomicClass = "best-effort-atomic-scale-up.autoscaling.x-k8s.io"

// ProvisioningRequestNodeGroup is a group that Cluster Autoscaler grows on request.
type ProvisioningRequestNodeGroup struct {
	// ClassName is the provisioning class. Default
	// best-effort-atomic-scale-up.autoscaling.x-k8s.io.
	ClassName string `json:"className,omitempty"`

	// NodeSelector is what tells the group's nodes from all others, and what the request
	// asks for. A kubelet may write most labels of its own node: take one that it may not,
	// below node-restriction.kubernetes.io/, or one that the cloud's controllers write.
	NodeSelector map[string]string `json:"nodeSelector"`

	// Parameters of the class, as the ProvisioningRequest takes them: at most 100, of at
	// most 255 characters each.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// SignalNodeGroup is a group that an autoscaler grows when it sees pods that it could help.
type SignalNodeGroup struct {
	// NodeSelector is what tells the group's nodes from all others; see
	// ProvisioningRequestNodeGroup.
	NodeSelector map[string]string `json:"nodeSelector"`
}

// NodeCapacity is what one node offers to pods: its allocatable, which is less than what
// the machine has.
type NodeCapacity struct {
	// CPU such as 3920m.
	CPU resource.Quantity `json:"cpu"`
	// Memory such as 14162Mi.
	Memory resource.Quantity `json:"memory"`
	// GPUs in devices. Default 0.
	GPUs int64 `json:"gpus,omitempty"`
	// Pods is how many the kubelet takes.
	Pods int64 `json:"pods"`
}

// Delegated says whether another autoscaler makes the group's nodes, and removes them.
func (g *NodeGroup) Delegated() bool {
	return g.Provider == ProviderProvisioningRequest || g.Provider == ProviderSignal
}

// NodeSelector tells the nodes of a delegated group; nil for other groups.
func (g *NodeGroup) NodeSelector() map[string]string {
	switch {
	case g.Provider == ProviderProvisioningRequest && g.ProvisioningRequest != nil:
		return g.ProvisioningRequest.NodeSelector
	case g.Provider == ProviderSignal && g.Signal != nil:
		return g.Signal.NodeSelector
	}
	return nil
}

// covers says whether every node with the labels of other has those of selector too.
func covers(selector, other map[string]string) bool {
	for key, value := range selector {
		if got, there := other[key]; !there || got != value {
			return false
		}
	}
	return true
}

// sure are the labels that each node of a delegated group is sure to carry.
func (g *NodeGroup) sure() map[string]string {
	labels := maps.Clone(g.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, g.NodeSelector())
	return labels
}
