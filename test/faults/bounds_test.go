package faults

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
)

func conditionOf(r *v1alpha1.CapacityRequest, kind string) *metav1.Condition {
	return meta.FindStatusCondition(r.Status.Conditions, kind)
}

func open(r *v1alpha1.CapacityRequest) bool {
	is := func(kind string) bool { return meta.IsStatusConditionTrue(r.Status.Conditions, kind) }
	return !is(v1alpha1.ConditionFailed) && !is(v1alpha1.ConditionReleased)
}

// checkBook says why nothing must be bought for a gang: it was bought for already, or it may not run.
func (w *world) checkBook(r *v1alpha1.CapacityRequest) {
	w.checkQueues(r)
	if r.Spec.Gang.KeepsWarm() {
		return
	}
	g := w.gangOf(r.Spec.Gang.UID)
	if g == nil {
		return // it went while the request was on its way
	}
	// What is missing may be topped up where machines were lost or somebody took room that was counted on.
	// Where what is booked would do alone, for all that the owner wants, a second purchase is one too many.
	if before := w.booked(g); g.gpus > 0 && before >= g.wish {
		w.violate("%s is bought for %s, for which enough is booked: %d for %d", r.Name, g.name, before, g.wish)
	}
	if g.suspended && time.Since(w.limited[g.name]) > lag {
		w.violate("%s is bought for %s, which is suspended", r.Name, g.name)
	}
	if w.changedLately(g.queue) || g.gpus == 0 {
		return
	}
	for _, q := range w.lineage(g.queue) {
		gpu := w.queues.get("/" + q).Spec.Resources.GPU
		if used := w.use(q, g.uid, false); gpu.Limit >= 0 && float64(used+g.gpus) > gpu.Limit*1000 {
			w.doubts = append(w.doubts, doubt{time.Now(), q, fmt.Sprintf(
				"%s is bought for %s, which the limit of queue %s does not let run: %d used, %d asked, limit %g", r.Name, g.name, q, used, g.gpus, gpu.Limit)})
		}
		if used := w.use(q, g.uid, true); g.fixed && gpu.Quota >= 0 && float64(used+g.gpus) > gpu.Quota*1000 {
			w.violate("%s is bought for %s, which is confined to the quota of queue %s: %d used, %d asked, quota %g", r.Name, g.name, q, used, g.gpus, gpu.Quota)
		}
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

// checkQueues says which bound of a queue or an ancestor a purchase exceeds. Bounds limit buying: room
// that is idle may be used beyond them, so that the moment of booking counts and no later one.
func (w *world) checkQueues(next *v1alpha1.CapacityRequest) {
	for _, q := range w.lineage(next.Spec.Queue) {
		if s := w.config.Queues[q].Scaling; s != nil {
			w.checkQueue(q, s, next)
		}
	}
}

// account is what has been bought for a queue.
type account struct {
	gpus  int64
	cost  float64
	nodes map[string]int32
}

func (a *account) add(g *group, n int32) {
	a.gpus += int64(n) * g.shape.GPUs
	a.cost += float64(n) * g.price
	a.nodes[g.name] += n
}

func (w *world) checkQueue(queue string, s *v1alpha1.Scaling, next *v1alpha1.CapacityRequest) {
	a := account{nodes: map[string]int32{}}
	for _, n := range next.Spec.Nodes {
		a.add(w.groups[n.NodeGroup], n.Count)
	}
	buysGPUs := a.gpus > 0
	booked := map[string]bool{} // nodes that count for the queue already
	for _, r := range w.requests.list() {
		if !open(r) {
			continue
		}
		for _, n := range r.Spec.Nodes {
			g := w.groups[n.NodeGroup]
			if !w.below(r.Spec.Queue, queue) {
				continue
			}
			a.add(g, n.Count)
			for _, i := range g.instances {
				booked[i.node] = booked[i.node] || i.token == n.ClientToken
			}
		}
	}
	for _, p := range w.pods.list() {
		g, n := w.groupOf(p.Spec.NodeName)
		if g != nil && p.DeletionTimestamp == nil && !over(p) && w.below(queueOf(p), queue) && !booked[n.Name] {
			a.gpus += fit.Requests(p).MilliGPU / 1000
			a.cost += g.price * share(p, n)
		}
	}
	if s.MaxGPUs != nil && buysGPUs && a.gpus > int64(*s.MaxGPUs) {
		w.violate("queue %s has %d bought GPUs of at most %d", queue, a.gpus, *s.MaxGPUs)
	}
	if s.MaxHourlyCost != nil && int64(a.cost*1e6) > s.MaxHourlyCost.Micros()+1e4 { // shares are rounded
		w.violate("queue %s costs $%g of at most %s", queue, a.cost, s.MaxHourlyCost)
	}
	for name, most := range s.MaxNodes {
		bought := slices.ContainsFunc(next.Spec.Nodes, func(n v1alpha1.NodeRequest) bool { return n.NodeGroup == name })
		if bought && a.nodes[name] > most {
			w.violate("queue %s has booked %d nodes of %s of at most %d", queue, a.nodes[name], name, most)
		}
	}
}

// groupOf is the group of a managed node, and the node; nil for others.
func (w *world) groupOf(node string) (*group, *corev1.Node) {
	n := w.nodes.get("/" + node)
	if n == nil || n.Spec.ProviderID == "" {
		return nil, nil
	}
	for _, g := range w.groups {
		if slices.ContainsFunc(g.instances, func(i *instance) bool { return i.node == node }) {
			return g, n
		}
	}
	return nil, nil
}

// share is the part of a node that a pod uses: of its GPUs, else of the scarcer of the rest.
func share(p *corev1.Pod, n *corev1.Node) float64 {
	asks := fit.Requests(p)
	room, _ := fit.Allocatable(n)
	if room.MilliGPU > 0 {
		return float64(asks.MilliGPU) / float64(room.MilliGPU)
	}
	return max(float64(asks.MilliCPU)/float64(room.MilliCPU), float64(asks.Memory)/float64(room.Memory))
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
	l := w.config.Limits
	if n := l.MaxNodes; n != nil && total > int(*n) {
		w.violate("the cluster has %d bought nodes of at most %d", total, *n)
	}
	if d := l.MaxHourlyCost; d != nil && int64(cost*1e6) > d.Micros() {
		w.violate("the cluster costs %g of at most %s", cost, d)
	}
	if g.alive() > g.max {
		w.violate("group %s has %d of at most %d", g.name, g.alive(), g.max)
	}
	for range got {
		w.bought = append(w.bought, time.Now())
	}
	w.bought = slices.DeleteFunc(w.bought, func(at time.Time) bool { return time.Since(at) >= time.Hour })
	if n := l.MaxNewNodesPerHour; n != nil && len(w.bought) > int(*n) {
		w.violate("%d nodes were bought within an hour, of at most %d", len(w.bought), *n)
	}
}

// booked is what open purchases for a gang still promise it, in thousandths of GPUs: not what is lost, and
// not where others are.
func (w *world) booked(of *gang) (milliGPU int64) {
	for _, r := range w.requests.list() {
		if r.Spec.Gang.UID != of.uid || !open(r) {
			continue
		}
		for _, n := range r.Spec.Nodes {
			g := w.groups[n.NodeGroup]
			if w.tokens[n.ClientToken] == nil {
				milliGPU += int64(n.Count) * g.shape.GPUs * 1000 // not launched yet
			}
			for _, i := range g.instances {
				if i.token != n.ClientToken || !i.ends.IsZero() {
					continue
				}
				if !slices.ContainsFunc(w.podsOn(i.node), func(p *corev1.Pod) bool { return gangNameOf(p) != of.name }) {
					milliGPU += g.shape.GPUs * 1000
				}
			}
		}
	}
	return milliGPU
}
