package state

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Kinds of the group apps that create pods one by one, directly or through one another.
const (
	Deployment  = "Deployment"
	ReplicaSet  = "ReplicaSet"
	StatefulSet = "StatefulSet"
)

// inherited are the labels that count for the pods of such an object.
var inherited = []string{v1alpha1.QueueLabel, v1alpha1.LegacyQueueLabel, v1alpha1.PriorityClassLabel, v1alpha1.PreemptibilityLabel}

// owner is what is kept of such an object: thousands of them have nothing to do with capmgr.
type owner struct {
	ref    snapshot.Ref
	labels map[string]string // those that are inherited
	of     types.UID         // the Deployment that controls a ReplicaSet; "" elsewhere
}

// Owners returns the handler for the informer of one of these kinds, of whole objects or of their metadata.
// Their status changes with every pod, which is no news.
func (m *Mirror) Owners(kind string) cache.ResourceEventHandler {
	return handle(func(o metav1.Object) {
		now := &owner{ref: snapshot.Ref{APIVersion: "apps/v1", Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}}
		for _, key := range inherited {
			if value := o.GetLabels()[key]; value != "" {
				if now.labels == nil {
					now.labels = map[string]string{}
				}
				now.labels[key] = value
			}
		}
		if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == Deployment && ofApps(ref) {
			now.of = ref.UID
		}
		m.mu.Lock()
		old := m.owners[o.GetUID()]
		m.mu.Unlock()
		if old != nil && old.of == now.of && maps.Equal(old.labels, now.labels) {
			return
		}
		m.note(func() {
			m.owners[o.GetUID()] = now
			m.kept.units[o.GetUID()] = true
		})
	}, func(o metav1.Object) {
		m.note(func() {
			delete(m.owners, o.GetUID())
			m.kept.units[o.GetUID()] = true
		})
	})
}

// ofApps says whether a reference is to an object of the group apps. Others have a kind StatefulSet, too.
func ofApps(ref *metav1.OwnerReference) bool { return strings.HasPrefix(ref.APIVersion, "apps/") }

// topOf is the Deployment or StatefulSet that a pod is one of; nil where it has none. known is false while
// an object on the way there has not been seen: what it asks for is not known either.
func (m *Mirror) topOf(p *pod) (top *owner, known bool) {
	if !p.ofApps || p.ownerKind != ReplicaSet && p.ownerKind != StatefulSet {
		return nil, true
	}
	top = m.owners[p.owner]
	switch {
	case top == nil || top.ref.Kind != p.ownerKind:
		return nil, false
	case top.ref.Kind == ReplicaSet && top.of == "":
		return nil, true
	case top.ref.Kind == ReplicaSet:
		top = m.owners[top.of]
	}
	if top == nil || top.ref.Namespace != p.object.Namespace { // owners are of one namespace
		return nil, false
	}
	return top, true
}
