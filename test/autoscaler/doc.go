// Package autoscaler plays the other autoscaler in a cluster whose nodes KWOK plays: a stock Cluster
// Autoscaler that answers ProvisioningRequests, and either it or Karpenter as they look for pods that
// wait. It does what they are documented to do, as far as capmgr can see it, and no more:
//
//   - one ProvisioningRequest per loop, the oldest that is due; Accepted before it is tried
//   - class best-effort-atomic-scale-up: all pods in one node group, after what fits on the nodes that
//     are there; Provisioned as soon as the cloud is asked, before any machine exists, and never looked
//     at again, whatever comes of it; Provisioned=False for want of capacity, tried again later
//   - class check-capacity: whether the nodes that are there have room; it makes none
//   - any other class is somebody else's
//   - a request's room is kept for a while after it was provisioned: BookingExpired
//   - of pods that wait it makes nodes for those whose condition PodScheduled is False with the reason
//     Unschedulable, that are not nominated to a node that exists, and that consume no request
//   - nodes that are coming count as room; idle nodes are removed, unless an annotation says no
package autoscaler
