package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// muster is who of a gang is there, and what follows from the gang alone: it is worked out once for as
// long as the gang does not change. The minimum is counted per group.
type muster struct {
	gang    *snapshot.Gang
	account *account // of its queue; nil: there is no such queue
	shut    bool     // its queue is not for work of its namespace

	running []*snapshot.Pod // bound and not on their way out
	missing []*snapshot.Pod // waiting, needed for the minimum
	elastic []unit          // waiting, beyond the minimum
	absent  map[string]int  // per group: pods of the minimum that do not exist

	used      snapshot.Resources // by all that are bound and not on their way out
	lingering snapshot.Resources // by those that were asked to leave and have not begun to
	asked     snapshot.Resources // by those that wait, unless the gang is suspended
	need      snapshot.Resources // of those that are missing
	least     snapshot.Resources // of the minimum, from the spec: pods need not exist yet

	reserved time.Time // for when room was reserved for it; zero: it was not

	booked  bool          // nodes are bought for it, or were and are not settled
	chunks  []*chunk      // what could be evicted of it; see victims
	verdict *plan.Verdict // of the last decision; nil before the first
	words   *plan.Verdict // of the verdict that those behind it share
	like    *plan.Verdict // the words of the gang before it that verdict has; nil: it has its own
}

func musterOf(g *snapshot.Gang) *muster {
	m := &muster{gang: g}
	for k := range g.Groups {
		m.callUp(&g.Groups[k])
	}
	for k := range g.Groups {
		m.hire(&g.Groups[k])
	}
	m.need, m.least, m.reserved = sumOf(m.missing), minimum(g), reservedFor(g)
	for _, p := range g.Members {
		switch {
		case p.Lingers:
			m.lingering = m.lingering.Add(p.Request)
		case p.Terminating:
		case p.Node != "":
			m.used = m.used.Add(p.Request)
		case !g.Suspended:
			m.asked = m.asked.Add(p.Request)
		}
	}
	m.asked = m.asked.Add(m.unborn())
	return m
}

// callUp sorts the pods of one group.
func (m *muster) callUp(grp *snapshot.Group) {
	g, need := m.gang, grp.Min
	for _, p := range g.Members {
		if p.Group == grp.Name && p.Node != "" && !p.Terminating {
			m.running = append(m.running, p)
			need--
		}
	}
	waiting := unitsOf(g, grp.Name, func(p *snapshot.Pod) bool { return p.Node == "" && !p.Terminating })
	slices.SortStableFunc(waiting, func(x, y []*snapshot.Pod) int { return -cmp.Compare(m.companions(x), m.companions(y)) })
	for _, unit := range waiting {
		if need > 0 {
			m.missing = append(m.missing, unit...)
			need -= len(unit)
		} else {
			m.elastic = append(m.elastic, m.unitOf(grp, unit))
		}
	}
	if need > 0 && expected(g) && grp.Template != nil {
		m.missing, need = append(m.missing, born(grp, need)...), 0
	}
	if need > 0 {
		if m.absent == nil {
			m.absent = map[string]int{}
		}
		m.absent[grp.Name] = need
	}
}

// companions counts the running pods of the replica that a unit is of: those that it completes.
func (m *muster) companions(unit []*snapshot.Pod) (n int) {
	if unit[0].Unit == "" {
		return 0
	}
	for _, p := range m.running {
		if p.Group == unit[0].Group && p.Unit == unit[0].Unit {
			n++
		}
	}
	return n
}

// unitsOf splits the pods of a group that are kept into units, in the order of their first pods.
func unitsOf(g *snapshot.Gang, group string, keep func(*snapshot.Pod) bool) (units [][]*snapshot.Pod) {
	var index map[string]int
	for _, p := range g.Members {
		if p.Group != group || !keep(p) {
			continue
		}
		if p.Unit == "" {
			units = append(units, []*snapshot.Pod{p})
			continue
		}
		k, ok := index[p.Unit]
		if !ok {
			if index == nil {
				index = map[string]int{}
			}
			k = len(units)
			index[p.Unit] = k
			units = append(units, nil)
		}
		units[k] = append(units[k], p)
	}
	return units
}

// whole says whether the gang has its minimum bound.
func (m *muster) whole() bool { return len(m.missing) == 0 && len(m.absent) == 0 }

// rests says that nothing is to be decided of a gang: its verdict follows from itself, until somebody
// evicts it.
func (m *muster) rests() bool {
	return !m.booked && m.gang.Invalid == "" && m.whole() && len(m.elastic) == 0 && len(m.running) > 0
}

// queues says that a gang waits for its minimum with no claim on any room: it has its place in the line
// of its queue, and nothing but its shape, priority and age tells it apart from the others there.
func (m *muster) queues() bool {
	g := m.gang
	return !m.booked && m.account != nil && !m.shut && g.Invalid == "" && (!g.Suspended || held(g)) && len(m.running) == 0 && len(m.absent) == 0 &&
		len(m.missing) > 0 && g.HeldUntil.IsZero() && g.EvictedAt.IsZero() && g.ResumedAt.IsZero()
}

// answer is the verdict on the gang, in words that may be about another gang like it. What has not changed
// since the last decision stays the same value.
func (m *muster) answer(v plan.Verdict) {
	own := plan.VerdictFor(m.gang, m.gang.Queue)
	v.Gang, v.Previous, v.Also, v.Maker = own.Gang, own.Previous, own.Also, own.Maker
	if m.verdict == nil || *m.verdict != v {
		news := v // v itself stays where it is
		m.verdict, m.like = &news, nil
	}
}

// unheard is the verdict on a gang that a decision did not get to: what was said of it before, or that it
// is its turn soon.
func (m *muster) unheard() plan.Verdict {
	v := plan.VerdictFor(m.gang, m.gang.Queue)
	if m.verdict != nil {
		v = *m.verdict
	} else if last, err := plan.ParseVerdict(m.gang.LastVerdict); err == nil && last.Reason != "" {
		v.Reason, v.Message, v.Doing, v.Advice, v.ETA = last.Reason, last.Message, last.Doing, last.Advice, last.ETA
	} else {
		v.Reason, v.Message, v.Doing = plan.BackingOff, "the last decision ended at its bound on work before it was its turn", "Deciding again at once, and beginning with it"
	}
	v.Early = true
	return v
}

// answerAlike is the verdict on gangs of which the first was tried, and the others are like it.
func (m *muster) answerAlike(v plan.Verdict, gangs []*muster) {
	if m.words == nil || *m.words != v {
		news := v
		m.words = &news
	}
	for _, o := range gangs {
		if o != m && o.like != m.words {
			o.answer(v)
			o.like = m.words
		}
	}
}

// alike says that where one of two waiting gangs finds no room, the one behind it does not either.
func (m *muster) alike(o *muster) bool {
	a, b := m.gang, o.gang
	return a.Shape == b.Shape && a.Priority == b.Priority && a.NonPreemptible == b.NonPreemptible && a.NeverEvicts == b.NeverEvicts && a.Runtime == b.Runtime
}

func sumOf(pods []*snapshot.Pod) (sum snapshot.Resources) {
	for _, p := range pods {
		sum = sum.Add(p.Request)
	}
	return sum
}

// incomplete says which pods of the minimum do not exist yet, or nil.
func (m *muster) incomplete() *blocked {
	if len(m.absent) == 0 {
		return nil
	}
	var parts []string
	for _, grp := range m.gang.Groups {
		if n := m.absent[grp.Name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d in group %s", n, grp.Min, grp.Name))
		}
	}
	return &blocked{plan.GangIncomplete, "pods that it needs do not exist yet: " + strings.Join(parts, ", "),
		"If this stays, look at the events of the " + m.gang.Kind}
}

// minimum is what a gang needs at least in all.
func minimum(g *snapshot.Gang) (sum snapshot.Resources) {
	for _, grp := range g.Groups {
		sum = sum.Add(grp.Request.Times(int64(grp.Min)))
	}
	return sum
}
