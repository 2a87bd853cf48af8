package decision

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/state"
)

// Load is a cluster as capmgr sees it.
type Load struct {
	Mirror *state.Mirror
	Fit    *fit.Checker
	decide *scheduler.Decider
	pods   map[types.UID]*corev1.Pod
	bound  []types.UID
}

// NewLoad shows a cluster to a new mirror.
func NewLoad(c *Cluster) (*Load, error) {
	checker, err := fit.New(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	if err != nil {
		return nil, fmt.Errorf("build checker: %w", err)
	}
	l := &Load{Mirror: state.New(c.Config), Fit: checker, decide: scheduler.NewDecider(checker), pods: map[types.UID]*corev1.Pod{}}
	for _, q := range c.Queues {
		l.Mirror.Queues().OnAdd(q, true)
	}
	for _, n := range c.Nodes {
		l.Mirror.Nodes().OnAdd(n, true)
	}
	for _, j := range c.Jobs {
		l.Mirror.Jobs().OnAdd(j, true)
	}
	for _, p := range append(slices.Clip(c.Running), c.Pending...) {
		l.Pod(p)
	}
	return l, nil
}

// Decide makes a snapshot and the plan for it.
func (l *Load) Decide() *plan.Plan {
	s := l.Mirror.Snapshot(Epoch)
	l.Fit.Begin(s)
	return l.decide.Decide(s)
}

// Pod shows a pod that is new or has changed.
func (l *Load) Pod(p *corev1.Pod) {
	l.pods[p.UID] = p
	l.Mirror.Pods().OnAdd(p, false)
}

// Bound shows that a plan's binds have come true, and returns how many they are.
func (l *Load) Bound(p *plan.Plan) int {
	n := 0
	for _, step := range p.Steps {
		b, ok := step.(plan.Bind)
		if !ok {
			continue
		}
		for _, a := range b.Assignments {
			pod := l.pods[types.UID(a.UID)].DeepCopy()
			bind(pod, a.Node)
			l.Pod(pod)
			l.bound = append(l.bound, pod.UID)
			n++
		}
	}
	return n
}
