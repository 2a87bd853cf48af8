// Package v1alpha1 holds capmgr's own API: the configuration file that an operator
// writes (CapacityManagerConfiguration), the record of a purchase that a user sees
// (CapacityRequest), and the keys of labels, annotations, taints and cloud tags.
//
// The two kinds are of different groups. The configuration, config.capmgr.io, is a
// file and never an object in the cluster, so it is not registered in a scheme;
// Load and Decode read it. CapacityRequest, capmgr.io, is an ordinary namespaced
// object.
//
// +kubebuilder:object:generate=true
// +groupName=capmgr.io
package v1alpha1
