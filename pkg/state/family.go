package state

import (
	"cmp"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/ray"
)

// A RayJob, its RayCluster and the Job that submits to it are three owners of pods and one gang. Their
// units are a family, named after the RayJob. So are the ReplicaSets of a Deployment, whose labels all
// their pods go by.

// rootOf is the unit that the family of a unit is named after.
func (m *Mirror) rootOf(key types.UID) types.UID {
	if rc := m.clusters[key]; rc != nil {
		if job := controlledBy(rc, "RayJob"); job != "" {
			return job
		}
		return key
	}
	if job := m.jobs[key]; job != nil {
		if uid := controlledBy(job, "RayJob"); uid != "" {
			if rc := m.selected(uid); rc != nil {
				return m.rootOf(rc.UID)
			}
			return uid
		}
	}
	if o := m.owners[key]; o != nil && o.of != "" {
		return o.of
	}
	return key
}

// controlledBy is the UID of an object's controller, if it is of a kind of Ray's; else "".
func controlledBy(o metav1.Object, kind string) types.UID {
	if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == kind {
		return ref.UID
	}
	return ""
}

// ofRayJob says whether an owner of pods runs for a RayJob.
func (m *Mirror) ofRayJob(owner types.UID) bool {
	job := m.jobs[owner]
	return job != nil && controlledBy(job, "RayJob") != ""
}

// selected is the RayCluster that a RayJob with a clusterSelector runs on, or nil.
func (m *Mirror) selected(job types.UID) *rayv1.RayCluster {
	j := m.rayJobs[job]
	if j == nil {
		return nil
	}
	on, selects := selectedBy(j)
	if !selects {
		return nil
	}
	for uid := range m.named[on] {
		if rc := m.clusters[uid]; rc != nil && rc.DeletionTimestamp == nil {
			return rc
		}
	}
	return nil
}

// selectedBy names the RayCluster that a RayJob with a clusterSelector runs on. KubeRay reads no other
// key of the selector.
func selectedBy(j *rayv1.RayJob) (on types.NamespacedName, selects bool) {
	return types.NamespacedName{Namespace: j.Namespace, Name: j.Spec.ClusterSelector[ray.ClusterLabel]}, len(j.Spec.ClusterSelector) > 0
}

// families puts the changed units into their families, and returns the units whose gangs are to be
// made again: those named after, those that were, and those that changed.
func (b *builder) families() map[types.UID]bool {
	k := &b.m.kept
	again := map[types.UID]bool{}
	for key := range b.related() {
		u := k.unit[key]
		if u == nil {
			u = &unit{}
			k.unit[key] = u
		}
		again[key] = true
		root := b.m.rootOf(key)
		if u.root != root && u.root != "" {
			again[u.root] = true
			delete(k.family[u.root], key)
		}
		u.root = root
		if k.family[root] == nil {
			k.family[root] = map[types.UID]bool{}
		}
		k.family[root][key] = true
		again[root] = true
	}
	for key := range again {
		if k.unit[key] == nil {
			k.unit[key] = &unit{root: b.m.rootOf(key)}
		}
	}
	return again
}

// related are the changed units, and those whose family may be another one because of them.
func (b *builder) related() map[types.UID]bool {
	k := &b.m.kept
	out := map[types.UID]bool{}
	for key := range k.units {
		out[key] = true
		for _, members := range []map[types.UID]bool{k.family[key], b.m.submit[key], b.m.runs[key]} {
			for uid := range members {
				out[uid] = true
			}
		}
		if rc := b.m.clusters[key]; rc != nil {
			for job := range b.m.selecting[types.NamespacedName{Namespace: rc.Namespace, Name: rc.Name}] {
				for uid := range b.m.submit[job] {
					out[uid] = true
				}
			}
		}
	}
	return out
}

// prune forgets those of some units that nothing is left of.
func (b *builder) prune(keys map[types.UID]bool) {
	k := &b.m.kept
	for key := range keys {
		u := k.unit[key]
		if len(u.pods)+len(u.gangs) > 0 || b.m.clusters[key] != nil || b.m.jobs[key] != nil || b.m.rayJobs[key] != nil {
			continue
		}
		delete(k.unit, key)
		delete(k.family[u.root], key)
		if len(k.family[u.root]) == 0 {
			delete(k.family, u.root)
		}
	}
}

// podsOf are the pods of a family, by UID.
func (b *builder) podsOf(root types.UID) (pods []*pod) {
	for key := range b.m.kept.family[root] {
		if u := b.m.kept.unit[key]; u != nil {
			pods = append(pods, u.pods...)
		}
	}
	slices.SortFunc(pods, func(x, y *pod) int { return cmp.Compare(x.object.UID, y.object.UID) })
	return pods
}

// clusterOf is the RayCluster of a family: of several that a RayJob made one after the other, the one
// that it runs on, else the latest.
func (b *builder) clusterOf(root types.UID) *rayv1.RayCluster {
	if rc := b.m.clusters[root]; rc != nil {
		return rc
	}
	job := b.m.rayJobs[root]
	if job == nil {
		return nil
	}
	var found *rayv1.RayCluster
	for key := range b.m.kept.family[root] {
		rc := b.m.clusters[key]
		switch {
		case rc == nil || rc.Namespace != job.Namespace:
		case rc.Name == job.Status.RayClusterName:
			return rc
		case found == nil, found.CreationTimestamp.Before(&rc.CreationTimestamp),
			found.CreationTimestamp.Equal(&rc.CreationTimestamp) && rc.UID < found.UID:
			found = rc
		}
	}
	return found
}

// submits says whether a pod submits a job to the RayCluster of a family.
func (b *builder) submits(p *pod, root types.UID) bool {
	if p.owner == root || !b.m.ofRayJob(p.owner) {
		return false
	}
	job := b.m.jobs[p.owner]
	rayJob := b.m.rayJobs[controlledBy(job, "RayJob")]
	return rayJob != nil && rayJob.Namespace == job.Namespace && job.Namespace == p.object.Namespace
}
