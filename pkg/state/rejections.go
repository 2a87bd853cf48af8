package state

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Back-off for a class of pods that a kubelet would not run although everything said that they fit: on that
// node, and for new nodes of its group. It doubles with every further one.
const (
	rejectedFirst      = time.Minute
	rejectedMost       = 15 * time.Minute
	rejectedGroupFirst = unfitFirst
	rejectedGroupMost  = unfitMost
)

// rejections are pods that kubelets would not run.
type rejections struct {
	fresh []rejection                 // since the last snapshot
	known map[types.UID]bool          // pods that have been counted and are still there
	by    map[scope]map[string]*pause // by class of pods
}

type rejection struct{ node, class string }

// scope is a node, or a node group for which no node of the name counts.
type scope struct{ node, group string }

// pause is how long a class is kept away.
type pause struct {
	times int
	until time.Time
	ends  time.Time // when it is forgotten
}

func newRejections() rejections {
	return rejections{known: map[types.UID]bool{}, by: map[scope]map[string]*pause{}}
}

// rejected says whether a kubelet refused to run a pod: it has failed, and no container of it was ever made.
func rejected(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" && p.Spec.NodeName != "" &&
		len(p.Status.ContainerStatuses)+len(p.Status.InitContainerStatuses) == 0
}

// note takes down a pod that was rejected, once.
func (r *rejections) note(p *pod) {
	if p.ours && rejected(p.object) && !r.known[p.object.UID] {
		r.known[p.object.UID] = true
		r.fresh = append(r.fresh, rejection{p.object.Spec.NodeName, p.class})
	}
}

// count begins a pause, or one twice as long as the last.
func (r *rejections) count(s scope, class string, now time.Time, first, most time.Duration) {
	if r.by[s] == nil {
		r.by[s] = map[string]*pause{}
	}
	p := r.by[s][class]
	if p == nil {
		p = &pause{}
		r.by[s][class] = p
	}
	const doublings = 5 // beyond the most
	wait := min(most, first<<min(p.times, doublings))
	p.times++
	p.until, p.ends = now.Add(wait), now.Add(2*wait+most)
}

// away lists the classes that are to be kept away, sorted.
func (r *rejections) away(s scope, now time.Time) (classes []string) {
	for class, p := range r.by[s] {
		if now.Before(p.until) {
			classes = append(classes, class)
		}
	}
	slices.Sort(classes)
	return classes
}

// rejections brings what kubelets refused up to date, and marks the nodes for which that has changed.
func (b *builder) rejections() {
	r := &b.m.rejections
	for _, f := range r.fresh {
		r.count(scope{node: f.node}, f.class, b.s.Now, rejectedFirst, rejectedMost)
		if g := b.groupOf(f.node); g != "" {
			r.count(scope{group: g}, f.class, b.s.Now, rejectedGroupFirst, rejectedGroupMost)
		}
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
		if at, there := find(b.m.kept.list, s.node, nodeName); there && !slices.Equal(b.m.kept.list[at].Refuses, r.away(s, b.s.Now)) {
			b.m.kept.nodes[s.node] = true
		}
	}
}

// refuse marks a node as one that is no place for classes of pods. It is of another class than those that
// are.
func refuse(n *snapshot.Node, classes []string) {
	if len(classes) > 0 {
		n.Refuses = classes
		n.Class += " refuses " + strings.Join(classes, " ")
	}
}

// groupOf is the group that the cloud says a node is in, or "".
func (b *builder) groupOf(node string) string {
	object := b.m.nodes[node]
	if object == nil || object.Spec.ProviderID == "" {
		return ""
	}
	for name, g := range b.m.groups {
		for _, i := range g.Instances {
			if i.ProviderID == object.Spec.ProviderID {
				return name
			}
		}
	}
	return ""
}
