package state

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"github.com/capmgr/capmgr/pkg/fit"
)

// PodDisruptionBudgets returns the handler for the informer of disruption budgets. How many evictions one
// allows says whether its pods can be evicted, and whether they keep their nodes.
func (m *Mirror) PodDisruptionBudgets() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { m.setBudget(nil, o) },
		UpdateFunc: func(old, o any) {
			was, _ := old.(*policyv1.PodDisruptionBudget)
			m.setBudget(was, o)
		},
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			if b, ok := o.(*policyv1.PodDisruptionBudget); ok {
				m.note(func() {
					m.drainer.DropBudget(b)
					m.protect(b)
				})
			}
		},
	}
}

func (m *Mirror) setBudget(old *policyv1.PodDisruptionBudget, o any) {
	b, ok := o.(*policyv1.PodDisruptionBudget)
	if !ok {
		return
	}
	m.note(func() {
		m.drainer.SetBudget(b)
		if old != nil {
			m.protect(old)
		}
		m.protect(b)
	})
}

// protect looks again at the pods that a disruption budget selects.
func (m *Mirror) protect(b *policyv1.PodDisruptionBudget) {
	selector := fit.Selected(b)
	for _, p := range m.pods {
		if p.object.Namespace != b.Namespace || !selector.Matches(labels.Set(p.object.Labels)) {
			continue
		}
		if keeps, guards := m.drainer.Keeps(p.object), m.drainer.Guards(p.object); keeps != p.keeps || guards != p.guards {
			p.keeps, p.guards = keeps, guards
			m.kept.units[keyOf(p)] = true
		}
	}
}
