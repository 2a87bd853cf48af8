package state

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
)

// orphan names the purchase on an instance's tag when no CapacityRequest stands for the instance: it
// went with its owner, or the cloud refused it and all that came was given back. Where the instance
// became a node, it is an ordinary one: the next to use or, idle, to release. Where it did not, nobody
// waits for it.
func (b *builder) orphan(i cloud.Instance) string {
	namespace, name, ok := strings.Cut(i.Intent, "/")
	if !ok {
		return "" // not launched by capmgr, or tagged by somebody else's hand
	}
	r := b.m.requests[types.NamespacedName{Namespace: namespace, Name: name}]
	if r == nil || refused(r) && meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReleased) {
		return i.Intent
	}
	return ""
}
