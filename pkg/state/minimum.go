package state

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// minima is what a gang needs of every group, from when it was bound.
type minima map[string]int

// minimum holds a running gang to the minimum that it was bound with, and says since when it runs
// below that. The minimum of a gang that runs never rises, whatever its spec says by now: it would
// otherwise be broken by its own growth. A gang that was bound in part, because somebody died or was
// cut off in the midst of it, is short of the rest in the same way as one that lost it.
func (b *builder) minimum(g *snapshot.Gang) {
	id := string(g.ID)
	bound := map[string]int{}
	for _, p := range g.Members {
		if p.Node != "" && !p.Terminating {
			bound[p.Group]++
		}
	}
	if len(bound) == 0 {
		delete(b.m.running, id)
		delete(b.m.short, id)
		return
	}
	before, ran := b.m.running[id]
	if !ran {
		before, ran = b.m.boundWith(g)
	}
	whole, now := true, minima{}
	for k := range g.Groups {
		grp := &g.Groups[k]
		if ran {
			grp.Min = min(grp.Min, before[grp.Name]) // a group that was added is growth, too
		}
		now[grp.Name] = grp.Min
		whole = whole && bound[grp.Name] >= grp.Min
	}
	switch {
	case whole:
		b.m.running[id] = now
		delete(b.m.short, id)
	case ran:
		b.m.running[id] = now
		if b.m.short[id].IsZero() {
			b.m.short[id] = b.s.Now
		}
		g.ShortSince = b.m.short[id]
	}
}

// boundWith reads from a gang's pods what it was bound with: of every group the least that any of them
// says. A pod that was bound by somebody else says nothing.
func (m *Mirror) boundWith(g *snapshot.Gang) (least minima, said bool) {
	for _, p := range g.Members {
		in := m.pods[types.UID(p.UID)]
		if in == nil || in.object.Spec.NodeName == "" || p.Terminating {
			continue
		}
		text := in.object.Annotations[v1alpha1.BoundMinimumAnnotation]
		counts, err := ray.ParseCounts(text)
		if text == "" || err != nil { // somebody's hand: the others tell, or nobody does
			continue
		}
		if !said {
			least, said = counts, true
			continue
		}
		for name := range least {
			least[name] = min(least[name], counts[name])
		}
	}
	return least, said
}

// Gang is a gang as the latest snapshot has it, or nil.
func (m *Mirror) Gang(id snapshot.GangID) *snapshot.Gang {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, known := find(m.kept.gangs, string(id), gangName)
	if !known {
		return nil
	}
	return m.kept.gangs[at]
}
