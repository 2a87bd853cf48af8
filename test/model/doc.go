// Package model is a cluster and its cloud as values: what a plan does to them, and what must never
// be true of them afterwards.
//
// A World holds the objects of the API server and the node groups of the cloud under a clock that
// moves when it is told to. It feeds a real state.Mirror through the handlers that informers call in
// production, so that everything from there to the plan is the product itself; only the executor,
// KubeRay, the kubelets and the cloud are played. Apply does to the world what pkg/execute would do,
// at once and without faults, and checks the invariants after every plan.
//
// Names, UIDs and instance IDs are counted, never drawn: the same story gives the same bytes.
package model
