package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Owner names the object that a gang comes from.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

// OwnerOf returns the owner of a gang.
func OwnerOf(g *snapshot.Gang) Owner {
	return Owner{g.APIVersion, g.Kind, g.Namespace, g.Name, g.UID}
}

// Gang is the ID of the owner's gang.
func (o Owner) Gang() snapshot.GangID {
	return snapshot.GangID(o.Namespace + "/" + o.Kind + "/" + o.Name + "/" + o.UID)
}

// Of returns the owner that a reference names.
func Of(r snapshot.Ref) Owner {
	return Owner{r.APIVersion, r.Kind, r.Namespace, r.Name, r.UID}
}

// String is "kind/namespace/name" with the kind in lower case, as the CLI takes it.
func (o Owner) String() string {
	return strings.ToLower(o.Kind) + "/" + o.Namespace + "/" + o.Name
}

// Purchase is a number of nodes of one group.
type Purchase struct {
	Group string `json:"nodeGroup"`
	Count int    `json:"count"`
	Zone  string `json:"zone,omitempty"`
	Token string `json:"token"` // for the cloud: the same token never launches twice

	// Pods that the nodes are for, where another autoscaler has to be told; nil elsewhere.
	Pods []Tenant `json:"pods,omitempty"`
}

// Tenant is a pod and the node of a purchase that it was placed on.
type Tenant struct {
	PodRef

	Node int `json:"node"` // of the purchase's nodes, from 0
}

// Book writes down, before any money is spent, which nodes are acquired for which gang.
// Precondition: the gang still exists with this UID, and this attempt has not been made.
type Book struct {
	Gang       Owner            `json:"gang"`
	Queue      string           `json:"queue"`
	Request    string           `json:"request"` // name of the CapacityRequest, in the gang's namespace
	Attempt    int32            `json:"attempt"`
	Shape      string           `json:"shape"`
	Purchases  []Purchase       `json:"purchases"`
	HourlyCost snapshot.Dollars `json:"hourlyCostMicroDollars"`
}

// Kind is "Book".
func (Book) Kind() string { return "Book" }

// String is the step in one line.
func (b Book) String() string { return fmt.Sprintf("book %s for %s", b.Nodes(), b.Gang) }

// Nodes says what is bought: "4 x g5-xlarge ($4.02/h)".
func (b Book) Nodes() string {
	var nodes []string
	for _, p := range b.Purchases {
		nodes = append(nodes, fmt.Sprintf("%d x %s", p.Count, p.Group))
	}
	return fmt.Sprintf("%s (%s/h)", strings.Join(nodes, ", "), b.HourlyCost)
}

// GrowNodeGroup launches what a Book step wrote down.
// Precondition: the CapacityRequest exists and is open.
type GrowNodeGroup struct {
	Namespace string   `json:"namespace"`
	Request   string   `json:"request"`
	Purchase  Purchase `json:"purchase"`
}

// Kind is "GrowNodeGroup".
func (GrowNodeGroup) Kind() string { return "GrowNodeGroup" }

// String is the step in one line.
func (g GrowNodeGroup) String() string {
	return fmt.Sprintf("grow %s by %d for %s/%s", g.Purchase.Group, g.Purchase.Count, g.Namespace, g.Request)
}

// Assignment puts one pod on one node.
type Assignment struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	UID       string `json:"uid"`
	Node      string `json:"node"`
}

// PodRef names one pod.
type PodRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Evict ends pods of one gang, to make room for another or because it cannot go on.
// Precondition: every pod exists with this UID.
type Evict struct {
	Gang    Owner    `json:"gang"`
	Queue   string   `json:"queue"`
	Pods    []PodRef `json:"pods"`
	Whole   bool     `json:"whole"`        // the gang stops; otherwise it goes on with fewer members
	For     Owner    `json:"for,omitzero"` // the gang that gets the room, if it is for one
	Because string   `json:"because"`      // for people
}

// Kind is "Evict".
func (Evict) Kind() string { return "Evict" }

// String is the step in one line.
func (e Evict) String() string {
	var pods []string
	for _, p := range e.Pods {
		pods = append(pods, p.Name)
	}
	what := "members of"
	if e.Whole {
		what = "all of"
	}
	return fmt.Sprintf("evict %s %s (queue %s) %s: %s", what, e.Gang, e.Queue, e.Because, strings.Join(pods, ", "))
}

// Bind puts all its pods on their nodes, or none.
// Precondition: every pod exists with this UID and is unbound, every node is usable and has the
// room.
type Bind struct {
	Gang        Owner        `json:"gang"`
	Queue       string       `json:"queue"`
	Assignments []Assignment `json:"assignments"`
}

// Kind is "Bind".
func (Bind) Kind() string { return "Bind" }

// String is the step in one line.
func (b Bind) String() string {
	var pods []string
	for _, a := range b.Assignments {
		pods = append(pods, a.Pod+" to "+a.Node)
	}
	return fmt.Sprintf("bind %s: %s", b.Gang, strings.Join(pods, ", "))
}

// RequestState is what a Settle step says of a CapacityRequest: the type of the condition that
// becomes true.
type RequestState string

// The states of a CapacityRequest that a decision can establish.
const (
	RequestReady    RequestState = "Ready"    // every node is usable
	RequestReleased RequestState = "Released" // the booking is over: the gang has its nodes, or is gone
	RequestFailed   RequestState = "Failed"   // the nodes did not serve; another attempt may follow
)

// Settle records how far a CapacityRequest has come.
// Precondition: the request exists and is not yet in that state.
type Settle struct {
	Namespace string       `json:"namespace"`
	Request   string       `json:"request"`
	State     RequestState `json:"state"`
	Reason    string       `json:"reason"`
	Message   string       `json:"message"`
	Boots     []Boot       `json:"boots,omitempty"` // what the boots that end here have taught
}

// Boot is how long the nodes of one group took to become usable.
type Boot struct {
	Group string        `json:"nodeGroup"`
	Took  time.Duration `json:"tookNanoseconds"` // of the slowest, from launch
}

// Kind is "Settle".
func (Settle) Kind() string { return "Settle" }

// String is the step in one line.
func (s Settle) String() string {
	return fmt.Sprintf("settle %s/%s: %s, %s: %s", s.Namespace, s.Request, s.State, s.Reason, s.Message)
}

// TerminateNode gives one named instance back.
// Precondition: no pod but the node's own runs there, the instance is still a member of the group,
// and the group stays at or above its minimum.
type TerminateNode struct {
	Group    string `json:"nodeGroup"`
	Instance string `json:"instance"`
	Node     string `json:"node,omitempty"` // "" when the instance never became a node
	Because  string `json:"because"`
}

// Kind is "TerminateNode".
func (TerminateNode) Kind() string { return "TerminateNode" }

// String is the step in one line.
func (t TerminateNode) String() string {
	node := t.Node
	if node == "" {
		node = "no node"
	}
	return fmt.Sprintf("terminate %s (%s) of %s: %s", t.Instance, node, t.Group, t.Because)
}
