package state

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// LearnedShape is what a node of a group really offered, and what its own pods took of that. A type's
// promise is often more: bought by the promise, a gang that never fits would be bought for again after
// each back-off, because what its node taught went with the node.
type LearnedShape struct {
	Version     string               `json:"version"` // of the launch template; another one may offer something else
	Allocatable corev1.ResourceList  `json:"allocatable"`
	Daemons     []snapshot.Resources `json:"daemons,omitempty"` // one per pod that belongs to the node itself
	At          time.Time            `json:"at"`
}

// shapeMemory is how long a shape is believed when there is no node any more: DaemonSets change, and
// somebody has to find out.
const shapeMemory = 7 * 24 * time.Hour

// learnShapes notes what usable nodes offer: of each group the first by name, as decisions take it.
func (b *builder) learnShapes() {
	seen := map[string]bool{}
	for _, n := range b.s.Nodes {
		if n.Group == "" || seen[n.Group] || !n.Usable || n.Object == nil {
			continue
		}
		seen[n.Group] = true
		learned := LearnedShape{Version: b.m.groups[n.Group].LaunchVersion, Allocatable: n.Object.Status.Allocatable, At: b.s.Now}
		for _, p := range n.Pods {
			if p.Resident {
				learned.Daemons = append(learned.Daemons, p.Request)
			}
		}
		if old := b.m.shapes[n.Group]; old.alike(learned) && b.s.Now.Sub(old.At) < shapeMemory/2 {
			continue // what has not changed is not written again
		}
		b.m.shapes[n.Group] = learned
	}
}

func (l LearnedShape) alike(o LearnedShape) bool {
	return l.Version == o.Version && equality.Semantic.DeepEqual(l.Allocatable, o.Allocatable) && slices.Equal(l.Daemons, o.Daemons)
}

// learned is what is known of the nodes of a group as they are launched now, or nil.
func (b *builder) learned(group, version string) *LearnedShape {
	l, known := b.m.shapes[group]
	if !known || l.Version != version || b.s.Now.Sub(l.At) > shapeMemory || len(l.Allocatable) == 0 {
		return nil
	}
	return &l
}

// apply makes a template of the promise and of what was learned.
func (l *LearnedShape) apply(s *fit.Shape) {
	s.Others = maps.Clone(l.Allocatable)
	example := &corev1.Node{Status: corev1.NodeStatus{Allocatable: l.Allocatable}}
	s.Allocatable, s.MaxPods = fit.Allocatable(example)
}

// daemons stand for the pods that a new node will have of its own.
func (l *LearnedShape) daemons() (pods []*snapshot.Pod) {
	for _, r := range l.Daemons {
		pods = append(pods, &snapshot.Pod{Request: r, Resident: true})
	}
	return pods
}

// KnowsShapes says whether a memory holds all that nodes have taught.
func (m *Mirror) KnowsShapes(left Memory) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.EqualFunc(m.shapes, left.Shapes, func(x, y LearnedShape) bool { return x.alike(y) && x.At.Equal(y.At) })
}
