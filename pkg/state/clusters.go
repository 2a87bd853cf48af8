package state

import (
	"cmp"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

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
