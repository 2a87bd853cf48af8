package faults

import (
	"fmt"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func conditionOf(r *v1alpha1.CapacityRequest, kind string) *metav1.Condition {
	return meta.FindStatusCondition(r.Status.Conditions, kind)
}

func open(r *v1alpha1.CapacityRequest) bool {
	is := func(kind string) bool { return meta.IsStatusConditionTrue(r.Status.Conditions, kind) }
	return !is(v1alpha1.ConditionFailed) && !is(v1alpha1.ConditionReleased)
}

// checkBind says why a pod must not run where it was just bound.
func (w *world) checkBind(p *corev1.Pod) {
	n := w.nodes[p.Spec.NodeName]
	if n == nil {
		return // it went while the bind was on its way
	}
	room, _ := fit.Allocatable(n)
	used := snapshot.Resources{}
	for _, o := range w.podsOn(n.Name) {
		used = used.Add(fit.Requests(o))
	}
	if used.MilliCPU > room.MilliCPU || used.Memory > room.Memory || used.MilliGPU > room.MilliGPU {
		w.violate("node %s is over its allocatable: %s of %s", n.Name, used, room)
	}
	if asked := fit.Requests(p); asked.MilliGPU > 0 {
		gpus := int64(0)
		for _, o := range w.pods {
			if o.Spec.NodeName != "" && o.DeletionTimestamp == nil && queueOf(o) == queueOf(p) {
				gpus += fit.Requests(o).MilliGPU
			}
		}
		for _, q := range w.lineage(queueOf(p)) {
			if limit := w.queues["/"+q].Spec.Resources.GPU.Limit; limit >= 0 && float64(gpus) > limit*1000 {
				w.violate("binding %s puts queue %s over its limit: %d", p.Name, q, gpus)
			}
		}
	}
}

func queueOf(o metav1.Object) string { return o.GetLabels()[v1alpha1.QueueLabel] }

// checkBook says why nothing must be bought for a gang: it was bought for already, or its queue's
// limit would not let it run.
func (w *world) checkBook(r *v1alpha1.CapacityRequest) {
	w.checkQueue(r)
	rc := w.clusterOf(r.Spec.Gang.UID)
	if rc == nil {
		return // it went while the request was on its way
	}
	// What is missing may be topped up where somebody took room that was counted on. Where the nodes
	// that are booked would do alone, a second purchase is one too many.
	before, least := int64(0), w.leastGPUs(rc)
	for _, o := range w.requests {
		for _, n := range o.Spec.Nodes {
			if o.Spec.Gang.UID == r.Spec.Gang.UID && open(o) {
				before += int64(n.Count) * w.groups[n.NodeGroup].shape.GPUs * 1000
			}
		}
	}
	if least > 0 && before >= least && !w.lostNodes(rc) {
		w.violate("%s is bought for %s, for which enough is booked: %d for %d", r.Name, rc.Name, before, least)
	}
	limit := w.queues["/"+r.Spec.Queue].Spec.Resources.GPU.Limit
	used := int64(0)
	for _, p := range w.pods {
		if p.Spec.NodeName != "" && p.DeletionTimestamp == nil && queueOf(p) == r.Spec.Queue && !metav1.IsControlledBy(p, rc) {
			used += fit.Requests(p).MilliGPU
		}
	}
	if limit >= 0 && float64(used+least) > limit*1000 {
		w.doubts = append(w.doubts, doubt{time.Now(), r.Spec.Queue, fmt.Sprintf(
			"%s is bought for %s, which its queue's limit does not let run: %d used, %d asked, limit %g", r.Name, rc.Name, used, least, limit)})
	}
}

// doubt is a purchase above a limit. It is none where the same plan evicts others of the queue, which
// is seen a moment later.
type doubt struct {
	at    time.Time
	queue string
	text  string
}

// settleDoubts looks whether the evictions came that purchases counted on.
func (w *world) settleDoubts() {
	const moment = 10 * time.Second
	for _, d := range w.doubts {
		if time.Since(d.at) > moment && d.at.Sub(w.evicted[d.queue]).Abs() > moment {
			w.violate("%s", d.text)
		}
	}
	w.doubts = slices.DeleteFunc(w.doubts, func(d doubt) bool { return time.Since(d.at) > moment })
}

func (w *world) leastGPUs(rc *rayv1.RayCluster) (n int64) {
	groups, err := ray.Groups(rc, fit.Requests)
	if err != nil {
		w.violate("%s is no gang: %v", rc.Name, err)
	}
	for _, g := range groups {
		n += int64(g.Min) * g.Request.MilliGPU
	}
	return n
}

// checkLaunch says which bound a launch broke. What others launched is not capmgr's doing.
func (w *world) checkLaunch(g *group, got int) {
	if got == 0 {
		return
	}
	total, cost := 0, 0.0
	for _, o := range w.groups {
		for _, i := range o.instances {
			if i.ends.IsZero() && i.token != "" {
				total, cost = total+1, cost+o.price
			}
		}
	}
	if n := w.config.Limits.MaxNodes; n != nil && total > int(*n) {
		w.violate("the cluster has %d bought nodes of at most %d", total, *n)
	}
	if d := w.config.Limits.MaxHourlyCost; d != nil && int64(cost*1e6) > d.Micros() {
		w.violate("the cluster costs %g of at most %s", cost, d)
	}
	if g.alive() > g.max {
		w.violate("group %s has %d of at most %d", g.name, g.alive(), g.max)
	}
}

// checkQueue counts what open requests and a new one book for a queue, and what its pods use of other
// managed nodes. Bounds limit buying: room that is idle may be used beyond them, so that the moment of
// booking counts and no later one.
func (w *world) checkQueue(next *v1alpha1.CapacityRequest) {
	queue, s := next.Spec.Queue, w.config.Queues[next.Spec.Queue].Scaling
	gpus, cost, booked := int64(0), 0.0, map[string]bool{}
	for _, n := range next.Spec.Nodes {
		gpus += int64(n.Count) * w.groups[n.NodeGroup].shape.GPUs
		cost += float64(n.Count) * w.groups[n.NodeGroup].price
	}
	buysGPUs := gpus > 0
	for _, r := range w.requests {
		if !open(r) || r.Spec.Queue != queue {
			continue
		}
		for _, n := range r.Spec.Nodes {
			g := w.groups[n.NodeGroup]
			gpus, cost = gpus+int64(n.Count)*g.shape.GPUs, cost+float64(n.Count)*g.price
			for _, i := range g.instances {
				booked[i.node] = booked[i.node] || i.token == n.ClientToken
			}
		}
	}
	for _, p := range w.pods {
		if p.Spec.NodeName != "" && p.DeletionTimestamp == nil && queueOf(p) == queue && !booked[p.Spec.NodeName] && p.Spec.NodeName[:3] != "own" {
			gpus += fit.Requests(p).MilliGPU / 1000
		}
	}
	if s.MaxGPUs != nil && buysGPUs && gpus > int64(*s.MaxGPUs) {
		w.violate("queue %s has %d bought GPUs of at most %d", queue, gpus, *s.MaxGPUs)
	}
	if s.MaxHourlyCost != nil && int64(cost*1e6) > s.MaxHourlyCost.Micros() {
		w.violate("queue %s has booked $%g of at most %s", queue, cost, s.MaxHourlyCost)
	}
}

// checkTerminate says why an instance must not be ended.
func (w *world) checkTerminate(i *instance) {
	if pods := w.podsOn(i.node); len(pods) > 0 {
		w.violate("terminated %s, on which %s runs", i.id, pods[0].Name)
	}
	for _, k := range sorted(w.requests) {
		r := w.requests[k]
		if open(r) && i.intent == k && time.Since(i.launched) < timeout {
			w.violate("terminated %s, which %s has booked", i.id, r.Name)
		}
	}
}

// lostNodes says whether a machine that was bought for a gang is gone or will never do.
func (w *world) lostNodes(rc *rayv1.RayCluster) bool {
	for _, r := range w.requests {
		if r.Spec.Gang.UID != rc.UID || !open(r) {
			continue
		}
		for _, n := range r.Spec.Nodes {
			good := 0
			for _, i := range w.groups[n.NodeGroup].instances {
				if i.token == n.ClientToken && i.ends.IsZero() {
					good++
				}
			}
			if good < int(n.Count) {
				return true
			}
		}
	}
	return false
}

// watchOver looks at what must not last. alive is how long a manager lived since the last look: what
// nobody could mend is nobody's fault.
func (w *world) watchOver(alive time.Duration) {
	w.up += alive
	w.settleDoubts()
	for _, k := range sorted(w.clusters) {
		rc := w.clusters[k]
		// One that was whole and lost a member may wait for a node that comes in its place.
		w.ran[rc.UID] = w.ran[rc.UID] || w.whole(rc)
		if have, least := w.bound(rc), w.least(rc); have > 0 && !w.ran[rc.UID] {
			if w.unwhole[rc.UID] += alive; w.unwhole[rc.UID] > partialGang {
				w.violate("%s has been partial for %s: %d of %d", rc.Name, w.unwhole[rc.UID], have, least)
			}
			continue
		}
		delete(w.unwhole, rc.UID)
	}
	// A purchase is partial from its first answer that falls short to the end of what came.
	partial := map[string]bool{}
	for _, t := range w.tokens {
		if t.err != nil {
			partial[t.request.Intent] = true
		}
	}
	for _, name := range sorted(w.groups) {
		for _, i := range w.groups[name].instances {
			if !partial[i.intent] || !i.ends.IsZero() {
				continue
			}
			if w.kept[i.id] += alive; w.kept[i.id] > time.Minute && !w.orphan(i) {
				w.violate("%s of the failed purchase %s is not given back", i.id, i.intent)
			}
		}
	}
}

// orphan says whether the request that an instance was bought for went with its owner. Nothing tells
// then that it was to go at once: it goes when it has been idle.
func (w *world) orphan(i *instance) bool { return w.requests[i.intent] == nil }

func (w *world) bound(rc *rayv1.RayCluster) (n int) {
	for _, p := range w.pods {
		if metav1.IsControlledBy(p, rc) && p.Spec.NodeName != "" && p.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func (w *world) least(rc *rayv1.RayCluster) int {
	return 1 + int(*rc.Spec.WorkerGroupSpecs[0].MinReplicas)
}

// whole says whether a gang has its minimum of every group.
func (w *world) whole(rc *rayv1.RayCluster) bool {
	head, workers := 0, 0
	for _, p := range w.pods {
		switch {
		case !metav1.IsControlledBy(p, rc) || p.Spec.NodeName == "" || p.DeletionTimestamp != nil:
		case p.Labels[ray.GroupLabel] == ray.HeadGroup:
			head++
		default:
			workers++
		}
	}
	return head >= 1 && workers >= int(*rc.Spec.WorkerGroupSpecs[0].MinReplicas)
}

// leaks lists the instances that nobody has a use for.
func (w *world) leaks() (out []string) {
	for _, name := range sorted(w.groups) {
		for _, i := range w.groups[name].instances {
			if len(w.podsOn(i.node)) > 0 || slices.ContainsFunc(sorted(w.requests), func(k string) bool { return k == i.intent && open(w.requests[k]) }) {
				continue
			}
			out = append(out, i.id)
		}
	}
	return out
}
