package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// ConfigurationAPIVersion is the apiVersion of a configuration file.
	ConfigurationAPIVersion = "config.capmgr.io/v1alpha1"
	// ConfigurationKind is the kind of a configuration file.
	ConfigurationKind = "CapacityManagerConfiguration"
)

// Config is the short name of the configuration in Go code.
type Config = CapacityManagerConfiguration

// CapacityManagerConfiguration is all that an operator decides for one manager:
// whose pods it schedules, which nodes it may buy, for which queue and for how much.
//
// In a value that Load or Decode returned, fields documented with a default are
// set, and every other nil pointer means that the operator set no such bound.
type CapacityManagerConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// SchedulerNames are the values of a pod's spec.schedulerName that this manager
	// answers to. Default: capmgr and kai-scheduler. KubeRay only knows the latter.
	SchedulerNames []string `json:"schedulerNames,omitempty"`

	// DefaultQueue takes work that carries no queue label. Empty: such work waits
	// with the reason QueueNotFound.
	DefaultQueue string `json:"defaultQueue,omitempty"`

	// Scheduling bounds what one decision does.
	Scheduling Scheduling `json:"scheduling,omitempty,omitzero"`

	// Limits bound buying over all queues together.
	Limits ClusterLimits `json:"limits,omitempty,omitzero"`

	// Defaults apply to queues that the file says nothing about.
	Defaults QueueDefaults `json:"defaults,omitempty,omitzero"`

	// NodeGroups are all the groups that may be bought from. Nodes of other groups
	// are used, but never bought and never given back.
	NodeGroups []NodeGroup `json:"nodeGroups,omitempty"`

	// Queues hold the bounds on buying for queues, by queue name. A queue without an
	// entry takes the scaling of its nearest ancestor that has one, then of Defaults;
	// that walk needs the Queue objects and happens where they are known.
	Queues map[string]QueueConfiguration `json:"queues,omitempty"`

	// Ray says how the heads of RayClusters are dealt with.
	Ray RayConfiguration `json:"ray,omitempty,omitzero"`

	// Webhook turns the mutating webhook on. Absent: off.
	Webhook *WebhookConfiguration `json:"webhook,omitempty"`

	// AWS says how to reach the cloud that groups of provider aws live in.
	AWS AWSConfiguration `json:"aws,omitempty,omitzero"`

	// LeaderElection names the Lease that makes one replica the only writer.
	LeaderElection LeaderElection `json:"leaderElection,omitempty,omitzero"`

	// ObserveInterval is the time between two looks at the cloud. Default 10s.
	ObserveInterval *metav1.Duration `json:"observeInterval,omitempty"`
}

// Scheduling bounds what one decision does. What is left over is for the next one, which follows at once.
type Scheduling struct {
	// MaxVictims bounds the pods that one decision evicts; the room of a single gang is never
	// cut in half by it. Default 256.
	MaxVictims *int32 `json:"maxVictims,omitempty"`

	// ConsolidateAbove has elastic workers and preemptible single pods moved off a node where
	// there is room for all of them on others, so that it can be given back: nodes that cost at
	// least so many dollars per hour. What moves is stopped and starts again. Absent: nothing is
	// moved to save money.
	ConsolidateAbove *Dollars `json:"consolidateAbove,omitempty"`

	// DecisionBudget is the time that one decision may take. Default 1s.
	DecisionBudget *metav1.Duration `json:"decisionBudget,omitempty"`
}

// ClusterLimits bound buying over all queues. Nodes outside the configured groups
// do not count.
type ClusterLimits struct {
	// MaxNodes bounds the nodes of all groups, running and coming. Absent: no bound
	// but those of the groups.
	MaxNodes *int32 `json:"maxNodes,omitempty"`

	// MaxHourlyCost bounds what those nodes cost, in dollars per hour. Absent: no bound.
	MaxHourlyCost *Dollars `json:"maxHourlyCost,omitempty"`

	// MaxNewNodesPerHour bounds the nodes bought in any sixty minutes, whatever
	// became of them: it stops a loop of buying and giving back. Absent: no bound.
	MaxNewNodesPerHour *int32 `json:"maxNewNodesPerHour,omitempty"`
}

// QueueDefaults apply where neither a queue nor an ancestor of it is configured.
type QueueDefaults struct {
	// Scaling bounds buying for such a queue. Absent: nothing is bought for it.
	Scaling *Scaling `json:"scaling,omitempty"`
}

// QueueConfiguration is what the file says about one queue.
type QueueConfiguration struct {
	// Scaling bounds buying for the queue. Absent: inherited.
	Scaling *Scaling `json:"scaling,omitempty"`

	// Hold, with the value suspend, keeps the RayJobs of the queue and of those below
	// it suspended, without pods, until they are granted. Where it is absent, the
	// nearest ancestor that has it decides. A job's own annotation capmgr.io/hold wins.
	Hold string `json:"hold,omitempty"`
}

// RayConfiguration says how the heads of RayClusters are dealt with.
type RayConfiguration struct {
	// AskHeads lets the manager ask the heads of RayClusters what their programs wait
	// for and which workers idle, and ask workers to leave. Without, it knows no more
	// than their specs say. Default true.
	AskHeads *bool `json:"askHeads,omitempty"`

	// TLS is how to speak with heads that have RAY_USE_TLS set. Absent: they are not asked.
	TLS *RayTLS `json:"tls,omitempty"`
}

// RayTLS names the files of a client certificate that Ray's heads accept.
type RayTLS struct {
	// CAFile has the certificates that heads are verified by.
	CAFile string `json:"caFile"`
	// CertFile has the client's certificate.
	CertFile string `json:"certFile"`
	// KeyFile has its key.
	KeyFile string `json:"keyFile"`
}

// WebhookConfiguration is where the mutating webhook listens. Its certificate is the
// manager's own: it is kept in the Secret capmgr-webhook in the namespace of the Lease,
// and renewed in time.
type WebhookConfiguration struct {
	// Port that it listens on. Default 9443.
	Port int32 `json:"port,omitempty"`

	// Service that the API server reaches it by, in the namespace of the Lease.
	// Default capmgr-webhook.
	Service string `json:"service,omitempty"`

	// Hosts are further names or addresses that the API server reaches it by.
	Hosts []string `json:"hosts,omitempty"`
}

// LeaderElection names a Lease.
type LeaderElection struct {
	// Namespace of the Lease. Default capmgr-system.
	Namespace string `json:"namespace,omitempty"`
	// Name of the Lease. Default capmgr.
	Name string `json:"name,omitempty"`
}

// AWSConfiguration says how to reach AWS. Credentials never stand here: they come
// from the environment of the pod (IRSA or Pod Identity).
type AWSConfiguration struct {
	// Region such as us-east-1. Empty: from the environment, AWS_REGION.
	Region string `json:"region,omitempty"`

	// Endpoint is an absolute http or https URL that takes the place of the
	// service endpoints, for a test server or a private endpoint. Empty: from the
	// environment (AWS_ENDPOINT_URL), else the public one.
	Endpoint string `json:"endpoint,omitempty"`

	// ClusterName becomes the tag capmgr.io/cluster of each launched instance; the
	// IAM policies confine every change to what carries it. Empty: not tagged.
	ClusterName string `json:"clusterName,omitempty"`
}

// NodeGroup is a set of like nodes that can be bought and given back.
type NodeGroup struct {
	// Name is how queues, bounds and messages call the group; at most 63 characters.
	Name string `json:"name"`

	// Provider is who delivers the nodes: aws, provisioning-request or signal.
	Provider Provider `json:"provider"`

	// AWS names the group at provider aws, and only there.
	AWS *AWSNodeGroup `json:"aws,omitempty"`

	// ProvisioningRequest says what to ask for at provider provisioning-request, and only
	// there.
	ProvisioningRequest *ProvisioningRequestNodeGroup `json:"provisioningRequest,omitempty"`

	// Signal tells the group's nodes at provider signal, and only there.
	Signal *SignalNodeGroup `json:"signal,omitempty"`

	// Capacity of one node, where another autoscaler makes it: required there, and read
	// from the cloud elsewhere. It counts until a real node of the group is usable.
	Capacity *NodeCapacity `json:"capacity,omitempty"`

	// InstanceType of the nodes, where another autoscaler makes them, such as g5.xlarge.
	// Pods may select on it. Empty: they are of no particular type.
	InstanceType string `json:"instanceType,omitempty"`

	// HourlyPrice of one node, in dollars. Absent: the provider's own price. Required where
	// another autoscaler makes the nodes: nobody else could tell it.
	HourlyPrice *Dollars `json:"hourlyPrice,omitempty"`

	// Zone is the failure domain that the nodes come up in. Empty: read from the provider;
	// at provisioning-request and signal, anywhere.
	Zone string `json:"zone,omitempty"`

	// Labels that the nodes will carry, beside those that the provider tells of.
	// They are a promise to the decision, not an instruction to the cloud.
	Labels map[string]string `json:"labels,omitempty"`

	// Taints that the nodes will carry for as long as they live. As with Labels,
	// the launch template puts them there.
	Taints []corev1.Taint `json:"taints,omitempty"`

	// StartupTaints are keys of taints that the nodes carry while they boot and
	// that something else removes: a node with one is coming, not unusable.
	StartupTaints []string `json:"startupTaints,omitempty"`

	// MinNodes are kept even when idle. Default 0. Only at provider aws.
	MinNodes int32 `json:"minNodes,omitempty"`

	// MaxNodes bounds the group, running and coming. Required, because a bound that
	// was forgotten costs money.
	MaxNodes *int32 `json:"maxNodes,omitempty"`

	// IdleAfter is how long a node must have been idle before it is given back. Default 5m.
	// Only at provider aws: elsewhere the autoscaler that made a node removes it.
	IdleAfter *metav1.Duration `json:"idleAfter,omitempty"`

	// ExpectedBootTime is the time from buying to usable that is assumed until it
	// has been learned. Default 4m.
	ExpectedBootTime *metav1.Duration `json:"expectedBootTime,omitempty"`

	// ProvisionTimeout is when nodes that are not usable yet are given up and given
	// back. Default 15m.
	ProvisionTimeout *metav1.Duration `json:"provisionTimeout,omitempty"`

	// AllowSharedASG accepts a group that Cluster Autoscaler is told to manage as
	// well. Two writers of one desired count lose each other's nodes, hence false
	// by default.
	AllowSharedASG bool `json:"allowSharedASG,omitempty"`
}

// Provider names who delivers nodes.
type Provider string

// ProviderAWS buys through EC2 Auto Scaling groups.
const ProviderAWS Provider = "aws"

// AWSNodeGroup names a group at AWS.
type AWSNodeGroup struct {
	// AutoScalingGroup is the name of the group; at most 255 characters. It must be
	// of one instance type, zone and purchase option: a gang needs to know what it
	// will get.
	AutoScalingGroup string `json:"autoScalingGroup"`
}
