package scaling

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// idles says whether nothing has run in a gang's cluster for as long as its user allows.
func idles(g *snapshot.Gang, now time.Time) bool {
	since := idleSince(g)
	return g.IdleAfter > 0 && !since.IsZero() && now.Sub(since) >= g.IdleAfter
}

// idleSince is since when nothing has run in a gang's cluster, the head included, by Ray's own
// account; zero when something does, or when nobody knows: silence is not idleness.
func idleSince(g *snapshot.Gang) (since time.Time) {
	if g.Heard == nil || !g.Heard.Fresh || g.Heard.Waiting {
		return time.Time{}
	}
	for _, p := range g.Members {
		switch {
		case p.Node == "" || p.Terminating:
			continue // runs nothing
		case p.Ray == nil || p.Ray.IdleSince.IsZero():
			return time.Time{}
		case p.Ray.IdleSince.After(since):
			since = p.Ray.IdleSince
		}
	}
	return since
}

// Suspensions are the gangs to suspend because they have idled twice as long as their users allow and
// have come down to their minimum, and when the next falls due (zero: never by time alone). They are
// never deleted, and their users let them go on.
func Suspensions(s *snapshot.Snapshot) (steps []plan.Step, next time.Time) {
	for _, g := range s.Gangs {
		since := idleSince(g)
		if g.IdleAfter <= 0 || since.IsZero() || g.Suspendable.UID == "" || g.Suspended || g.Ending {
			continue
		}
		if due := since.Add(2 * g.IdleAfter); s.Now.Before(due) {
			// Half of the time is when its workers leave.
			if half := since.Add(g.IdleAfter); s.Now.Before(half) {
				due = half
			}
			next = sooner(next, due)
			continue
		}
		if s.Now.Before(g.ContendedUntil) || !small(g) {
			continue
		}
		steps = append(steps, plan.Suspend{Gang: plan.OwnerOf(g), Object: plan.Of(g.Suspendable), Mode: snapshot.SuspendedIdle,
			Because: fmt.Sprintf("nothing has run there for %s", 2*g.IdleAfter)})
	}
	return steps, next
}

// small says whether every worker group that capmgr resizes is at its minimum, with nobody on the
// way out. Ray's own autoscaler brings down its groups by itself.
func small(g *snapshot.Gang) bool {
	for k := range g.Groups {
		w := g.Groups[k].Workers
		if w != nil && g.Scaler == snapshot.ScaledByCapmgr && (w.Replicas > floor(&g.Groups[k]) || len(w.Named) > 0) {
			return false
		}
	}
	return true
}
