package state

import (
	"cmp"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// AssumeCluster records a RayCluster as the API server returned it after a write.
func (m *Mirror) AssumeCluster(u *unstructured.Unstructured) {
	rc := &rayv1.RayCluster{}
	// What cannot be read arrives by the watch, or is refused there as well.
	if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, rc) != nil {
		return
	}
	m.note(func() {
		if m.clusters[rc.UID] != nil { // else it went meanwhile
			m.putCluster(rc)
		}
	})
}

func (m *Mirror) putCluster(rc *rayv1.RayCluster) {
	if old := m.clusters[rc.UID]; old != nil && newer(old.ResourceVersion, rc.ResourceVersion) {
		return // an informer that lags behind capmgr's own write
	}
	m.clusters[rc.UID] = rc
	m.kept.units[rc.UID] = true
	enlist(m.named, types.NamespacedName{Namespace: rc.Namespace, Name: rc.Name}, rc.UID)
	if s := controlledBy(rc, "RayService"); s != "" {
		enlist(m.runs, s, rc.UID)
	}
}

func (m *Mirror) dropCluster(rc *rayv1.RayCluster) {
	delete(m.clusters, rc.UID)
	delete(m.heard, rc.UID)
	m.kept.units[rc.UID] = true
	delist(m.named, types.NamespacedName{Namespace: rc.Namespace, Name: rc.Name}, rc.UID)
	if s := controlledBy(rc, "RayService"); s != "" {
		delist(m.runs, s, rc.UID)
	}
}

func enlist[K comparable](index map[K]map[types.UID]bool, key K, uid types.UID) {
	if index[key] == nil {
		index[key] = map[types.UID]bool{}
	}
	index[key][uid] = true
}

func delist[K comparable](index map[K]map[types.UID]bool, key K, uid types.UID) {
	delete(index[key], uid)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}

// Heads lists the heads to ask, by UID: those of the RayClusters that capmgr serves. What was heard of
// others is forgotten.
func (m *Mirror) Heads() []ray.Head {
	var heads []ray.Head
	m.mu.Lock()
	defer m.mu.Unlock()
	still := map[types.UID]bool{}
	for uid, rc := range m.clusters {
		u := m.kept.unit[m.rootOf(uid)]
		if h, ok := ray.HeadOf(rc); ok && u != nil && len(u.gangs) > 0 {
			heads = append(heads, h)
			still[uid] = true
		}
	}
	m.unhear(still)
	slices.SortFunc(heads, func(a, b ray.Head) int { return cmp.Compare(a.UID, b.UID) })
	return heads
}

// QuietContentions lists the RayClusters with the record of a contest that is over.
func (m *Mirror) QuietContentions(now time.Time) []snapshot.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []snapshot.Ref
	for _, rc := range m.clusters {
		if rc.Annotations[v1alpha1.ContentionAnnotation] != "" && rc.DeletionTimestamp == nil && ray.ReadContention(rc.Annotations).Quiet(now) {
			out = append(out, clusterRef(rc))
		}
	}
	slices.SortFunc(out, func(a, b snapshot.Ref) int { return cmp.Compare(a.UID, b.UID) })
	return out
}

func clusterRef(rc *rayv1.RayCluster) snapshot.Ref {
	return snapshot.Ref{APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster", Namespace: rc.Namespace, Name: rc.Name, UID: string(rc.UID)}
}

// ResumedByUsers lists the objects that capmgr suspended and that somebody else has let go on: the note
// of why must not outlive that, or it would speak of the user's next suspension.
func (m *Mirror) ResumedByUsers() []snapshot.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []snapshot.Ref
	noted := func(annotations map[string]string) bool { return annotations[v1alpha1.SuspensionAnnotation] != "" }
	for _, rc := range m.clusters {
		if noted(rc.Annotations) && !ray.Suspended(rc) && controlledBy(rc, "RayJob")+controlledBy(rc, "RayService") == "" {
			out = append(out, clusterRef(rc))
		}
	}
	for _, j := range m.rayJobs {
		if noted(j.Annotations) && !j.Spec.Suspend {
			out = append(out, refOf("RayJob", j))
		}
	}
	for _, s := range m.services {
		on := s.Spec.RayClusterSpec.Suspend != nil && *s.Spec.RayClusterSpec.Suspend
		for uid := range m.runs[s.UID] { // a switch of its own, from KubeRay 1.7 on, shows in its clusters
			on = on || ray.Suspended(m.clusters[uid])
		}
		if noted(s.Annotations) && !on && len(m.runs[s.UID]) > 0 {
			out = append(out, refOf("RayService", s))
		}
	}
	slices.SortFunc(out, func(a, b snapshot.Ref) int { return cmp.Compare(a.UID, b.UID) })
	return out
}
