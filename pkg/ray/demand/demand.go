// Package demand is what a RayCluster says about itself, as values: what its program waits for,
// and what its nodes are doing. It knows nothing of the wire that it came over.
//
// Everything is in a fixed order, so that the same answer is the same value.
package demand

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// State is one answer of a head.
type State struct {
	Session string  // one life of the cluster: a restarted head without fault tolerance has another
	Loose   []Loose // tasks and actors that wait, alike ones together
	Gangs   []Gang  // placement groups that wait
	Nodes   []Node  // living ones, the head included
}

// Shape is what one task, actor or bundle asks for. These are Ray's logical resources: what the
// group's nodes declare, not what a container is limited to.
type Shape struct {
	snapshot.Resources

	Accelerator string     // the GPU model that it insists on, as Ray spells it ("A10G"); "" for any
	Custom      []Custom   // by name
	Selector    []Selector // every one of them must hold of the node; the first choice where Ray has fallbacks
}

// AcceleratorPrefix marks a GPU's model among Ray's resources: a node has one of it, and a task that
// insists on the model asks for a thousandth.
const AcceleratorPrefix = "accelerator_type:"

// Custom is a resource that the user invented.
type Custom struct {
	Name  string
	Milli int64 // thousandths
}

// Selector asks something of a node's label.
type Selector struct {
	Key    string
	Not    bool     // the label must have none of the values
	Values []string // sorted
}

// Loose is so many alike that need not start together.
type Loose struct {
	Shape Shape
	Count int64
}

// Gang is a placement group that waits, or what is left to place of one: Ray leaves out bundles
// that have a node.
type Gang struct {
	ID       string // the placement group, in hexadecimal; "" where Ray does not say
	Bundles  []Shape
	Spread   bool // STRICT_SPREAD: no two bundles on one node
	Together bool // STRICT_PACK: all bundles on one node
}

// Status is what a node is doing.
type Status string

// The statuses of living nodes.
const (
	Unknown  Status = "Unknown" // newer than this reader, or unset; taken for busy
	Running  Status = "Running"
	Idle     Status = "Idle"
	Draining Status = "Draining"
)

// Node is one raylet.
type Node struct {
	ID       string // Ray's, in hexadecimal; what Drain wants
	Pod      string // "" where KubeRay did not start it
	Group    string // the worker group, or the head's
	Status   Status
	IdleFor  time.Duration // how long nothing ran there; zero while something does
	Activity []string      // what keeps it busy, in Ray's words
	Total    Shape         // what it declares; never with a selector
	Free     Shape
}

// Node finds the node of a pod.
func (s *State) Node(pod string) (Node, bool) {
	i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Pod == pod })
	if i < 0 || pod == "" {
		return Node{}, false
	}
	return s.Nodes[i], true
}

// Waiting says whether the program waits for anything.
func (s *State) Waiting() bool { return len(s.Loose) > 0 || len(s.Gangs) > 0 }

// String prints a shape as a person reads it: "1 GPU, 4 CPUs, A10G, license 1".
func (s Shape) String() string {
	var parts []string
	if !s.IsZero() {
		parts = append(parts, s.Resources.String())
	}
	if s.Accelerator != "" {
		parts = append(parts, s.Accelerator)
	}
	for _, c := range s.Custom {
		parts = append(parts, c.Name+" "+snapshot.Thousandths(c.Milli))
	}
	for _, sel := range s.Selector {
		parts = append(parts, sel.String())
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// String prints a selector as Kubernetes would: "zone in (a,b)".
func (s Selector) String() string {
	verb := "in"
	if s.Not {
		verb = "notin"
	}
	return fmt.Sprintf("%s %s (%s)", s.Key, verb, strings.Join(s.Values, ","))
}

// Compare orders shapes, the hardest to place first: GPUs, then memory, then CPUs, then the rest
// by what it is called.
func Compare(a, b Shape) int {
	return cmp.Or(
		cmp.Compare(b.MilliGPU, a.MilliGPU),
		cmp.Compare(b.Memory, a.Memory),
		cmp.Compare(b.MilliCPU, a.MilliCPU),
		cmp.Compare(a.String(), b.String()),
	)
}
