// Package ray turns KubeRay's objects into gangs. It reads; whatever is written to them goes
// through pkg/execute.
package ray

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Labels that KubeRay puts on every pod that it makes.
const (
	GroupLabel = "ray.io/group"
	HeadGroup  = "headgroup" // GroupLabel's value on the head

	// ReplicaLabel is equal on the hosts of one multi-host replica.
	ReplicaLabel = "ray.io/worker-group-replica-name"
)

// SubmitterGroup is the group of the pod that submits a RayJob's job from outside of its RayCluster.
const SubmitterGroup = "submitter"

// Groups returns the groups of a RayCluster's gang, the head first, or an error that says which
// field makes it impossible. requests computes what one pod asks for.
//
// The minimum of a worker group is, in this order: what the annotation capmgr.io/min-replicas says;
// its minReplicas where that is set; nothing where Ray's own autoscaler decides; else all its
// replicas, because who asks for a fixed cluster expects all of it together. All are the user's
// replicas: those that capmgr has lowered count as they were.
func Groups(rc *rayv1.RayCluster, requests func(*corev1.Pod) snapshot.Resources) ([]snapshot.Group, error) {
	override, err := ParseCounts(rc.Annotations[v1alpha1.MinReplicasAnnotation])
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", v1alpha1.MinReplicasAnnotation, err)
	}
	workers, err := WorkersOf(rc)
	if err != nil {
		return nil, err
	}
	head := HeadTemplate(rc)
	groups := []snapshot.Group{{Name: HeadGroup, Min: 1, Want: 1, Request: requests(head), Template: &snapshot.Pod{Object: head}}}
	for i := range rc.Spec.WorkerGroupSpecs {
		name := rc.Spec.WorkerGroupSpecs[i].GroupName
		template := WorkerTemplate(rc, i)
		g := snapshot.Group{Name: name, Request: requests(template), Template: &snapshot.Pod{Object: template}}
		if w := workers[i]; w != nil {
			least := w.Least
			if n, ok := override[name]; ok {
				least = min(n, w.Wish)
			} else if least == 0 && !autoscaled(&rc.Spec) {
				least = w.Wish
			}
			g.Min, g.Want = least*w.Hosts, min(max(w.Replicas, w.Least), w.Most)*w.Hosts
			g.Want = max(g.Want, g.Min)
			if ScalerOf(rc) != snapshot.ScaledByNobody {
				g.Workers = w
			}
		}
		delete(override, name)
		groups = append(groups, g)
	}
	if unknown := slices.Sorted(maps.Keys(override)); len(unknown) > 0 {
		return nil, fmt.Errorf("annotation %s names the group %q, which the RayCluster does not have", v1alpha1.MinReplicasAnnotation, unknown[0])
	}
	return groups, nil
}

// Suspended says whether the RayCluster is to have no pods.
func Suspended(rc *rayv1.RayCluster) bool { return rc.Spec.Suspend != nil && *rc.Spec.Suspend }

// Queue is the leaf queue that a labelled object asks for, or "".
func Queue(labels map[string]string) string {
	return cmp.Or(labels[v1alpha1.QueueLabel], labels[v1alpha1.LegacyQueueLabel])
}
