package scaling

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// unit is the pods of one replica.
type unit struct {
	name string // of the first pod, or what its pods share
	pods []*snapshot.Pod
}

// unitsOf splits the pods of a group into replicas, in the order of their first pods.
func unitsOf(g *snapshot.Gang, group string) (units []*unit) {
	shared := map[string]*unit{}
	for _, p := range g.Members {
		if p.Group != group {
			continue
		}
		u := shared[p.Unit]
		if u == nil || p.Unit == "" {
			u = &unit{name: cmp.Or(p.Unit, p.Name)}
			units = append(units, u)
			if p.Unit != "" {
				shared[p.Unit] = u
			}
		}
		u.pods = append(u.pods, p)
	}
	return units
}

func (u *unit) all(is func(*snapshot.Pod) bool) bool {
	return !slices.ContainsFunc(u.pods, func(p *snapshot.Pod) bool { return !is(p) })
}

func (u *unit) any(is func(*snapshot.Pod) bool) bool { return slices.ContainsFunc(u.pods, is) }

// bound says whether the replica holds room that others could have, and is not leaving already.
func (u *unit) bound() bool {
	return u.any(func(p *snapshot.Pod) bool { return p.Node != "" && !p.Terminating })
}

// idleSince is when the last of its hosts came to idle; zero while one of them works, or may.
func (u *unit) idleSince() (since time.Time) {
	for _, p := range u.pods {
		if p.Ray == nil || p.Ray.IdleSince.IsZero() {
			return time.Time{}
		}
		if p.Ray.IdleSince.After(since) {
			since = p.Ray.IdleSince
		}
	}
	return since
}

func (u *unit) draining() bool {
	return u.any(func(p *snapshot.Pod) bool { return p.Ray != nil && p.Ray.Draining })
}

// started is when the last of its pods began; the creation of one that waits.
func (u *unit) started() (at time.Time) {
	for _, p := range u.pods {
		t := p.Started
		if t.IsZero() {
			t = p.Created
		}
		if t.After(at) {
			at = t
		}
	}
	return at
}

// The order in which replicas leave.
const (
	rankMust     = iota // its room is needed
	rankEnding          // it is on its way out, and would be replaced
	rankWaiting         // it has no room yet
	rankDraining        // it takes no more work
	rankIdle
	rankBusy // or nobody knows
)

// crew is the replicas of a group in the order in which they leave.
type crew struct {
	fresh bool // what Ray said of them may be acted on
	units []*unit
	rank  map[*unit]int
}

func crewOf(g *snapshot.Gang, grp *snapshot.Group, must, keep []string) crew {
	c := crew{fresh: g.Heard != nil && g.Heard.Fresh, units: unitsOf(g, grp.Name), rank: map[*unit]int{}}
	for _, u := range c.units {
		c.rank[u] = c.rankOf(u, must, keep)
	}
	slices.SortStableFunc(c.units, func(a, b *unit) int {
		return cmp.Or(cmp.Compare(c.rank[a], c.rank[b]), c.within(c.rank[a], a, b), cmp.Compare(a.name, b.name))
	})
	return c
}

func (c *crew) rankOf(u *unit, must, keep []string) int {
	switch {
	case u.any(func(p *snapshot.Pod) bool { return slices.Contains(must, p.UID) }):
		return rankMust
	case u.any(func(p *snapshot.Pod) bool { return slices.Contains(keep, p.UID) }):
		return rankBusy
	case u.all(func(p *snapshot.Pod) bool { return p.Terminating }):
		return rankEnding
	case u.all(func(p *snapshot.Pod) bool { return p.Node == "" || p.Terminating }):
		return rankWaiting
	case c.fresh && u.draining():
		return rankDraining
	case c.fresh && !u.idleSince().IsZero():
		return rankIdle
	}
	return rankBusy
}

// within orders replicas of one rank: who has idled longest, else the youngest.
func (c *crew) within(rank int, a, b *unit) int {
	if rank == rankIdle {
		return a.idleSince().Compare(b.idleSince())
	}
	return b.started().Compare(a.started())
}

// choose names n replicas that leave, or fewer. of is how many the group is to have by its spec:
// while some of them do not exist yet, they are the better ones to go without, and nobody who runs is
// named in their place but who must.
func (c *crew) choose(n, of int) []*unit {
	unborn := of > len(c.units)
	var out []*unit
	for _, u := range c.units {
		if len(out) == n || unborn && c.rank[u] > rankWaiting {
			break
		}
		out = append(out, u)
	}
	return out
}

// deliberate says whether the number to come to takes away what runs. Room that merely did not
// come is another matter.
func (c *crew) deliberate(leavers []*unit, to int) bool {
	running := 0
	for _, u := range c.units {
		if u.bound() {
			running++
		}
	}
	return running > to || slices.ContainsFunc(leavers, func(u *unit) bool { return c.rank[u] == rankMust })
}

// ask says how each pod of the leavers is asked to go.
func (c *crew) ask(leavers []*unit) (out []plan.Leaver) {
	for _, u := range leavers {
		for _, p := range u.pods {
			l := plan.Leaver{PodRef: plan.PodRef{Namespace: p.Namespace, Name: p.Name, UID: p.UID}, Unit: p.Unit, Bound: p.Node != "" && !p.Terminating}
			if p.Ray != nil && p.Node != "" && !p.Terminating {
				l.RayNode, l.Drain = p.Ray.ID, plan.DrainPreempt
				if c.rank[u] == rankIdle || c.rank[u] == rankMust && c.fresh && !u.idleSince().IsZero() {
					l.Drain = plan.DrainIdle
				}
			}
			out = append(out, l)
		}
	}
	return out
}
