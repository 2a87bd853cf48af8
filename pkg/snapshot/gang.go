package snapshot

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// GangID names a gang for its whole life: "namespace/kind/name/uid". It sorts by namespace and
// name, and a recreated object is another gang.
type GangID string

// Gang is a workload that runs whole or not at all.
type Gang struct {
	ID         GangID
	APIVersion string // of the owner
	Kind       string
	Namespace  string
	Name       string
	UID        string

	Queue   string // leaf queue that it asks for; "" when it names none
	Created time.Time

	Priority       int32 // value of its priority class
	NonPreemptible bool  // never a victim, and confined to its queue's quota; priority 100 and above
	NeverEvicts    bool  // preemptionPolicy Never: it waits rather than push others out

	Shape string // equal for gangs that ask for the same groups of the same pods

	AnyZone   bool // its GPU members may be in several zones
	Suspended bool
	Ending    bool   // being deleted, or its first members have finished
	Invalid   string // why the owner's spec cannot make a gang; "" when it can

	Groups  []Group // the head first, then in the owner's order
	Members []*Pod  // existing pods that are not finished, in order of groups, then creation, then name

	EvictedAt  time.Time     // when others were last evicted for it; zero: not lately
	ShortSince time.Time     // since when it runs below its minimum, having lost members; zero: it does not
	Grace      time.Duration // how long it may; negative: for ever

	Runtime time.Duration // how long it runs at most, as its owner says; 0 where nobody does
	Ends    time.Time     // when it ends at the latest, while it runs; zero: unknown

	HeldUntil time.Time // not to be bound before: its bind was refused; zero when it may

	Cluster  Ref  // the RayCluster whose worker groups these are; its UID is "" while there is none yet
	Top      Ref  // the RayJob or RayService that it runs for, or the Deployment or StatefulSet that it is a pod of; zero where its owner is the top
	TellsTop bool // its verdict is also Top's: of two clusters of one RayService, only one's is

	Scaler        Scaler
	Opportunistic bool // its worker groups may grow beyond the wish, up to their ceilings, on room that is there

	ContendedUntil time.Time // somebody else writes the same fields: nothing is written before; zero: nobody does
	ContendedBy    string    // who, by the name under which they write

	// Holds: it waits suspended, without pods, until it is granted. Held: it is suspended by capmgr
	// at this moment, for that or because others needed its room, and a Resume lets it go on. A gang
	// that its user suspended is Suspended and not Held.
	Holds       bool
	Held        bool
	Suspendable Ref // the object that may be suspended to stop it; zero: its pods must be evicted

	// ResumedAt is when a Resume let it go on, for as long as its pods may take to appear; zero: it was
	// not, or that was long ago.
	ResumedAt time.Time

	// Starting: its owner begins when all the pods there are run, and not before: what has no room yet
	// only holds it up.
	Starting bool

	Surge  bool // the second cluster of a RayService that is being upgraded
	Serves bool // the cluster that serves the requests of a RayService

	IdleAfter time.Duration // how long it may idle before it shrinks to its minimum; zero: for ever
	Heard     *Heard        // nil: nobody asks its head

	Attempts    int32  // acquisitions of nodes made for it so far
	LastVerdict string // the verdict as it was last written on the owner; see plan.Verdict.Text
}

// Group is one role in a gang: the head, or a worker group.
type Group struct {
	Name string
	Min  int // pods without which the gang does not run
	Want int // pods that the owner's spec asks for; never below Min

	Request Resources // of one pod, from the owner's template

	// Steady: its pods leave only with the whole gang, although they are beyond the minimum.
	Steady bool

	Workers  *Workers // nil where nobody resizes it
	Template *Pod     // a pod of it that does not exist yet: no UID, name or node; nil where unknown
}

// MinMember is how many pods the gang needs, over all groups.
func (g *Gang) MinMember() int {
	total := 0
	for _, grp := range g.Groups {
		total += grp.Min
	}
	return total
}

// Pod is a pod of a gang, or one of somebody else's that occupies a node.
type Pod struct {
	UID       string
	Namespace string
	Name      string
	Gang      GangID // "" for pods that capmgr does not schedule
	Group     string // name of the Group it belongs to
	Request   Resources
	Created   time.Time

	// Class is equal for pods that no node can tell apart; Alone says that the answer for this pod
	// also depends on other pods (inter-pod affinity, spread, host ports, volumes), so that the
	// class is not enough.
	Class string
	Alone bool

	// Unit is equal for pods that come and go together: the hosts of one multi-host replica. "" for a
	// pod that is a unit of its own.
	Unit string

	Ray *RayNode // nil where its head did not tell of it

	Node        string    // where it is bound; "" while it waits
	Started     time.Time // when it was bound or began to run; zero while it waits
	Terminating bool      // deleted but still there: holds its node's room, not its queue's quota
	Lingers     bool      // Terminating for as good as certain, but only asked to leave: it holds its quota until it goes
	Ready       bool
	Resident    bool   // belongs to the node itself (DaemonSet, mirror pod): does not keep it busy
	Protected   string // why its node must not be removed; "" when nothing says so
	Guarded     string // why the API server would refuse to evict it now; "" when nothing says so
	Budget      string // the disruption budget that allows one less when it is evicted; "" for none
	Allowed     int    // how many it allows now

	Object *corev1.Pod // for the fit check only; never written to
}

// Queue is a node of the queue tree.
type Queue struct {
	Name    string
	UID     string
	Parent  string // "" at the top
	Created time.Time

	Priority int       // higher is served first and reclaimed last
	Quota    Ceiling   // what it is entitled to, per resource; Unlimited: everything
	Weight   Resources // share of the surplus beside siblings, in thousandths
	Limit    Ceiling   // what it may use at most, per resource

	PreemptMinRuntime *time.Duration // how long its work is safe from its own queue; nil: inherited
	ReclaimMinRuntime *time.Duration // how long its work is safe from other queues; nil: inherited

	Namespaces []string // whose work may use it and the queues below it, sorted; nil: everybody's

	Invalid string // why the queue cannot be used (missing parent, cycle, impossible field)
}

// Unlimited is the value of a dimension without a ceiling, as KAI writes it.
const Unlimited = int64(-1)

// Ceiling is a bound per resource in the units of Resources. Unlimited lifts it; zero allows
// nothing, which is also what an unset KAI limit means.
type Ceiling Resources

// Exceeded names the first dimension of use that is above the ceiling, or "". Dimensions that
// request does not ask for are not tested: a gang without GPUs is not blocked by a GPU limit.
func (c Ceiling) Exceeded(use, request Resources) string {
	over := func(used, asked, limit int64) bool { return asked > 0 && limit != Unlimited && used > limit }
	switch {
	case over(use.MilliGPU, request.MilliGPU, c.MilliGPU):
		return "gpu"
	case over(use.MilliCPU, request.MilliCPU, c.MilliCPU):
		return "cpu"
	case over(use.Memory, request.Memory, c.Memory):
		return "memory"
	}
	return ""
}
