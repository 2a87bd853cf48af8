package ray

import (
	"fmt"
	"math"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// operator is the only value of managedBy with which KubeRay's operator reconciles an object.
const operator = "ray.io/kuberay-operator"

// ScalerOf says who writes the replicas of a RayCluster's worker groups.
func ScalerOf(rc *rayv1.RayCluster) snapshot.Scaler {
	switch {
	case rc.Spec.ManagedBy != nil && *rc.Spec.ManagedBy != operator:
		return snapshot.ScaledByNobody
	case autoscaled(&rc.Spec):
		return snapshot.ScaledByRay
	}
	return snapshot.ScaledByCapmgr
}

func autoscaled(spec *rayv1.RayClusterSpec) bool {
	return spec.EnableInTreeAutoscaling != nil && *spec.EnableInTreeAutoscaling
}

// WorkersOf returns the worker groups of a RayCluster in the order of its spec; nil in the place of
// one that is suspended by itself. The error says which annotation cannot be read.
func WorkersOf(rc *rayv1.RayCluster) ([]*snapshot.Workers, error) {
	record, err := ReadRecord(rc.Annotations)
	if err != nil {
		return nil, err
	}
	wishes, err := counts(rc, v1alpha1.DesiredReplicasAnnotation)
	if err != nil {
		return nil, err
	}
	ceilings, err := counts(rc, v1alpha1.DesiredMaxReplicasAnnotation)
	if err != nil {
		return nil, err
	}
	out := make([]*snapshot.Workers, len(rc.Spec.WorkerGroupSpecs))
	for i := range rc.Spec.WorkerGroupSpecs {
		g := &rc.Spec.WorkerGroupSpecs[i]
		if g.Suspend != nil && *g.Suspend {
			continue
		}
		wrote := record[g.GroupName]
		w := &snapshot.Workers{
			Index: i, Hosts: max(1, int(g.NumOfHosts)),
			Replicas: value(g.Replicas, 0), Least: value(g.MinReplicas, 0), Most: value(g.MaxReplicas, math.MaxInt32),
			ToDelete: g.ScaleStrategy.WorkersToDelete, Grown: wrote.Grown, Shrunk: wrote.Shrunk,
		}
		for _, name := range wrote.Named {
			if slices.Contains(w.ToDelete, name) {
				w.Named = append(w.Named, name)
			}
		}
		w.Adopt = wrote.Replicas != nil && *wrote.Replicas != w.Replicas
		w.Ceiling = own(w.Most, wrote.MaxReplicas, ceilings, g.GroupName)
		w.Wish = min(max(own(w.Replicas, wrote.Replicas, wishes, g.GroupName), w.Least), w.Ceiling)
		out[i] = w
	}
	return out, nil
}

// own is the user's own number: what the spec has, unless capmgr wrote that, and then what it
// remembered. A spec that has another number than capmgr wrote is the latest that anybody said.
func own(now int, wrote *int, remembered map[string]int, group string) int {
	if n, ok := remembered[group]; ok && wrote != nil && *wrote == now {
		return n
	}
	return now
}

func counts(rc *rayv1.RayCluster, annotation string) (map[string]int, error) {
	out, err := ParseCounts(rc.Annotations[annotation])
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", annotation, err)
	}
	return out, nil
}

func value(p *int32, unset int) int {
	if p == nil {
		return unset
	}
	return int(*p)
}
