// Package fakeaws answers the Amazon APIs that capmgr uses, well enough for the vendor's own client
// library to work against it unchanged: EC2 Auto Scaling, EC2 and EKS, told apart by the service named
// in the request's signature. It keeps Auto Scaling groups and their instances, and it can boot a
// Kubernetes Node object per instance, which KWOK then keeps alive.
//
// It is truthful where truth hurts: lowering a group's desired capacity kills an instance of the
// server's choice, a launch may be partial, a group that is short of instances goes on trying, and a
// response can be lost after the call took effect. Faults are scripted in the configuration file or
// through the administrative endpoint under /admin, which also tells every call that was made.
//
// Signatures are read but not verified: any access key is accepted, no access key is not.
package fakeaws
