package state

import (
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// A purchase soon after a release is a flap: the nodes that went would have served. Each within the
// last flapMemory doubles how long the group's nodes stay idle, up to idleMost.
const (
	flapWindow = 10 * time.Minute
	flapMemory = pastMemory
	idleMost   = time.Hour
)

// NoteReleased records that idle nodes of a group were given back. It is kept in memory only: a restart
// starts the idle times anew as well.
func (m *Mirror) NoteReleased(group string, at time.Time) {
	m.update(func() { m.released[group] = append(m.released[group], at) })
}

// flaps lets a group that flapped lately wait longer before it gives nodes back.
func (b *builder) flaps(g *snapshot.NodeGroup) {
	releases := slices.DeleteFunc(b.m.released[g.Name], func(at time.Time) bool { return b.s.Now.Sub(at) > flapMemory })
	b.m.released[g.Name] = releases
	var counted time.Time
	for _, r := range b.history { // oldest first
		bought := r.CreationTimestamp.Time
		for _, n := range r.Spec.Nodes {
			if n.NodeGroup != g.Name {
				continue
			}
			if slices.ContainsFunc(releases, func(at time.Time) bool {
				return at.After(counted) && !bought.Before(at) && bought.Sub(at) < flapWindow
			}) {
				g.Flaps++
				counted = bought
			}
		}
	}
	for range g.Flaps {
		g.IdleAfter = max(g.IdleAfter, min(2*g.IdleAfter, idleMost))
	}
}
