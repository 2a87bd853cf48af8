package state

import (
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Eviction is what is remembered of others having been evicted for a gang that has not been placed since.
type Eviction struct {
	At    time.Time `json:"at"`    // the last time
	Tries int       `json:"tries"` // how often
}

const (
	// evictionMemory is how long a gang counts as one that others have made room for.
	evictionMemory = 10 * time.Minute
	// mostTries is how often others are evicted for a gang that is not placed: somebody else takes what
	// they leave, and would take what the next ones leave.
	mostTries = 2
	// oneTry is within how long evictions for a gang are of one decision: those that go when they have been
	// asked to, or at another attempt, go later than the others.
	oneTry = time.Minute
	// vainFor is how long nobody is evicted for such a gang then.
	vainFor = time.Hour
)

// RememberEviction records that others are evicted for a gang.
func (m *Mirror) RememberEviction(gang snapshot.GangID, at time.Time) {
	m.note(func() {
		e := m.evicted[string(gang)]
		if e.Tries == 0 || at.Sub(e.At) > oneTry {
			e.Tries++
		}
		e.At = at
		m.evicted[string(gang)] = e
	})
}

// ForgetEviction records that a gang for which others were evicted is being bound: if it needs more room
// later, others may be evicted for it again.
func (m *Mirror) ForgetEviction(gang snapshot.GangID) {
	m.note(func() { delete(m.evicted, string(gang)) }) // its pods, and so the gang, have changed anyway
}

// evictions adds to a gang what is remembered of others having been evicted for it.
func (b *builder) evictions(g *snapshot.Gang) {
	e, ok := b.m.evicted[string(g.ID)]
	ago := b.s.Now.Sub(e.At)
	switch {
	case !ok:
	case ago >= vainFor:
		delete(b.m.evicted, string(g.ID))
	default:
		if ago < evictionMemory {
			g.EvictedAt = e.At
		}
		g.NeverEvicts = g.NeverEvicts || e.Tries >= mostTries
	}
}

// vain lists by gang what a successor must know of evictions.
func (b *builder) vain() map[string]Eviction {
	out := map[string]Eviction{}
	for id, e := range b.m.evicted {
		if b.s.Now.Sub(e.At) < vainFor {
			out[id] = e
		}
	}
	return out
}
