package snapshot

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Node is a machine that exists in the cluster, or the promise of one (see NodeGroup.Template).
type Node struct {
	Name       string
	Group      string // name of its node group; "" for nodes outside every configured group
	InstanceID string // the cloud's name for it; "" outside configured groups
	Class      string // equal for nodes that no predicate of an ordinary pod can tell apart
	Zone       string

	Allocatable Resources
	MaxPods     int
	Rejects     []Rejection // by class

	Pods []*Pod // bound here and not finished, ours and others', by UID

	// Usable: Ready, not cordoned, no start-up taint left, and every GPU that the instance type
	// promises is advertised. A node that is Ready without its GPUs is not usable yet.
	Usable    bool
	NotUsable string // why not, for people; "" when usable
	Cordoned  bool   // somebody marked it unschedulable
	Draining  bool   // carries capmgr's own draining taint
	Protected string // why it must not be removed (annotation or pod); "" when it may

	UsableSince time.Time // when it was first seen usable after it was seen booting; zero otherwise

	IdleSince time.Time // when the last pod that is not the node's own left, or the boot was over; zero while busy or unknown

	Object *corev1.Node // for the fit check only; never written to
}

// Free is what is left beside the pods that are bound here.
func (n *Node) Free() Resources {
	free := n.Allocatable
	for _, p := range n.Pods {
		free = free.Sub(p.Request)
	}
	return free
}

// FreePods is how many more pods the kubelet accepts.
func (n *Node) FreePods() int { return n.MaxPods - len(n.Pods) }

// Rejected is what is remembered of pods of a class that the kubelet would not run, or nil.
func (n *Node) Rejected(class string) *Rejection { return rejected(n.Rejects, class) }

// Rejection is a class of pods that a kubelet would not run although they fit by all that is known. It is
// kept off that node for a while, and where two nodes of a group did so, nothing of the group is bought
// for it.
type Rejection struct {
	Class  string
	Reason string // the kubelet's
	Until  time.Time
}

func rejected(list []Rejection, class string) *Rejection {
	for k := range list {
		if list[k].Class == class {
			return &list[k]
		}
	}
	return nil
}

// NodeGroup is a configured set of equal nodes that a provider can grow.
type NodeGroup struct {
	Name         string
	Provider     string // "aws", "provisioning-request" or "signal"
	InstanceType string
	Zone         string
	CapacityType string // "on-demand" or "spot"; "" when unknown

	// Delegated: another autoscaler makes the nodes and removes them. They are asked for, and never
	// given back by name; an instance is a node there, and has its name.
	Delegated bool

	Min, Max         int           // instances: the narrower of configuration and cloud
	Price            Dollars       // per node and hour
	IdleAfter        time.Duration // configured, and longer for each of Flaps
	Flaps            int           // lately: nodes were bought soon after others were given back
	ExpectedBootTime time.Duration // launch to usable: learned, or configured while BootsLearned is 0
	BootsLearned     int           // boots that ExpectedBootTime is the median of
	ProvisionTimeout time.Duration

	Desired int // instances that the cloud is told to keep; above those there while somebody else grows the group

	Unknown        string    // why the provider's view is missing; nothing is bought or released then
	BlockedUntil   time.Time // the cloud refused lately: nothing is bought before this time
	BlockedBecause string    // the cloud's reason, for people

	Template  *Node       // shape of a node that could be launched; nil while unknown
	Learned   bool        // Template is what nodes of the group offered, not what the cloud promises
	Instances []Instance  // by ID
	Unfit     []Unfit     // by shape
	Rejects   []Rejection // by class
}

// Rejected is what is remembered of pods of a class that kubelets of the group would not run, or nil.
func (g *NodeGroup) Rejected(class string) *Rejection { return rejected(g.Rejects, class) }

// Instance is one machine of a node group, as the cloud tells it.
type Instance struct {
	ID       string
	Zone     string
	State    InstanceState
	Launched time.Time
	Node     string // the node that it became; "" until it registers
	Orphan   string // the purchase that it was launched for and that knows nothing of it any more; "" for others
}

// Leaves says whether an instance is no capacity any more, nor will be.
func (i Instance) Leaves() bool {
	return i.State == InstanceTerminating || i.State == InstanceReturning
}

// InstanceState is where an instance is in its life.
type InstanceState string

// States of an instance.
const (
	InstancePending     InstanceState = "Pending"     // launched, not in service
	InstanceRunning     InstanceState = "Running"     // in service; its node may still be missing
	InstanceReturning   InstanceState = "Returning"   // of a purchase that failed: no capacity, and paid for until it goes
	InstanceTerminating InstanceState = "Terminating" // on its way out: no capacity any more
)

// Unfit remembers that nodes of the group were bought for a shape of gang and did not serve it.
type Unfit struct {
	Shape string // Gang.Shape
	Until time.Time
	Late  bool // the last of them did not become usable in time; otherwise it came and did not fit
}

// Booking is capacity that was bought for a gang and is nobody else's until the gang has it.
type Booking struct {
	Gang      GangID
	Namespace string // of the CapacityRequest
	Request   string // name of the CapacityRequest
	Attempt   int32
	Created   time.Time
	Launched  time.Time     // when the cloud had promised every node; zero while it is being asked
	Queue     string        // that it counts against; "" for what a node group keeps by itself
	Warm      bool          // bought to keep capacity warm: it is anyone's, and Gang is what keeps it
	Nodes     []BookedNodes // by node group
}

// BookedNodes is the part of a booking that one node group delivers.
type BookedNodes struct {
	Group     string
	Count     int      // promised
	Instances []string // those that exist already, by ID; the rest is still being launched
}

// Owner is the gang that the nodes are held for; "" for anyone.
func (b *Booking) Owner() GangID {
	if b.Warm {
		return ""
	}
	return b.Gang
}

// Since is when its nodes began to boot; before they do, when they were asked for.
func (b *Booking) Since() time.Time {
	if b.Launched.IsZero() {
		return b.Created
	}
	return b.Launched
}

// Total is how many nodes the booking promises.
func (b *Booking) Total() int {
	total := 0
	for _, n := range b.Nodes {
		total += n.Count
	}
	return total
}
