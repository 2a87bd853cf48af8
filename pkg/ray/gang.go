// Package ray turns KubeRay's objects into gangs. It reads; whatever is written to them goes
// through pkg/execute.
package ray

import (
	"cmp"
	"fmt"
	"maps"
	"math"
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

// Groups returns the groups of a RayCluster's gang, the head first, or an error that says which
// field makes it impossible. requests computes what one pod of a template asks for.
//
// The minimum of a worker group is, in this order: what the annotation capmgr.io/min-replicas says;
// its minReplicas where that is set; nothing where Ray's own autoscaler decides; else all its
// replicas, because who asks for a fixed cluster expects all of it together.
func Groups(rc *rayv1.RayCluster, requests func(*corev1.Pod) snapshot.Resources) ([]snapshot.Group, error) {
	override, err := ParseCounts(rc.Annotations[v1alpha1.MinReplicasAnnotation])
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", v1alpha1.MinReplicasAnnotation, err)
	}
	groups := []snapshot.Group{{
		Name: HeadGroup, Min: 1, Want: 1,
		Request: ofTemplate(rc.Spec.HeadGroupSpec.Template, requests),
	}}
	for i := range rc.Spec.WorkerGroupSpecs {
		w := &rc.Spec.WorkerGroupSpecs[i]
		hosts := max(1, int(w.NumOfHosts))
		want, least := workers(rc, w)
		if n, ok := override[w.GroupName]; ok {
			least = min(n, want)
			delete(override, w.GroupName)
		}
		groups = append(groups, snapshot.Group{
			Name: w.GroupName, Min: least * hosts, Want: want * hosts,
			Request: ofTemplate(w.Template, requests),
		})
	}
	if unknown := slices.Sorted(maps.Keys(override)); len(unknown) > 0 {
		return nil, fmt.Errorf("annotation %s names the group %q, which the RayCluster does not have", v1alpha1.MinReplicasAnnotation, unknown[0])
	}
	return groups, nil
}

// workers returns the replicas that a worker group asks for, clamped as KubeRay clamps them, and
// the fewest that it starts with.
func workers(rc *rayv1.RayCluster, w *rayv1.WorkerGroupSpec) (want, least int) {
	if w.Suspend != nil && *w.Suspend {
		return 0, 0
	}
	value := func(p *int32, unset int32) int32 {
		if p == nil {
			return unset
		}
		return *p
	}
	floor, ceiling := value(w.MinReplicas, 0), value(w.MaxReplicas, math.MaxInt32)
	n := min(max(value(w.Replicas, 0), floor), ceiling)
	autoscaled := rc.Spec.EnableInTreeAutoscaling != nil && *rc.Spec.EnableInTreeAutoscaling
	if floor == 0 && !autoscaled {
		return int(n), int(n)
	}
	return int(n), int(floor)
}

func ofTemplate(t corev1.PodTemplateSpec, requests func(*corev1.Pod) snapshot.Resources) snapshot.Resources {
	return requests(&corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec})
}

// Suspended says whether the RayCluster is to have no pods.
func Suspended(rc *rayv1.RayCluster) bool { return rc.Spec.Suspend != nil && *rc.Spec.Suspend }

// Queue is the leaf queue that a labelled object asks for, or "".
func Queue(labels map[string]string) string {
	return cmp.Or(labels[v1alpha1.QueueLabel], labels[v1alpha1.LegacyQueueLabel])
}
