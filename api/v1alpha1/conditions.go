package v1alpha1

// Types of the conditions of a CapacityRequest. The first three are reached in this
// order; Failed and Released end a request.
const (
	// ConditionAccepted is True once the intent is recorded and passed all bounds.
	ConditionAccepted = "Accepted"
	// ConditionProvisioned is True once every machine exists.
	ConditionProvisioned = "Provisioned"
	// ConditionReady is True while every node is usable. Its reason always tells
	// where the request stands, whatever its status.
	ConditionReady = "Ready"
	// ConditionFailed is True when the purchase was given up. What came of it is
	// given back; see Released.
	ConditionFailed = "Failed"
	// ConditionReleased is True when no node of the request is held for its gang
	// any more.
	ConditionReleased = "Released"
)

// ConditionScheduled is on a RayCluster or RayService: True while its gang has its minimum, else
// False with the dominant reason of its verdict and what was said when that came to be the reason.
// The numbers of the moment are in VerdictAnnotation.
const ConditionScheduled = "capmgr.io/Scheduled"

// ConditionFieldContention is on a RayCluster: True while somebody else writes the fields that
// capmgr writes, and capmgr has given way. Its message names them.
const ConditionFieldContention = "FieldContention"

// Reasons on the conditions of a CapacityRequest. The list is closed: clients and
// alerts may switch over it.
const (
	// ReasonRequested: the intent is recorded; the cloud may not have been asked yet.
	ReasonRequested = "Requested"
	// ReasonLaunched: every machine exists; they boot.
	ReasonLaunched = "Launched"
	// ReasonNodesUsable: every node is in the cluster with its GPUs advertised.
	ReasonNodesUsable = "NodesUsable"

	// ReasonInsufficientCapacity: the cloud has no such instances at the moment.
	ReasonInsufficientCapacity = "InsufficientCapacity"
	// ReasonPartialFill: fewer nodes came than the gang needs; they are given back.
	ReasonPartialFill = "PartialFill"
	// ReasonQuotaExceeded: the cloud account's own quota is used up. Another group
	// of the same quota would not help.
	ReasonQuotaExceeded = "QuotaExceeded"
	// ReasonProviderRefused: the cloud refused for a reason that trying again does
	// not mend, such as a missing permission or a bad launch template.
	ReasonProviderRefused = "ProviderRefused"
	// ReasonThrottled: the cloud took no calls for a part of the nodes for too long; the
	// others are given back.
	ReasonThrottled = "Throttled"
	// ReasonProvisionTimeout: the nodes did not become usable in time.
	ReasonProvisionTimeout = "ProvisionTimeout"
	// ReasonNodeDidNotFit: a node came up and the gang's pods do not fit it. The
	// pair of shape and group is not bought again until its back-off ends.
	ReasonNodeDidNotFit = "NodeDidNotFit"
	// ReasonNodeLost: a node that was usable left before the gang ran.
	ReasonNodeLost = "NodeLost"
	// ReasonPodsReplaced: pods that another autoscaler was shown are gone, and it is to be
	// shown those in their place.
	ReasonPodsReplaced = "PodsReplaced"

	// ReasonGangGone: the owner was deleted, suspended or finished.
	ReasonGangGone = "GangGone"
	// ReasonGangPlaced: the gang runs; its nodes are ordinary nodes from here on.
	ReasonGangPlaced = "GangPlaced"
	// ReasonNotNeeded: the gang found room elsewhere before the nodes came.
	ReasonNotNeeded = "NotNeeded"
	// ReasonNodesReturned: every node that came has been given back to the cloud.
	ReasonNodesReturned = "NodesReturned"
)

// CapacityRequestReasons is the closed list of reasons, in the order of a request's life.
func CapacityRequestReasons() []string {
	return []string{
		ReasonRequested, ReasonLaunched, ReasonNodesUsable,
		ReasonInsufficientCapacity, ReasonPartialFill, ReasonQuotaExceeded, ReasonProviderRefused, ReasonThrottled,
		ReasonProvisionTimeout, ReasonNodeDidNotFit, ReasonNodeLost, ReasonPodsReplaced,
		ReasonGangGone, ReasonGangPlaced, ReasonNotNeeded, ReasonNodesReturned,
	}
}
