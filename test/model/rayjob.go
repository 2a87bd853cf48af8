package model

import (
	"fmt"
	"maps"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PutRayJob creates or replaces a RayJob, and KubeRay makes its RayCluster, or takes it away. The job's
// program is not played: it runs until EndRayJob.
func (w *World) PutRayJob(j *rayv1.RayJob) {
	w.changes++
	w.putRayJob(j)
	w.reconcileJob(j)
}

func (w *World) putRayJob(j *rayv1.RayJob) {
	old := w.jobs[keyOf(j)]
	if old != nil {
		j.UID, j.CreationTimestamp = old.UID, old.CreationTimestamp
	}
	w.stamp(&j.ObjectMeta, "rayjob")
	w.jobs[keyOf(j)] = j
	show(w.mirror.RayJobs(), old, j)
}

// EndRayJob lets the program of a RayJob end. One that failed is tried again, on another cluster.
func (w *World) EndRayJob(namespace, name string, failed bool) error {
	j := w.jobs[types.NamespacedName{Namespace: namespace, Name: name}]
	if j == nil {
		return fmt.Errorf("end rayjob %s/%s: there is none", namespace, name)
	}
	w.changes++
	j = j.DeepCopy()
	if failed {
		if err := w.dropCluster(j); err != nil {
			return err
		}
		j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusRetrying
	} else {
		j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusComplete
		if j.Spec.ShutdownAfterJobFinishes {
			if err := w.dropCluster(j); err != nil {
				return err
			}
		}
	}
	w.putRayJob(j)
	w.reconcileJob(j)
	return nil
}

// dropCluster deletes the RayCluster of a RayJob.
func (w *World) dropCluster(j *rayv1.RayJob) error {
	name := j.Status.RayClusterName
	j.Status.RayClusterName = ""
	if name == "" {
		return nil
	}
	return w.DeleteRayCluster(j.Namespace, name)
}

// reconcileJob brings the RayCluster of a RayJob in line with it. Its spec is the job's when it is made,
// and its own from then on.
func (w *World) reconcileJob(j *rayv1.RayJob) {
	switch {
	case len(j.Spec.ClusterSelector) > 0 || rayv1.IsJobDeploymentTerminal(j.Status.JobDeploymentStatus):
	case j.Spec.Suspend && j.Status.RayClusterName != "":
		j = j.DeepCopy()
		j.Status.JobDeploymentStatus = rayv1.JobDeploymentStatusSuspended
		if err := w.dropCluster(j); err == nil {
			w.putRayJob(j)
		}
	case !j.Spec.Suspend && j.Status.RayClusterName == "":
		j = j.DeepCopy()
		now := metav1.NewTime(w.Now)
		w.serial++
		j.Status.RayClusterName = fmt.Sprintf("%s-%d", j.Name, w.serial)
		j.Status.StartTime, j.Status.JobDeploymentStatus = &now, rayv1.JobDeploymentStatusInitializing
		w.putRayJob(j)
		rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: j.Namespace, Name: j.Status.RayClusterName, Labels: maps.Clone(j.Labels), Annotations: maps.Clone(j.Annotations),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: rayv1.GroupVersion.String(), Kind: "RayJob", Name: j.Name, UID: j.UID, Controller: yes()}}},
			Spec: *j.Spec.RayClusterSpec.DeepCopy()}
		w.putRayCluster(rc)
		w.reconcile(rc)
	}
}
