// Package localcluster runs a real Kubernetes control plane as child processes
// on this machine: etcd, kube-apiserver and kube-controller-manager, and beside
// them KWOK for nodes and pods that only pretend to run, and the KubeRay
// operator. Tests, demos and recordings share it, so that what they show was
// decided by the same programs a cluster runs, in all but the kubelet.
//
// The programs are built from pinned modules by tools/build.sh ("make tools").
// They listen on 127.0.0.1 only; etcd does so without authentication, which
// leaves a run open to other users of the same machine. Linux only.
package localcluster
