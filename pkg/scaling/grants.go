package scaling

import (
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Grant is how many replicas one worker group may have now. A group without one stays as it is.
type Grant struct {
	Gang     snapshot.GangID
	Group    string
	Replicas int           // that may exist, running or about to
	Leave    []string      // UIDs of members whose room is needed: their replicas leave first, busy or not
	Keep     []string      // UIDs of members that are given a node now: they wait no longer
	Grace    time.Duration // how long what runs on those in Leave may go on
	Because  string        // for people: what decided the number
}

const (
	// PreemptGrace is how long what runs on a worker may go on after it was asked to leave for others.
	PreemptGrace = 30 * time.Second
	// calm is the least time between two moves of one group in opposite directions, so that room that
	// comes and goes does not make pods that come and go. Taking away what runs, because others are
	// entitled to its room, does not wait.
	calm = 30 * time.Second
	// surplusIdle is how long a worker beyond the wish may idle before it leaves.
	surplusIdle = 2 * time.Minute
	// silence is for how long a head that says nothing is waited for before its cluster counts as one
	// whose demand nobody knows.
	silence = 5 * time.Minute
)

// WorkerSteps turns grants into changes of worker groups, one at most for each group, and says when
// time alone changes the answer (zero: never).
//
// Where capmgr writes the replicas, they become what is granted: never below the minimum of the
// gang, nor above what is wanted. Who leaves is named: first
// who must, then who waits for a node, then who idles, then the youngest, in whole replicas. Where
// Ray's autoscaler writes them, its ceiling becomes what is granted. While names wait for their pods
// to go, and while somebody else writes the same fields, nothing is changed.
func WorkerSteps(s *snapshot.Snapshot, grants []Grant) (steps []plan.Step, next time.Time) {
	granted := make(map[snapshot.GangID]map[string]*Grant, len(grants))
	for i, g := range grants {
		if granted[g.Gang] == nil {
			granted[g.Gang] = map[string]*Grant{}
		}
		granted[g.Gang][g.Group] = &grants[i]
	}
	for _, g := range s.Gangs {
		if g.Scaler == snapshot.ScaledByNobody || g.Cluster.UID == "" || g.Suspended || g.Ending || g.Invalid != "" {
			continue
		}
		if s.Now.Before(g.ContendedUntil) {
			next = sooner(next, g.ContendedUntil)
			continue
		}
		if g.Opportunistic && silent(g, s.Now) && !g.Heard.Silent.IsZero() {
			next = sooner(next, g.Heard.Silent.Add(silence))
		}
		for k := range g.Groups {
			grp := &g.Groups[k]
			if grp.Workers == nil {
				continue
			}
			c := change{now: s.Now, gang: g, group: grp, workers: grp.Workers, grant: granted[g.ID][grp.Name]}
			step, due := c.step()
			if step != nil {
				steps = append(steps, step)
			}
			next = sooner(next, due)
		}
	}
	return steps, next
}

// sooner is the earlier of two times, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Wanted is how many replicas a worker group should have if its queue could afford them all: the
// wish; more on Ray's own demand where growth is opportunistic; and no more than the minimum while
// the gang idles as long as its user allows.
func Wanted(g *snapshot.Gang, grp *snapshot.Group, now time.Time) int {
	w := grp.Workers
	if w == nil {
		return 0
	}
	switch {
	case g.Scaler == snapshot.ScaledByRay:
		return max(floor(grp), w.Ceiling)
	case idles(g, now):
		return floor(grp)
	}
	return asked(g, grp, now)
}

// Highest is the most replicas that anybody may come to ask for, at any time, of a group that capmgr
// resizes.
func Highest(g *snapshot.Gang, grp *snapshot.Group) int {
	w := grp.Workers
	switch {
	case !g.Opportunistic:
		return max(floor(grp), w.Wish)
	case w.Asked == nil:
		return max(floor(grp), w.Ceiling)
	}
	return max(floor(grp), min(max(w.Wish, *w.Asked), w.Ceiling))
}

// asked is the most replicas that somebody asks for now. While a head is yet to be heard, a cluster that
// grows with Ray's demand gets neither more than it has nor fewer.
func asked(g *snapshot.Gang, grp *snapshot.Group, now time.Time) int {
	most, w := Highest(g, grp), grp.Workers
	if g.Opportunistic && w.Asked == nil && silent(g, now) {
		return max(floor(grp), min(max(w.Wish, w.Replicas), most))
	}
	return most
}

// silent says whether a head is yet to be heard, or again.
func silent(g *snapshot.Gang, now time.Time) bool {
	return g.Heard != nil && !g.Heard.Fresh && (g.Heard.Silent.IsZero() || now.Before(g.Heard.Silent.Add(silence)))
}

// floor is the fewest replicas that a group may be brought to.
func floor(grp *snapshot.Group) int {
	return max(grp.Workers.Least, grp.Workers.Floor(grp.Min))
}
