package v1alpha1

// Keys of KAI Scheduler, Ray and the classic manifests, read as they are found. The
// values are written by users: what they claim is checked before it counts.
const (
	// QueueLabel, on a pod or its owner, names the leaf queue.
	QueueLabel = "kai.scheduler/queue"
	// LegacyQueueLabel is what QueueLabel was called before it was renamed.
	LegacyQueueLabel = "runai/queue"
	// PriorityClassLabel, on a pod or its owner, names a PriorityClass for the gang.
	PriorityClassLabel = "priorityClassName"
	// RayPriorityClassLabel, on the top Ray owner, does the same and wins.
	RayPriorityClassLabel = "ray.io/priority-class-name"
	// PreemptibilityLabel is "preemptible" or "non-preemptible" and overrides what
	// follows from the priority.
	PreemptibilityLabel = "kai.scheduler/preemptibility"
	// GPUFractionAnnotation, on a pod, asks for a part of one device: "0.5".
	GPUFractionAnnotation = "gpu-fraction"
	// GPUMemoryAnnotation, on a pod, asks for device memory in MiB: "2000".
	GPUMemoryAnnotation = "gpu-memory"
	// GPUGroupLabel is set by the scheduler on pods that share a device; equal
	// values on one node mean the same device.
	GPUGroupLabel = "runai-gpu-group"
	// StalenessGraceAnnotation, on a gang's owner, is a Go duration: how long the
	// gang may run below its minimum before it is evicted whole. Negative: for ever.
	StalenessGraceAnnotation = "kai.scheduler/staleness-grace-period"
	// BatchMinMemberAnnotation, on a Job, makes a gang of that many pods.
	BatchMinMemberAnnotation = "kai.scheduler/batch-min-member"
)

// Annotations of capmgr on the owners of gangs, on queues and on nodes.
const (
	// VerdictAnnotation, on a gang's top owner, holds the last verdict as JSON:
	// why the gang runs or waits, and what is being done. Written by capmgr only.
	VerdictAnnotation = "capmgr.io/verdict"
	// MinReplicasAnnotation, on a RayCluster, sets the smallest size of worker
	// groups, "group=n,group=n", over what minReplicas says. It counts when a gang
	// starts; the minimum of a running gang never rises.
	MinReplicasAnnotation = "capmgr.io/min-replicas"
	// ZonesAnnotation, on a gang's owner, with the value AnyZone, lets the nodes that
	// are bought for its GPU pods be in several zones. Absent: one zone per gang,
	// because traffic between zones is slow and paid for.
	ZonesAnnotation = "capmgr.io/zones"
	// AnyZone is the value of ZonesAnnotation.
	AnyZone = "any"
	// ShapeLabel, on a CapacityRequest, is equal for gangs that ask for the same
	// groups of the same pods: what did not fit one of them fits none.
	ShapeLabel = "capmgr.io/shape"
	// BoundMinimumAnnotation, on a pod of a gang, is what the gang needed of every group
	// when the pod was bound, "group=n,group=n". It comes with the bind itself, so that a
	// manager that finds a gang running in part knows whether members are missing or the
	// gang has only grown. Written by capmgr only.
	BoundMinimumAnnotation = "capmgr.io/bound-minimum"
	// DesiredReplicasAnnotation, on a RayCluster, keeps the replicas that the user
	// wished for, "group=n,group=n", while capmgr grants fewer, or more.
	DesiredReplicasAnnotation = "capmgr.io/desired-replicas"
	// DesiredMaxReplicasAnnotation, on a RayCluster with in-tree autoscaling, keeps
	// the user's maxReplicas, "group=n,group=n", while capmgr holds them lower.
	DesiredMaxReplicasAnnotation = "capmgr.io/desired-max-replicas"
	// WorkersAnnotation, on a RayCluster, is capmgr's own record as JSON: what it last
	// wrote into each worker group, and which workers it named. What differs from it
	// was written by somebody else.
	WorkersAnnotation = "capmgr.io/workers"
	// ContentionAnnotation, on a RayCluster, is capmgr's own record as JSON of who
	// writes the same fields, and until when capmgr leaves them alone.
	ContentionAnnotation = "capmgr.io/contention"
	// ElasticAnnotation, on a RayCluster or the RayJob or RayService above it, with the
	// value ElasticOpportunistic, lets worker groups grow beyond the replicas that were
	// asked for, up to maxReplicas, on room that is there; nothing is bought for it.
	ElasticAnnotation = "capmgr.io/elastic"
	// ElasticOpportunistic is the value of ElasticAnnotation.
	ElasticOpportunistic = "opportunistic"
	// HoldAnnotation, on a RayJob, with the value HoldSuspend, keeps the job suspended,
	// without pods, until it is granted. Absent: as the configuration says of its queue.
	HoldAnnotation = "capmgr.io/hold"
	// HoldSuspend is the value of HoldAnnotation.
	HoldSuspend = "suspend"
	// HoldNever, as the value of HoldAnnotation, overrides the configuration of the queue.
	HoldNever = "never"
	// SuspensionAnnotation says why capmgr suspended the object that it is on. Written
	// by capmgr only, and taken off when it resumes; without it, a suspension is the
	// user's and stays.
	SuspensionAnnotation = "capmgr.io/suspension"
	// IdleAfterAnnotation, on a RayCluster, is a Go duration. When nothing has run there
	// for so long by Ray's own account, idle workers beyond the minimum leave; after
	// twice as long the cluster is suspended, never deleted. Absent: never.
	IdleAfterAnnotation = "capmgr.io/idle-after"
	// ExpectedRuntimeAnnotation, on a gang's owner, is a Go duration; work that ends
	// in time may run ahead of a reservation.
	ExpectedRuntimeAnnotation = "capmgr.io/expected-runtime"
	// IntentAnnotation, on a node that another autoscaler made, is the CapacityRequest that
	// it is held for, namespace/name. Written by capmgr only, and taken off with what
	// HoldsAnnotation names.
	IntentAnnotation = "capmgr.io/intent"
	// HoldsAnnotation, beside IntentAnnotation, lists by commas the annotations that capmgr
	// has added to make other autoscalers keep the node.
	HoldsAnnotation = "capmgr.io/holds"
	// AllowedNamespacesAnnotation, on a Queue, lists by commas the namespaces whose
	// work may use it. Absent: all.
	AllowedNamespacesAnnotation = "capmgr.io/allowed-namespaces"
)

// Taints of capmgr on nodes.
const (
	// DrainingTaint, effect NoSchedule, is on nodes that are being given back. It is
	// a key of our own: Cluster Autoscaler removes its own taints when it restarts.
	DrainingTaint = "capmgr.io/draining"
	// NotReadyTaint, effect NoSchedule, may be put on by a launch template and is
	// removed once the node's GPUs are advertised.
	NotReadyTaint = "capmgr.io/not-ready"
)

// Tags on cloud groups and instances. IAM policies confine every change to things
// that carry the first two.
const (
	// ClusterTag is the name of the cluster that a group or instance belongs to.
	ClusterTag = "capmgr.io/cluster"
	// ManagedTag is "true" on what capmgr may change.
	ManagedTag = "capmgr.io/managed"
	// PoolTag is the configured name of the node group.
	PoolTag = "capmgr.io/pool"
	// OwnerTag is the UID of the manager's installation: two managers on one group
	// see each other by it.
	OwnerTag = "capmgr.io/owner"
	// IntentTag is the UID of the CapacityRequest that an instance was bought under.
	IntentTag = "capmgr.io/intent"
	// ClusterAutoscalerEnabledTag marks groups that a stock Cluster Autoscaler
	// manages; they are refused unless allowSharedASG.
	ClusterAutoscalerEnabledTag = "k8s.io/cluster-autoscaler/enabled"
)

// Keys by which other autoscalers are asked to leave pods and nodes alone; the value
// is "true" unless said otherwise.
const (
	// SafeToEvictAnnotation, on a pod, with value "false", makes Cluster Autoscaler
	// keep its node.
	SafeToEvictAnnotation = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	// ScaleDownDisabledAnnotation, on a node, makes Cluster Autoscaler keep it.
	ScaleDownDisabledAnnotation = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
	// DoNotDisruptAnnotation, on a pod or node, makes Karpenter keep it.
	DoNotDisruptAnnotation = "karpenter.sh/do-not-disrupt"
)

// GPUResource is the extended resource, and the taint key, of NVIDIA devices.
const GPUResource = "nvidia.com/gpu"
