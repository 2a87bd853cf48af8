package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Group names a worker group of a RayCluster, by its place and its name: a group that was moved is
// another one to whoever patches by place.
type Group struct {
	Name  string `json:"group"`
	Index int    `json:"index"` // in spec.workerGroupSpecs
	Hosts int    `json:"hosts"` // pods of one replica
}

// Drain says how a worker is asked to leave before it is named.
type Drain string

// The ways to ask.
const (
	// DrainNone: nothing runs there, or Ray does not know the pod.
	DrainNone Drain = ""
	// DrainIdle: it may refuse, having been given work since it was seen idle. Then it stays.
	DrainIdle Drain = "idle"
	// DrainPreempt: it takes no more work, and what runs there has until the step's Deadline.
	DrainPreempt Drain = "preempt"
)

// Leaver is a pod that a Resize names.
type Leaver struct {
	PodRef

	Bound   bool   `json:"bound,omitempty"`   // it runs on a node; one without that got a node since stays
	Unit    string `json:"unit,omitempty"`    // equal for the pods of one replica; "" for one that is a replica by itself
	RayNode string `json:"rayNode,omitempty"` // what a drain names it by; "" where the head did not tell
	Drain   Drain  `json:"drain,omitempty"`
}

// Resize sets the replicas of one worker group, names those that leave, and clears the names of those
// that have left. From equal to To clears, or takes what somebody else wrote for the wish.
//
// Precondition: at Index the RayCluster has this group, with From replicas and the old list; every
// leaver is a pod of this cluster and group, and those without a node have none yet; without them the group has no
// more pods than To replicas have, and its minimum goes on running. Replicas are never lowered by more than are named, so where a drain is refused, by fewer.
type Resize struct {
	Gang    Owner `json:"gang"`
	Cluster Owner `json:"cluster"` // the RayCluster that is written
	Group

	From int `json:"from"`
	To   int `json:"to"`
	Wish int `json:"wish"` // the user's own replicas, remembered while To is another number

	Min      int       `json:"min"` // pods of the group that keep running, whoever leaves
	Leavers  []Leaver  `json:"leavers,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"` // when what is preempted is ended, idle or not

	OldList []string `json:"oldList,omitempty"` // workersToDelete as it was decided on
	Gone    []string `json:"gone,omitempty"`    // names of capmgr's own in it whose pods have left

	For     []Owner `json:"for,omitempty"` // gangs that get the room, if it is for some
	Because string  `json:"because"`       // for people
}

// Shrinks says whether who runs leaves. Workers that never found room are no loss, and may come back as soon
// as there is some.
func (r Resize) Shrinks(named []Leaver) bool {
	return r.To < r.From && slices.ContainsFunc(named, func(l Leaver) bool { return l.Bound })
}

// Kind is "Resize".
func (Resize) Kind() string { return "Resize" }

// String is the step in one line.
func (r Resize) String() string {
	if r.From == r.To && len(r.Gone) == 0 {
		return fmt.Sprintf("take %d replicas of %s of %s for the wish: %s", r.To, r.Name, r.Cluster, r.Because)
	}
	if r.From == r.To {
		return fmt.Sprintf("clear the names of removed workers of %s of %s: %s", r.Name, r.Cluster, strings.Join(r.Gone, ", "))
	}
	text := fmt.Sprintf("resize %s of %s from %d to %d", r.Name, r.Cluster, r.From, r.To)
	if len(r.Leavers) > 0 {
		text += " without " + strings.Join(r.names(), ", ")
	}
	return text + ": " + r.Because
}

// NewList is what workersToDelete becomes when some of the leavers are named: the old list without
// those that have left.
func (r Resize) NewList(named []Leaver) []string {
	list := make([]string, 0, len(r.OldList)+len(named))
	for _, name := range r.OldList {
		if !slices.Contains(r.Gone, name) {
			list = append(list, name)
		}
	}
	for _, l := range named {
		if !slices.Contains(list, l.Name) {
			list = append(list, l.Name)
		}
	}
	return list
}

func (r Resize) names() []string {
	var names []string
	for _, l := range r.Leavers {
		names = append(names, l.Name)
	}
	return names
}

// Ceiling moves maxReplicas of a worker group whose replicas Ray's own autoscaler writes.
// Precondition: at Index the RayCluster has this group with a maxReplicas of From.
type Ceiling struct {
	Gang    Owner `json:"gang"`
	Cluster Owner `json:"cluster"`
	Group

	From    int    `json:"from"`
	To      int    `json:"to"`
	Own     int    `json:"own"`     // the user's own maxReplicas, remembered while To is lower
	Because string `json:"because"` // for people
}

// Kind is "Ceiling".
func (Ceiling) Kind() string { return "Ceiling" }

// String is the step in one line.
func (c Ceiling) String() string {
	return fmt.Sprintf("move the ceiling of %s of %s from %d to %d: %s", c.Name, c.Cluster, c.From, c.To, c.Because)
}

// Suspend stops a workload by its own switch, which ends all its pods together.
// Precondition: the object exists with this UID, is not suspended, and its kind allows it.
type Suspend struct {
	Gang    Owner               `json:"gang"`
	Object  Owner               `json:"object"` // whose switch it is
	Mode    snapshot.Suspension `json:"mode"`
	For     Owner               `json:"for,omitzero"` // the gang that gets the room, if it is for one
	Because string              `json:"because"`      // for people
}

// Kind is "Suspend".
func (Suspend) Kind() string { return "Suspend" }

// String is the step in one line.
func (s Suspend) String() string { return fmt.Sprintf("suspend %s: %s", s.Object, s.Because) }

// Resume lets a workload go on that capmgr suspended.
// Precondition: the object exists with this UID and was suspended by capmgr.
type Resume struct {
	Gang    Owner  `json:"gang"`
	Object  Owner  `json:"object"`
	Because string `json:"because"` // for people
}

// Kind is "Resume".
func (Resume) Kind() string { return "Resume" }

// String is the step in one line.
func (r Resume) String() string { return fmt.Sprintf("resume %s: %s", r.Object, r.Because) }
