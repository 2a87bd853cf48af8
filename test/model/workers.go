package model

import (
	"cmp"
	"fmt"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
)

// Hear lets the head of a RayCluster say something.
func (w *World) Hear(namespace, name string, a gcs.Answer) error {
	rc := w.clusters[types.NamespacedName{Namespace: namespace, Name: name}]
	if rc == nil {
		return fmt.Errorf("hear raycluster %s/%s: there is none", namespace, name)
	}
	w.changes++
	w.mirror.Hear(string(rc.UID), a)
	return nil
}

// resize does what the executor does with a resize, without asking anybody to leave first.
func (w *World) resize(s plan.Resize) error {
	rc, g := w.group(s, s.Cluster, s.Group)
	if rc == nil {
		return nil
	}
	if int(deref(g.Replicas)) != s.From || !slices.Equal(g.ScaleStrategy.WorkersToDelete, s.OldList) {
		w.leaveOut(s, "it has %d replicas and names %v by now", deref(g.Replicas), g.ScaleStrategy.WorkersToDelete)
		return nil
	}
	units := map[string]bool{}
	for _, l := range s.Leavers {
		p := w.pods[types.NamespacedName{Namespace: l.Namespace, Name: l.Name}]
		switch {
		case p == nil || string(p.UID) != l.UID:
			w.leaveOut(s, "pod %s is gone", l.Name)
			return nil
		case !metav1.IsControlledBy(p, rc) || p.Labels[ray.GroupLabel] != s.Name:
			return fmt.Errorf("%s names %s, which is no pod of this cluster and group", s, l.Name)
		}
		units[cmp.Or(l.Unit, l.Name)] = true
	}
	if lowered := s.From - s.To; lowered > 0 && lowered != len(units) {
		return fmt.Errorf("%s lowers by %d and names %d replicas", s, lowered, len(units))
	}
	g.Replicas = ptr.To(int32(s.To)) //nolint:gosec // small
	g.ScaleStrategy.WorkersToDelete = s.NewList(s.Leavers)
	return w.remember(rc, v1alpha1.DesiredReplicasAnnotation, s.Name, s.To, s.Wish, func(r *ray.GroupRecord) {
		r.Replicas = &s.To
		if s.To > s.From || s.Shrinks(s.Leavers) {
			r.Moved(s.From, s.To, w.Now)
		}
		r.Named = slices.DeleteFunc(r.Named, func(name string) bool { return slices.Contains(s.Gone, name) })
		for _, l := range s.Leavers {
			r.Named = append(r.Named, l.Name)
		}
	})
}

func (w *World) moveCeiling(s plan.Ceiling) error {
	rc, g := w.group(s, s.Cluster, s.Group)
	if rc == nil {
		return nil
	}
	if g.MaxReplicas == nil || int(*g.MaxReplicas) != s.From {
		w.leaveOut(s, "its ceiling is another by now")
		return nil
	}
	g.MaxReplicas = ptr.To(int32(s.To)) //nolint:gosec // small
	return w.remember(rc, v1alpha1.DesiredMaxReplicasAnnotation, s.Name, s.To, s.Own, func(r *ray.GroupRecord) {
		r.MaxReplicas = &s.To
		r.Moved(s.From, s.To, w.Now)
	})
}

// group is a copy of a RayCluster and its worker group, or nil when they are others by now.
func (w *World) group(s plan.Step, cluster plan.Owner, g plan.Group) (*rayv1.RayCluster, *rayv1.WorkerGroupSpec) {
	if !w.exists(cluster) {
		w.leaveOut(s, "the cluster is gone")
		return nil, nil
	}
	rc := w.clusters[types.NamespacedName{Namespace: cluster.Namespace, Name: cluster.Name}].DeepCopy()
	if g.Index >= len(rc.Spec.WorkerGroupSpecs) || rc.Spec.WorkerGroupSpecs[g.Index].GroupName != g.Name {
		w.leaveOut(s, "its groups are others by now")
		return nil, nil
	}
	return rc, &rc.Spec.WorkerGroupSpecs[g.Index]
}

// remember stores a changed RayCluster with what the executor notes on it, and lets KubeRay see it.
func (w *World) remember(rc *rayv1.RayCluster, annotation, group string, to, own int, change func(*ray.GroupRecord)) error {
	record, err := ray.ReadRecord(rc.Annotations)
	if err != nil {
		return err
	}
	counts, err := ray.ParseCounts(rc.Annotations[annotation])
	if err != nil {
		return err
	}
	if delete(counts, group); to != own {
		counts[group] = own
	}
	r := record[group]
	change(&r)
	record[group] = r
	metav1.SetMetaDataAnnotation(&rc.ObjectMeta, annotation, ray.FormatCounts(counts))
	metav1.SetMetaDataAnnotation(&rc.ObjectMeta, v1alpha1.WorkersAnnotation, record.String())
	w.putRayCluster(rc)
	w.reconcile(rc)
	return nil
}

// turn throws the switch of a RayCluster or a RayJob. A RayService's is not played.
func (w *World) turn(s plan.Step, o plan.Owner, on bool, mode string) error {
	if !w.exists(o) {
		w.leaveOut(s, "it is gone")
		return nil
	}
	key := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	note := func(m *metav1.ObjectMeta) {
		if delete(m.Annotations, v1alpha1.SuspensionAnnotation); mode != "" {
			metav1.SetMetaDataAnnotation(m, v1alpha1.SuspensionAnnotation, mode)
		}
	}
	switch o.Kind {
	case "RayCluster":
		rc := w.clusters[key].DeepCopy()
		rc.Spec.Suspend = &on
		note(&rc.ObjectMeta)
		w.putRayCluster(rc)
		w.reconcile(rc)
	case "RayJob":
		j := w.jobs[key].DeepCopy()
		j.Spec.Suspend = on
		note(&j.ObjectMeta)
		w.putRayJob(j)
		w.reconcileJob(j)
	default:
		return fmt.Errorf("the model does not know how to suspend a %s", o.Kind)
	}
	return nil
}
