package state

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// How long a class of pods is kept off a node whose kubelet would not run one: first, and at most. Most such
// failures are over in seconds, as a device that was not given back yet; some are for ever.
const (
	rejectedFirst = 15 * time.Second
	rejectedMost  = 15 * time.Minute
)

// rejections are pods that kubelets would not run although everything said that they fit. Their controllers
// make others, which would be bound to the same nodes again and again, or to new ones. A restart forgets
// them: then each node is tried once more.
type rejections struct {
	fresh []rejection                // since the last snapshot
	by    map[scope]map[string]*rest // by class of pods
}

type rejection struct{ node, class, reason string }

// scope is a node, or what is bought of a node group.
type scope struct{ node, group string }

// rest is how long a class is kept away.
type rest struct {
	times  int
	until  time.Time
	ends   time.Time // when it is forgotten
	reason string
	nodes  map[string]bool // of a group: where it was rejected
}

// rejected says whether a kubelet refused to run a pod: it has failed, and no container of it was ever made.
func rejected(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" && p.Spec.NodeName != "" &&
		len(p.Status.ContainerStatuses)+len(p.Status.InitContainerStatuses) == 0
}

// note takes down a pod that was rejected. One that was not known to be alive failed before this process
// began, or has been taken down.
func (r *rejections) note(known *pod, now *corev1.Pod) {
	if known != nil && known.ours && rejected(now) {
		r.fresh = append(r.fresh, rejection{now.Spec.NodeName, known.class, now.Status.Reason})
	}
}

// of is what is remembered of a class.
func (r *rejections) of(s scope, class string) *rest {
	if r.by[s] == nil {
		r.by[s] = map[string]*rest{}
	}
	if r.by[s][class] == nil {
		r.by[s][class] = &rest{}
	}
	return r.by[s][class]
}

// again keeps the class away, twice as long as the last time.
func (r *rest) again(now time.Time, first, most time.Duration) {
	const doublings = 10 // beyond the most
	wait := min(most, first<<min(r.times, doublings))
	r.times++
	r.until, r.ends = now.Add(wait), now.Add(2*wait+most)
}

// away lists the classes that are kept away, by name.
func (r *rejections) away(s scope, now time.Time) (out []snapshot.Rejection) {
	for class, p := range r.by[s] {
		if now.Before(p.until) {
			out = append(out, snapshot.Rejection{Class: class, Reason: p.reason, Until: p.until})
		}
	}
	slices.SortFunc(out, func(x, y snapshot.Rejection) int { return cmp.Compare(x.Class, y.Class) })
	return out
}

// rejections brings what kubelets rejected up to date, and marks the nodes for which that has changed.
func (b *builder) rejections() {
	r := &b.m.rejections
	for _, f := range r.fresh {
		b.reject(f)
	}
	r.fresh = nil
	for s, classes := range r.by {
		for class, p := range classes {
			if !b.s.Now.Before(p.ends) {
				delete(classes, class)
			}
		}
		if len(classes) == 0 {
			delete(r.by, s)
		}
		if n := b.last(s.node); n != nil && !slices.Equal(n.Rejects, r.away(s, b.s.Now)) {
			b.m.kept.nodes[s.node] = true
		}
	}
}

// reject counts one rejection. Pods that were bound together and failed together are one. A second node of
// a group that runs no such pod anywhere says that the next would not either: it is not bought for a while.
func (b *builder) reject(f rejection) {
	r := &b.m.rejections
	on := r.of(scope{node: f.node}, f.class)
	if b.s.Now.Before(on.until) {
		return
	}
	on.reason = f.reason
	on.again(b.s.Now, rejectedFirst, rejectedMost)
	n := b.last(f.node)
	if n == nil || n.Group == "" || b.runs(n.Group, f.class) {
		return
	}
	of := r.of(scope{group: n.Group}, f.class)
	if of.nodes[f.node] {
		return
	}
	if of.reason = f.reason; of.nodes == nil {
		of.nodes, of.ends = map[string]bool{f.node: true}, b.s.Now.Add(unfitMost)
		return
	}
	of.nodes[f.node] = true
	of.again(b.s.Now, unfitFirst, unfitMost)
}

// last is a node as the last snapshot had it, or nil.
func (b *builder) last(node string) *snapshot.Node {
	if at, there := find(b.m.kept.list, node, nodeName); there {
		return b.m.kept.list[at]
	}
	return nil
}

// runs says whether pods of a class run on nodes of a group.
func (b *builder) runs(group, class string) bool {
	return slices.ContainsFunc(b.m.kept.list, func(n *snapshot.Node) bool {
		return n.Group == group && slices.ContainsFunc(b.m.kept.onNode[n.Name], func(p *snapshot.Pod) bool {
			return p.Class == class && p.Object.Status.Phase == corev1.PodRunning
		})
	})
}

// keepAway notes on a node what is kept off it. It is of another class than nodes that take everything.
func keepAway(n *snapshot.Node, rejects []snapshot.Rejection) {
	n.Rejects = rejects
	for _, r := range rejects {
		n.Class += " without " + r.Class
	}
}
