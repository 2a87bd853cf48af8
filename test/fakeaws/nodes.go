package fakeaws

import "context"

// Nodes turns instances into nodes of a cluster. Each call may take as long as it needs; it ends early
// with its context. Calls for one instance come one after the other, in this order.
type Nodes interface {
	// Join makes the instance a node, without GPUs. A node that is there already is no error.
	Join(ctx context.Context, instance Instance) error
	// AdvertiseGPUs gives the node its GPUs and takes its startup taint away.
	AdvertiseGPUs(ctx context.Context, instance Instance) error
	// Leave takes the node away. A node that is gone already is no error.
	Leave(ctx context.Context, instance Instance) error
}
