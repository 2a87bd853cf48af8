package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// gangs finds the gang of every pod that capmgr schedules, from the UID of the pod's controller: a
// label is the user's to write, an owner reference to an object with that UID is not.
func (b *builder) gangs() {
	byOwner := map[types.UID][]*snapshot.Pod{}
	for _, p := range b.byUID {
		switch in := b.m.pods[types.UID(p.UID)]; {
		case !in.ours:
		case in.owner == "":
			b.s.Gangs = append(b.s.Gangs, b.single(p))
		case b.m.clusters[in.owner] != nil && b.m.clusters[in.owner].Namespace == p.Namespace:
			byOwner[in.owner] = append(byOwner[in.owner], p)
		}
	}
	for uid, rc := range b.m.clusters {
		if g := b.rayCluster(rc, byOwner[uid]); g != nil {
			b.s.Gangs = append(b.s.Gangs, g)
		}
	}
	slices.SortFunc(b.s.Gangs, func(x, y *snapshot.Gang) int { return cmp.Compare(x.ID, y.ID) })
	for _, g := range b.s.Gangs {
		if g.Queue == "" {
			g.Queue = b.m.config.DefaultQueue
		}
		if until, ok := b.m.held[string(g.ID)]; ok && b.s.Now.Before(until) {
			g.HeldUntil = until
		}
		for _, r := range b.m.requests {
			if string(r.Spec.Gang.UID) == g.UID {
				g.Attempts = max(g.Attempts, r.Spec.Attempt)
			}
		}
	}
}

func gangID(namespace, kind, name, uid string) snapshot.GangID {
	return snapshot.GangID(namespace + "/" + kind + "/" + name + "/" + uid)
}

// single is a pod that is a gang of its own.
func (b *builder) single(p *snapshot.Pod) *snapshot.Gang {
	object := b.m.pods[types.UID(p.UID)].object
	g := &snapshot.Gang{
		ID: gangID(p.Namespace, "Pod", p.Name, p.UID), APIVersion: "v1", Kind: "Pod",
		Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		Queue: ray.Queue(object.Labels), Created: p.Created, Shape: p.Class,
		Groups:      []snapshot.Group{{Name: "pod", Min: 1, Want: 1, Request: p.Request}},
		Members:     []*snapshot.Pod{p},
		LastVerdict: object.Annotations[v1alpha1.VerdictAnnotation],
	}
	p.Gang, p.Group = g.ID, "pod"
	return g
}

// rayCluster is the gang of a RayCluster, or nil for one that another scheduler serves.
func (b *builder) rayCluster(rc *rayv1.RayCluster, members []*snapshot.Pod) *snapshot.Gang {
	queue := ray.Queue(rc.Labels)
	if len(members) == 0 && queue == "" {
		return nil
	}
	g := &snapshot.Gang{
		ID: gangID(rc.Namespace, "RayCluster", rc.Name, string(rc.UID)), APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster",
		Namespace: rc.Namespace, Name: rc.Name, UID: string(rc.UID),
		Queue: queue, Created: rc.CreationTimestamp.Time, Suspended: ray.Suspended(rc),
		LastVerdict: rc.Annotations[v1alpha1.VerdictAnnotation],
	}
	groups, err := ray.Groups(rc, fit.Requests)
	if err != nil {
		g.Invalid = err.Error()
	}
	g.Groups = groups
	for _, p := range members {
		p.Gang = g.ID
		p.Group = b.m.pods[types.UID(p.UID)].object.Labels[ray.GroupLabel]
	}
	rank := map[string]int{}
	for i, grp := range groups {
		rank[grp.Name] = i
	}
	slices.SortFunc(members, func(x, y *snapshot.Pod) int {
		return cmp.Or(cmp.Compare(rank[x.Group], rank[y.Group]), x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name))
	})
	g.Members = members
	g.Shape = shapeOf(groups, members)
	return g
}

// shapeOf is equal for gangs whose groups ask for the same pods in the same numbers.
func shapeOf(groups []snapshot.Group, members []*snapshot.Pod) string {
	class := map[string]string{}
	for _, p := range members {
		if class[p.Group] == "" || p.Class < class[p.Group] {
			class[p.Group] = p.Class
		}
	}
	h := sha256.New()
	for _, grp := range groups {
		fmt.Fprintf(h, "%s=%d:%s:%+v\n", grp.Name, grp.Min, class[grp.Name], grp.Request)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
