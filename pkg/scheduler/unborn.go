package scheduler

import (
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// unit is pods beyond a gang's minimum that are placed together.
type unit struct {
	group    string
	pods     []*snapshot.Pod
	replicas int  // of a RayCluster's worker group; 0 elsewhere
	nth      int  // the first of them among the group's replicas, from 0
	unborn   bool // its pods do not exist yet: where they find a place, they are granted
	spare    bool // beyond the wish: for room that nobody else has a use for
	short    bool // some hosts of its replica do not exist yet: it waits for them
}

// mostHired is how many replicas a group grows by in one decision.
const mostHired = 64

// held says whether a gang waits without pods until it is granted.
func held(g *snapshot.Gang) bool { return g.Suspended && g.Held && len(g.Members) == 0 }

// expected says whether the pods of a gang's minimum are placed before they exist: it waits for that,
// or has been let go a moment ago.
func expected(g *snapshot.Gang) bool { return held(g) || !g.Suspended && !g.ResumedAt.IsZero() }

// born makes pods of a group that do not exist yet.
func born(grp *snapshot.Group, n int) []*snapshot.Pod {
	pods := make([]snapshot.Pod, n)
	out := make([]*snapshot.Pod, n)
	for k := range pods {
		pods[k] = *grp.Template
		out[k] = &pods[k]
	}
	return out
}

// exists says whether a pod does.
func exists(p *snapshot.Pod) bool { return p.UID != "" }

// unborn says whether some pods of a demand do not exist yet.
func (q *demand) unborn() bool {
	return slices.ContainsFunc(q.pods, func(p *snapshot.Pod) bool { return !exists(p) })
}

// letGo lets a gang go on whose minimum has a place, and waits for its pods.
func (d *decision) letGo(w *work) {
	v := &w.verdict
	d.look(d.s.Now.Add(appearing))
	v.Reason, v.Message, v.Doing, v.Early = plan.GangIncomplete, "there is room for it, and its pods are being made", "Holding the room for them", true
	if g := w.gang; g.Suspended {
		d.plan.Steps = append(d.plan.Steps, plan.Resume{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable), Because: "it is its turn, and there is room for it"})
	}
}

// unitOf is a unit of pods that exist and wait.
func (m *muster) unitOf(grp *snapshot.Group, pods []*snapshot.Pod) unit {
	u := unit{group: grp.Name, pods: pods}
	if w := grp.Workers; w != nil && m.gang.Scaler != snapshot.ScaledByNobody {
		there := m.companions(pods)
		u.short = there+len(pods) < w.Hosts
		if there > 0 {
			return u // its replica counts already
		}
		u.replicas, u.nth = 1, m.have(grp)
		u.spare = m.gang.Scaler == snapshot.ScaledByCapmgr && u.nth >= max(w.Wish, w.Least, w.Floor(grp.Min))
	}
	return u
}

// have is how many replicas of a group have been counted so far: those that run, those that the minimum
// lacks, and those that wait beyond it.
func (m *muster) have(grp *snapshot.Group) (n int) {
	pods := 0
	for _, list := range [][]*snapshot.Pod{m.running, m.missing} {
		for _, p := range list {
			if p.Group == grp.Name {
				pods++
			}
		}
	}
	n = grp.Workers.Floor(pods)
	for _, u := range m.elastic {
		if u.group == grp.Name {
			n += u.replicas
		}
	}
	return n
}

// hire adds the replicas that a worker group does not have and should: up to the wish, and beyond it,
// where its gang takes whatever is there, as many as Ray has a use for. What helps only together is one
// unit.
func (m *muster) hire(grp *snapshot.Group) {
	g, w := m.gang, grp.Workers
	if w == nil || grp.Template == nil || g.Scaler != snapshot.ScaledByCapmgr || g.Suspended || g.Ending || len(m.absent) > 0 {
		return
	}
	have := m.have(grp)
	most, wish := min(scaling.Highest(g, grp), have+mostHired), max(w.Wish, w.Least)
	for n := have; n < most; {
		more := 1
		if n >= wish {
			more = w.Together(n)
		}
		if n+more > most {
			return
		}
		m.elastic = append(m.elastic, unit{group: grp.Name, pods: born(grp, more*w.Hosts), replicas: more, nth: n, unborn: true, spare: n >= wish})
		n += more
	}
}

// unborn is what the pods ask for that should exist, up to the wish.
func (m *muster) unborn() (sum snapshot.Resources) {
	for _, p := range m.missing {
		if !exists(p) {
			sum = sum.Add(p.Request)
		}
	}
	for _, u := range m.elastic {
		if u.unborn && !u.spare {
			sum = sum.Add(sumOf(u.pods))
		}
	}
	return sum
}

// appearing is how long pods may take to appear for which room is held.
const appearing = time.Minute

// wanted says whether a unit is to be placed now. Workers beyond what their group should have are not, nor
// while nothing runs in the cluster for as long as its user allows; and pods that do not exist are not while
// nobody may write the number of their group, or when they should have appeared by now.
func (d *decision) wanted(g *snapshot.Gang, u *unit) bool {
	if u.replicas == 0 || g.Scaler != snapshot.ScaledByCapmgr {
		return true
	}
	grp := groupOf(g, u.group)
	w := grp.Workers
	switch due := w.Grown.Add(appearing); {
	case u.nth+u.replicas > scaling.Wanted(g, grp, d.s.Now):
		return false
	case !u.unborn:
		return true
	case d.s.Now.Before(g.ContendedUntil):
		d.look(g.ContendedUntil)
		return false
	case u.nth < w.Replicas:
		d.look(due)
		return d.s.Now.Before(due)
	}
	return true
}

// granted says whether a unit was granted a moment ago.
func (d *decision) granted(g *snapshot.Gang, u *unit) bool {
	if u.replicas == 0 {
		return false
	}
	w := groupOf(g, u.group).Workers
	return u.nth < w.Replicas && d.s.Now.Before(w.Grown.Add(appearing))
}

func groupOf(g *snapshot.Gang, name string) *snapshot.Group {
	k := slices.IndexFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Name == name })
	return &g.Groups[k]
}
