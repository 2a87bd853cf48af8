// Package e2e has the tests on a real control plane: etcd, kube-apiserver, kube-controller-manager,
// the KubeRay operator and the capmgr binary itself, under its own service account. Nodes and pods
// come alive through KWOK, and the AWS is a server that speaks its protocols.
//
// A test that breaks something all others stand on (the API server, the manager) has a stack of its
// own; the others share one, where each has node groups, queues and a namespace for itself.
package e2e
