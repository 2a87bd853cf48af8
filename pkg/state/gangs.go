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
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
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
		for uid := range b.m.rayJobs {
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
	changed := b.families()
	for key := range changed {
		u := k.unit[key]
		gone = append(gone, u.gangs...)
		u.gangs = nil
		if u.root == key {
			u.gangs = b.gangsOf(key)
		}
		made = append(made, u.gangs...)
		for _, g := range u.gangs {
			g.Attempts = attempts[g.UID]
			b.complete(g)
		}
	}
	b.prune(changed)
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
	for _, remembered := range []iter.Seq[string]{maps.Keys(b.m.held), maps.Keys(b.m.evicted), maps.Keys(b.m.resumed)} {
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
	for uid, h := range b.m.heard {
		if h.fresh != h.answer.Fresh(b.s.Now, gcs.FreshWithin) {
			k.units[uid] = true
		}
	}
}

// gangsOf finds the gang of every pod of a family that capmgr schedules, from the UID of the pod's
// controller: a label is the user's to write, an owner reference to an object with that UID is not.
func (b *builder) gangsOf(root types.UID) (gangs []*snapshot.Gang) {
	pods := b.podsOf(root)
	rc, job := b.clusterOf(root), b.m.jobs[root]
	var members []*snapshot.Pod
	for _, in := range pods {
		p := b.pod(in)
		b.m.kept.publish(in, p)
		switch {
		case !in.ours:
		case rc != nil && in.owner == rc.UID && rc.Namespace == p.Namespace:
			p.Group = in.object.Labels[ray.GroupLabel]
			members = append(members, p)
		case b.submits(in, root):
			p.Group = ray.SubmitterGroup
			members = append(members, p)
		case job != nil && in.owner == root && job.Namespace == p.Namespace && minMember(job) > 0:
			members = append(members, p)
		case in.ownerKind == "RayCluster", in.owner != "" && b.m.ofRayJob(in.owner):
			// Its RayCluster has not been seen yet, or is not the one that its RayJob runs on any more;
			// alone it means nothing.
		default:
			if top, known := b.m.topOf(in); known {
				gangs = append(gangs, b.single(p, top))
			}
		}
	}
	switch {
	case b.m.rayJobs[root] != nil:
		if g := b.rayJob(b.m.rayJobs[root], rc, members); g != nil {
			gangs = append(gangs, g)
		}
	case rc != nil:
		if g := b.rayCluster(rc, members); g != nil {
			gangs = append(gangs, g)
		}
	case job != nil && len(members) > 0:
		gangs = append(gangs, b.job(job, members))
	}
	return gangs
}

func gangID(namespace, kind, name, uid string) snapshot.GangID {
	return snapshot.GangID(namespace + "/" + kind + "/" + name + "/" + uid)
}

// single is a pod that is a gang of its own. What its top owner asks for wins over what it asks for itself,
// as it does in KAI.
func (b *builder) single(p *snapshot.Pod, top *owner) *snapshot.Gang {
	object := b.m.pods[types.UID(p.UID)].object
	labels := object.Labels
	if top != nil {
		labels = top.labels
	}
	preemptibility := cmp.Or(labels[v1alpha1.PreemptibilityLabel], object.Labels[v1alpha1.PreemptibilityLabel])
	g := &snapshot.Gang{
		ID: gangID(p.Namespace, "Pod", p.Name, p.UID), APIVersion: "v1", Kind: "Pod",
		Namespace: p.Namespace, Name: p.Name, UID: p.UID,
		Queue: cmp.Or(ray.Queue(labels), ray.Queue(object.Labels)), Created: p.Created, Shape: shapeOfPod(p, preemptibility),
		Groups:      []snapshot.Group{{Name: "pod", Min: 1, Want: 1, Request: p.Request}},
		Members:     []*snapshot.Pod{p},
		Runtime:     expectedRuntime(object.Annotations),
		LastVerdict: object.Annotations[v1alpha1.VerdictAnnotation],
	}
	if s := object.Spec.ActiveDeadlineSeconds; s != nil && g.Runtime == 0 {
		g.Runtime = time.Duration(*s) * time.Second
	}
	if top != nil {
		g.Top = top.ref
	}
	p.Gang, p.Group = g.ID, "pod"
	b.rank(g, labels, object)
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
		g.Shape += anyZoneShape
	}
}

// anyZoneShape ends the shape of a gang whose members may be in several zones.
const anyZoneShape = "-any-zone"

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
		Ending: j.DeletionTimestamp != nil || j.Status.Succeeded > 0, Grace: grace(j.Annotations), Runtime: expectedRuntime(j.Annotations),
		Members: members, LastVerdict: j.Annotations[v1alpha1.VerdictAnnotation],
	}
	if s := j.Spec.ActiveDeadlineSeconds; s != nil && g.Runtime == 0 {
		g.Runtime = time.Duration(*s) * time.Second
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
		if class[grp.Name] == "" && grp.Template != nil {
			class[grp.Name] = grp.Template.Class
		}
		fmt.Fprintf(h, "%s=%d:%s:%+v\n", grp.Name, grp.Min, class[grp.Name], grp.Request)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
