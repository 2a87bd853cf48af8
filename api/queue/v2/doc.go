// Package v2 holds the Queue of the scheduling.run.ai API group, field for field
// what NVIDIA KAI Scheduler users already apply. capmgr reads the same objects and
// adds nothing to their spec: bounds on buying nodes live in capmgr's own
// configuration, keyed by queue name, so that a cluster can move to capmgr and
// back without touching a Queue.
//
// +kubebuilder:object:generate=true
// +groupName=scheduling.run.ai
package v2
