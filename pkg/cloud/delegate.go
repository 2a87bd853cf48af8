package cloud

import (
	"context"
	"math"
)

// Delegate is a provider that has another autoscaler make the machines, and remove them. Its Launch
// asks for them and returns none: they come later, as nodes with the labels of Delegation.Selector.
// None of them is its own to terminate.
type Delegate interface {
	Provider

	// Follow says how a request stands that Launch has made: nil while it may still be met, else an
	// error that wraps one of the errors of this package. ErrUnknownOutcome: ask again later. gone are
	// those of the request's pods that are not there any more.
	Follow(ctx context.Context, r LaunchRequest, gone []Pod) error

	// Withdraw takes a request back, so that nothing more is made for it. What came stays; a request
	// that is not there is not an error.
	Withdraw(ctx context.Context, r LaunchRequest) error

	// Annotations are what the pods of a request carry, so that the other autoscaler knows whose they
	// are; nil: nothing.
	Annotations(r LaunchRequest) map[string]string
}

// Pod is a workload that a request is for, as far as who makes its machine has to know.
type Pod struct {
	Namespace, Name, UID string
}

// Delegation is what the configuration says of a group that another autoscaler grows: there is no
// cloud to ask.
type Delegation struct {
	Selector     map[string]string // labels that tell its machines from all others
	Class        string            // provisioning class, where there are classes
	Parameters   map[string]string // of the class
	InstanceType string
	Zone         string
	Shape        Shape
}

// Promised is what there is to observe of delegated groups: what was promised. Their members are known
// to whoever watches the nodes, and their bounds are the configuration's.
func Promised(groups []GroupConfig) []Group {
	out := make([]Group, 0, len(groups))
	for _, g := range groups {
		d := g.Delegation
		out = append(out, Group{Name: g.Name, InstanceType: d.InstanceType, Zone: d.Zone, Max: math.MaxInt, Shape: d.Shape})
	}
	return out
}
