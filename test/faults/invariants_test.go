package faults

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// checkBind says why a pod must not run where it was just bound.
func (w *world) checkBind(p *corev1.Pod) {
	n := w.nodes.get("/" + p.Spec.NodeName)
	if n == nil {
		return // it went while the bind was on its way
	}
	room, _ := fit.Allocatable(n)
	used := snapshot.Resources{}
	for _, o := range w.podsOn(n.Name) {
		// Two schedulers that bind at the same time cannot know of each other.
		if over(o) || foreign(o) && time.Since(o.CreationTimestamp.Time) < lag {
			continue
		}
		used = used.Add(fit.Requests(o))
	}
	if used.MilliCPU > room.MilliCPU || used.Memory > room.Memory || used.MilliGPU > room.MilliGPU {
		w.violate("node %s is over its allocatable: %s of %s", n.Name, used, room)
	}
	if fit.Requests(p).MilliGPU == 0 || w.changedLately(queueOf(p)) {
		return
	}
	for _, q := range w.lineage(queueOf(p)) {
		gpu := w.queues.get("/" + q).Spec.Resources.GPU
		if used := w.use(q, "", false); gpu.Limit >= 0 && float64(used) > gpu.Limit*1000 {
			w.violate("binding %s puts queue %s over its limit: %d of %g", p.Name, q, used, gpu.Limit)
		}
		if used := w.use(q, "", true); fixed(p) && gpu.Quota >= 0 && float64(used) > gpu.Quota*1000 {
			w.violate("binding %s puts work of queue %s that may not be evicted over its quota: %d of %g", p.Name, q, used, gpu.Quota)
		}
	}
}

// mostStops is how often one gang may be evicted in a run: more is a loop.
const mostStops = 15

// checkEvict counts evictions, and notes them for settleDoubts.
func (w *world) checkEvict(p *corev1.Pod) {
	for _, q := range w.lineage(queueOf(p)) {
		w.evicted[q] = time.Now()
	}
	for _, g := range w.gangs() {
		if g.name != gangNameOf(p) {
			continue
		}
		if g.fixed && !g.suspended && g.whole() {
			w.violate("evicted %s of %s, which may not be evicted", p.Name, g.name)
		}
		if g.bound == 1 { // the last of it
			if w.stopped[g.uid]++; w.stopped[g.uid] > mostStops {
				w.violate("%s was evicted %d times", g.name, w.stopped[g.uid])
			}
		}
	}
}

// checkTerminate says why an instance must not be ended: it works, it is kept for somebody, or nothing
// is wrong with it and it has not been idle for long.
func (w *world) checkTerminate(g *group, i *instance) {
	if pods := w.podsOn(i.node); len(pods) > 0 && !over(pods[0]) {
		w.violate("terminated %s, on which %s runs", i.id, pods[0].Name)
	}
	if since := w.spared[i.node]; !since.IsZero() && time.Since(since) > lag {
		w.violate("terminated %s, whose node asks to be left alone", i.id)
	}
	r := w.requests.get(i.intent)
	if r != nil && open(r) && time.Since(i.launched) < timeout {
		w.violate("terminated %s, which %s has booked", i.id, r.Name)
	}
	if w.partial()[i.intent] || r != nil && refused(r) {
		return // what came of a purchase that fell short
	}
	const second = time.Second
	age, quiet := time.Since(i.launched)+2*second, time.Since(i.busy)+2*second // the API knows seconds
	late := age >= timeout && (i.busy.IsZero() || time.Since(i.joined) < lag)
	if g.alive()-1 < g.least && !late && time.Since(g.lost) > lag {
		w.violate("terminated %s, which leaves %s below its minimum of %d", i.id, g.name, g.least)
	}
	switch {
	case late:
	case age >= 5*time.Minute && i.worked.IsZero() && (i.node == "" || time.Since(i.joined) < lag): // an orphan
	case !i.busy.IsZero() && quiet >= idleAfter:
	case w.cordoned(i.node) && time.Since(latest(i.worked, i.joined))+2*second >= idleAfter: // nobody will use it
	default:
		w.violate("terminated %s after %s (launched %s ago), which nothing is wrong with", i.id, quiet.Truncate(second), age.Truncate(second))
	}
}

// refused says whether a purchase was given up because of what the cloud answered.
func refused(r *v1alpha1.CapacityRequest) bool {
	c := conditionOf(r, v1alpha1.ConditionFailed)
	return c != nil && c.Status == metav1.ConditionTrue && c.Reason != v1alpha1.ReasonNodeLost &&
		c.Reason != v1alpha1.ReasonProvisionTimeout && c.Reason != v1alpha1.ReasonNodeDidNotFit
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *world) cordoned(node string) bool {
	n := w.nodes.get("/" + node)
	return n != nil && n.Spec.Unschedulable
}

// partial are the purchases of which the cloud delivered less than was asked.
func (w *world) partial() map[string]bool {
	out := map[string]bool{}
	for _, t := range w.tokens {
		if t.err != nil {
			out[t.request.Intent] = true
		}
	}
	return out
}

// halfMade are the purchases of which some part has come and another has no answer yet.
func (w *world) halfMade() map[string]bool {
	out := map[string]bool{}
	for _, r := range w.requests.list() {
		answered := 0
		for _, n := range r.Spec.Nodes {
			if w.tokens[n.ClientToken] != nil {
				answered++
			}
		}
		if open(r) && answered > 0 && answered < len(r.Spec.Nodes) {
			out[key(r)] = true
		}
	}
	return out
}

const (
	// partialGang is how long a gang may be bound in part that never was whole, while no node is on its
	// way: a manager notices within seconds, gives it a minute to find room for the rest, and evicts it;
	// that twice, and a crash.
	partialGang = 3 * time.Minute
	// partialPurchase is how long machines of a purchase may live that was not made in full.
	partialPurchase = time.Minute
	// closedNode is how long a node may be kept free of work in order to be given back: then it goes, or is
	// open again.
	closedNode = time.Minute
)

// watchOver looks at what must not last. alive is how long a manager lived since the last look: what
// nobody could mend is nobody's fault.
func (w *world) watchOver(alive time.Duration) {
	w.settleDoubts()
	boots := w.boots()
	for _, g := range w.gangs() {
		// One that was whole and lost a member may wait for a node that comes in its place.
		w.ran[g.uid] = w.ran[g.uid] || g.whole()
		if g.bound == 0 || w.ran[g.uid] || w.guarded(g.name) {
			delete(w.unwhole, g.uid)
			continue
		}
		if boots {
			continue
		}
		if w.unwhole[g.uid] += alive; w.unwhole[g.uid] == partialGang {
			w.violate("%s has been partial for %s: %d of %d", g.name, partialGang, g.bound, g.needs())
		}
	}
	for _, n := range w.nodes.list() {
		if !closed(n) {
			delete(w.closed, n.Name)
		} else if w.closed[n.Name] += alive; w.closed[n.Name] == closedNode {
			w.violate("%s has been closed for %s, and neither went nor was opened again", n.Name, closedNode)
		}
	}
	partial, half := w.partial(), w.halfMade()
	for _, name := range sorted(w.groups) {
		for _, i := range w.groups[name].instances {
			if !i.ends.IsZero() || !partial[i.intent] && !half[i.intent] || w.orphan(i) || w.works(i) {
				delete(w.kept, i.id)
				continue
			}
			if w.kept[i.id] += alive; w.kept[i.id] == partialPurchase {
				w.violate("%s of the purchase %s, which was not made in full, is there for %s", i.id, i.intent, partialPurchase)
			}
		}
	}
}

// closed says whether a manager was about to give a node back.
func closed(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.DrainingTaint })
}

// boots says whether some machine may still come up.
func (w *world) boots() bool {
	for _, g := range w.groups {
		for _, i := range g.instances {
			if i.ends.IsZero() && !w.usable(g, i) && time.Since(i.launched) < timeout {
				return true
			}
		}
	}
	return false
}

// works says whether somebody uses an instance: it stays then, whatever it was bought for.
func (w *world) works(i *instance) bool {
	return slices.ContainsFunc(w.podsOn(i.node), func(p *corev1.Pod) bool { return !over(p) })
}

// orphan says whether the request that an instance was bought for went with its owner. Nothing tells
// then that it was to go at once: it goes when it has been idle.
func (w *world) orphan(i *instance) bool { return w.requests.get(i.intent) == nil }
