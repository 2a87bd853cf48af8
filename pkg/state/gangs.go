package state

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// gangs makes the changed pods and their gangs again.
func (b *builder) gangs() {
	k := &b.m.kept
	if k.all {
		k.allNodes = true
		for key := range k.unit {
			k.units[key] = true
		}
		for uid := range b.m.clusters {
			k.units[uid] = true
		}
	}
	b.passing()
	attempts := map[string]int32{}
	for _, r := range b.m.requests {
		uid := string(r.Spec.Gang.UID)
		attempts[uid] = max(attempts[uid], r.Spec.Attempt)
	}
	var gone, made []*snapshot.Gang
	for key := range k.units {
		u := k.unit[key]
		if u == nil {
			u = &unit{}
			k.unit[key] = u
		}
		gone = append(gone, u.gangs...)
		u.gangs = b.gangsOf(key, u)
		made = append(made, u.gangs...)
		for _, g := range u.gangs {
			g.Attempts = attempts[g.UID]
			b.complete(g)
		}
		if len(u.pods)+len(u.gangs) == 0 {
			delete(k.unit, key)
		}
	}
	k.gangs = merged(k.gangs, gone, made, gangName)
	b.s.Gangs = k.gangs
	for _, g := range gone {
		if _, there := find(k.gangs, string(g.ID), gangName); !there {
			b.m.forgetGang(string(g.ID))
		}
	}
}

// passing marks the gangs of which something is remembered that time alone ends.
func (b *builder) passing() {
	k := &b.m.kept
	for _, remembered := range []iter.Seq[string]{maps.Keys(b.m.held), maps.Keys(b.m.evicted)} {
		for id := range remembered {
			at, there := find(k.gangs, id, gangName)
			if !there {
				if !k.all {
					b.m.forgetGang(id)
				}
				continue
			}
			key := types.UID(k.gangs[at].UID)
			if p := b.m.pods[key]; p != nil {
				key = keyOf(p)
			}
			k.units[key] = true
		}
	}
}

// gangsOf finds the gang of every pod of a unit that capmgr schedules, from the UID of the pod's
// controller: a label is the user's to write, an owner reference to an object with that UID is not.
func (b *builder) gangsOf(key types.UID, u *unit) (gangs []*snapshot.Gang) {
	rc, job := b.m.clusters[key], b.m.jobs[key]
	slices.SortFunc(u.pods, func(x, y *pod) int { return cmp.Compare(x.object.UID, y.object.UID) })
	var members []*snapshot.Pod
	for _, in := range u.pods {
		p := b.pod(in)
		b.m.kept.publish(in, p)
		switch {
		case !in.ours:
		case in.owner == key && rc != nil && rc.Namespace == p.Namespace, in.owner == key && job != nil && job.Namespace == p.Namespace && minMember(job) > 0:
			members = append(members, p)
		case in.ownerKind == "RayCluster":
			// Its RayCluster has not been seen yet; alone it means nothing.
		default:
			gangs = append(gangs, b.single(p))
		}
	}
	if rc != nil {
		if g := b.rayCluster(rc, members); g != nil {
			gangs = append(gangs, g)
		}
	}
	if job != nil && len(members) > 0 {
		gangs = append(gangs, b.job(job, members))
	}
	return gangs
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
		Queue: ray.Queue(object.Labels), Created: p.Created, Shape: shapeOfPod(p, object.Labels[v1alpha1.PreemptibilityLabel]),
		Groups:      []snapshot.Group{{Name: "pod", Min: 1, Want: 1, Request: p.Request}},
		Members:     []*snapshot.Pod{p},
		LastVerdict: object.Annotations[v1alpha1.VerdictAnnotation],
	}
	p.Gang, p.Group = g.ID, "pod"
	b.rank(g, object.Labels, object)
	return g
}

// shapeOfPod is the shape of a pod that is a gang of its own. It becomes the value of a label, so no
// text of the user's goes into it.
func shapeOfPod(p *snapshot.Pod, preemptibility string) string {
	switch preemptibility {
	case "preemptible", "non-preemptible":
		return p.Class + "-" + preemptibility
	}
	return p.Class
}

// anyZone says whether the owner of a gang allows its GPU members to be in several zones, and marks
// the shape: what one such gang cannot buy, another like it without the annotation cannot either, but
// not the other way round.
func anyZone(g *snapshot.Gang, annotations map[string]string) {
	if annotations[v1alpha1.ZonesAnnotation] == v1alpha1.AnyZone {
		g.AnyZone = true
		g.Shape += "-any-zone"
	}
}

// minMember is how many pods a Job wants to start together; 0 when it does not say.
func minMember(j *batchv1.Job) int {
	n, err := strconv.ParseUint(j.Annotations[v1alpha1.BatchMinMemberAnnotation], 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// job is the gang of a batch Job that wants its pods to start together.
func (b *builder) job(j *batchv1.Job, members []*snapshot.Pod) *snapshot.Gang {
	g := &snapshot.Gang{
		ID: gangID(j.Namespace, "Job", j.Name, string(j.UID)), APIVersion: "batch/v1", Kind: "Job",
		Namespace: j.Namespace, Name: j.Name, UID: string(j.UID),
		Queue: ray.Queue(j.Labels), Created: j.CreationTimestamp.Time,
		Ending: j.DeletionTimestamp != nil || j.Status.Succeeded > 0, Grace: grace(j.Annotations),
		Members: members, LastVerdict: j.Annotations[v1alpha1.VerdictAnnotation],
	}
	want := int(ptr.Deref(j.Spec.Parallelism, 1))
	g.Groups = []snapshot.Group{{Name: "job", Min: min(minMember(j), want), Want: want,
		Request: fit.Requests(&corev1.Pod{ObjectMeta: j.Spec.Template.ObjectMeta, Spec: j.Spec.Template.Spec})}}
	for _, p := range members {
		p.Gang, p.Group = g.ID, "job"
	}
	slices.SortFunc(members, func(x, y *snapshot.Pod) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name))
	})
	object := b.m.pods[types.UID(members[0].UID)].object
	g.Queue = cmp.Or(g.Queue, ray.Queue(object.Labels))
	b.rank(g, j.Labels, object)
	g.Shape = shapeOf(g.Groups, members)
	anyZone(g, j.Annotations)
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
		Ending: rc.DeletionTimestamp != nil, Grace: grace(rc.Annotations),
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
	var head *corev1.Pod
	if len(members) > 0 {
		head = b.m.pods[types.UID(members[0].UID)].object
	}
	b.rank(g, rc.Labels, head)
	g.Shape = shapeOf(groups, members)
	anyZone(g, rc.Annotations)
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
