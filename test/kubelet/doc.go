// Package kubelet runs a real RayCluster on a real node: a kubelet with containerd beside the local
// control plane, Ray inside of an image that is made from this machine's own Python, devices that are
// only claimed. make test-kubelet brings what it needs; without, the tests are skipped.
package kubelet
