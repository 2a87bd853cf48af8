package snapshot

import "time"

// Ref names an object of the cluster. The zero value names none.
type Ref struct {
	APIVersion string
	Kind       string
	Namespace  string
	Name       string
	UID        string
}

// Scaler is who writes how many replicas the worker groups of a gang have.
type Scaler string

// The writers of replicas.
const (
	// ScaledByNobody: the gang is no RayCluster, or another manager's.
	ScaledByNobody Scaler = ""
	// ScaledByCapmgr: Ray's own autoscaler is off, and replicas are set to what is granted.
	ScaledByCapmgr Scaler = "capmgr"
	// ScaledByRay: Ray's own autoscaler writes replicas, and only its ceiling is moved.
	ScaledByRay Scaler = "ray"
)

// Workers is a worker group of a RayCluster in replicas. A replica is Hosts pods that come and go
// together.
type Workers struct {
	Index int // in spec.workerGroupSpecs
	Hosts int // pods of one replica, from 1 up

	Replicas int // as the spec has it now, before KubeRay clamps it
	Least    int // minReplicas
	Most     int // maxReplicas as the spec has it now
	Wish     int // replicas that the user asked for, within Least and Ceiling; Replicas may be lower
	Ceiling  int // the user's own maxReplicas; Most may be lower

	Adopt bool // somebody else has written Replicas since capmgr did: that is the wish

	ToDelete []string // workersToDelete as the spec has it now, in its order
	Named    []string // those of ToDelete that capmgr put there, sorted

	// Asked is how many replicas Ray's own demand would use, never fewer than the group has. It is
	// nil where the head was not asked or has not answered.
	Asked *int
	// Batches are the replicas by which the group grows from Replicas to Asked that help only together,
	// in this order: each holds the rest of a placement group. What is left helps one by one.
	Batches []int

	Grown  time.Time // when capmgr last raised Replicas or Most; zero: not lately
	Shrunk time.Time // when it last lowered them; zero: not lately
}

// Floor is the fewest replicas that keep a number of pods.
func (w *Workers) Floor(pods int) int { return (pods + w.Hosts - 1) / w.Hosts }

// Together is how many replicas to add at once to n of them.
func (w *Workers) Together(n int) int {
	at := w.Replicas
	for _, size := range w.Batches {
		if n < at+size {
			return at + size - max(n, at)
		}
		at += size
	}
	return 1
}

// Heard is what a RayCluster's head says of itself. Ages are times, so that an answer that says
// nothing new is the same value.
type Heard struct {
	// Fresh: the answer is young enough to take workers away by. Without, nothing follows from what
	// it does not say.
	Fresh   bool
	Waiting bool      // its program waits for more than the cluster has
	Silent  time.Time // since when the head does not answer; zero while it does
	Error   string    // why not, for people; "" while it does
}

// RayNode is a pod's node in Ray's own book.
type RayNode struct {
	ID        string    // what a drain names it by, in hexadecimal
	IdleSince time.Time // since when nothing runs there; zero while something does
	Draining  bool      // it takes no more work, and ends itself when it is idle
}

// Suspension is why capmgr suspended an object. It is noted on the object.
type Suspension string

// The reasons of a suspension. Who idled is resumed by its user; the others by capmgr.
const (
	SuspendedUntilGranted Suspension = "until-granted" // it waits for its turn without pods
	SuspendedForOthers    Suspension = "preempted"     // others needed its room
	SuspendedIdle         Suspension = "idle"          // nothing ran there for as long as its user allowed
)
