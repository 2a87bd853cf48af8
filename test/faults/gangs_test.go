package faults

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
)

// gang is a workload as the API server has it, for the invariants: nothing here was computed by a
// decision.
type gang struct {
	uid         types.UID
	name, queue string
	fixed       bool           // its priority says that it may not be evicted, and is confined to quota
	suspended   bool           // by its owner
	least       map[string]int // pods that it needs, by group
	gpus        int64          // of those, in thousandths
	wish        int64          // GPUs of all that its owner wants, in thousandths
	have        map[string]int // pods that are bound and not leaving, by group
	bound       int
}

// whole says whether a gang has its minimum of every group.
func (g *gang) whole() bool {
	for name, n := range g.least {
		if g.have[name] < n {
			return false
		}
	}
	return true
}

func (g *gang) needs() (n int) {
	for _, least := range g.least {
		n += least
	}
	return n
}

// gangs lists the RayClusters, then the pods without an owner.
func (w *world) gangs() []*gang {
	if w.seen == w.changes && w.known != nil {
		return w.known
	}
	w.known = []*gang{}
	byOwner := map[types.UID]*gang{}
	for _, rc := range w.clusters.list() {
		g := &gang{uid: rc.UID, name: rc.Name, queue: queueOf(rc), fixed: fixed(rc), suspended: ray.Suspended(rc) && rc.Annotations[v1alpha1.SuspensionAnnotation] == "",
			least: map[string]int{}, have: map[string]int{}}
		groups, err := ray.Groups(rc, fit.Requests)
		if err != nil {
			w.violate("%s is no gang: %v", rc.Name, err)
		}
		for _, grp := range groups {
			g.least[grp.Name] = grp.Min
			g.gpus += int64(grp.Min) * grp.Request.MilliGPU
			g.wish += int64(grp.Want) * grp.Request.MilliGPU
		}
		byOwner[rc.UID] = g
		w.known = append(w.known, g)
	}
	for _, p := range w.pods.list() {
		g := (*gang)(nil)
		if ref := metav1.GetControllerOf(p); ref != nil {
			g = byOwner[ref.UID]
		} else if queueOf(p) != "" && !over(p) {
			g = &gang{uid: p.UID, name: p.Name, queue: queueOf(p), fixed: fixed(p), least: map[string]int{"": 1}, have: map[string]int{}}
			g.gpus = fit.Requests(p).MilliGPU
			g.wish = g.gpus
			w.known = append(w.known, g)
		}
		if g != nil && p.Spec.NodeName != "" && p.DeletionTimestamp == nil && !over(p) {
			g.have[p.Labels[ray.GroupLabel]]++
			g.bound++
		}
	}
	w.seen = w.changes
	return w.known
}

func (w *world) gangOf(uid types.UID) *gang {
	for _, g := range w.gangs() {
		if g.uid == uid {
			return g
		}
	}
	return nil
}

// gangLabel names the gang that a pod is of.
const gangLabel = "ray.io/cluster"

func gangNameOf(p *corev1.Pod) string { return p.Labels[gangLabel] }

// guarded says whether a disruption budget keeps a gang.
func (w *world) guarded(gang string) bool { return w.budgets.get("ml/"+gang) != nil }

func fixed(o metav1.Object) bool {
	class := o.GetLabels()[v1alpha1.PriorityClassLabel]
	return class == v1alpha1.PriorityClassBuild || class == v1alpha1.PriorityClassInference
}

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// use is what bound pods of a queue and all below it hold, in thousandths of GPUs: of everyone but one
// gang, or only of those that may not be evicted.
func (w *world) use(queue string, but types.UID, onlyFixed bool) (milliGPU int64) {
	for _, p := range w.pods.list() {
		if p.Spec.NodeName == "" || p.DeletionTimestamp != nil || over(p) || queueOf(p) == "" || p.UID == but {
			continue
		}
		if ref := metav1.GetControllerOf(p); ref != nil && ref.UID == but {
			continue
		}
		if onlyFixed && !fixed(p) || !w.below(queueOf(p), queue) {
			continue
		}
		milliGPU += fit.Requests(p).MilliGPU
	}
	return milliGPU
}

// below says whether a queue is another one or under it.
func (w *world) below(queue, top string) bool {
	return slices.Contains(w.lineage(queue), top)
}

// changedLately says whether somebody changed a moment ago what a queue may have. What a manager does on
// a view that lags behind is nobody's fault.
func (w *world) changedLately(queue string) bool {
	for _, q := range w.lineage(queue) {
		if time.Since(w.limited[q]) < lag {
			return true
		}
	}
	return false
}

// lag is the longest that a view may be behind.
const lag = 30 * time.Second
