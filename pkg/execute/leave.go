package execute

import (
	"context"
	"errors"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
)

// Heads are the heads of RayClusters, by the UID of their RayCluster.
type Heads interface {
	// Drain asks a node to take no more work.
	Drain(ctx context.Context, uid string, r gcs.DrainRequest) (gcs.Drained, error)
	// Last is what a head said last; false: it is not asked.
	Last(uid string) (gcs.Answer, bool)
}

// look is the time between two looks at a head while workers finish.
const look = 500 * time.Millisecond

// introduced is how long a head may take to be heard after the start.
const introduced = 10 * time.Second

// unheard says whether somebody would be named without having been asked, only because the manager has
// just begun to ask: who drains, and until when, is in nobody's memory but the head's.
func (e *Executor) unheard(s plan.Resize) bool {
	if e.Heads == nil || e.Now().Sub(e.began) > introduced {
		return false
	}
	for _, l := range s.Leavers {
		if l.Bound && l.RayNode == "" {
			return true
		}
	}
	return false
}

// askToLeave asks the leavers of a resize to go, and returns those that may be named. A worker that
// was seen idle and has been given work since refuses, and stays. One that is preempted has until the
// step's deadline. Where no head answers, whoever was to be preempted is named without being asked.
func (e *Executor) askToLeave(ctx context.Context, s plan.Resize) ([]plan.Leaver, error) {
	var named []plan.Leaver
	var finishing []plan.Leaver
	refused, accepted := map[string]bool{}, map[string]bool{}
	for _, l := range s.Leavers {
		unit := unitOf(l)
		if refused[unit] {
			continue
		}
		if l.Drain == plan.DrainIdle && !accepted[unit] {
			if !e.mayIdle(ctx, s, l) {
				refused[unit] = true
				continue
			}
			accepted[unit] = true
			continue
		}
		// Also the further hosts of a replica of which one has begun to end itself: the replica is lost.
		if l.Drain != plan.DrainNone && e.preempt(ctx, s, l) {
			finishing = append(finishing, l)
		}
	}
	for _, l := range s.Leavers {
		if !refused[unitOf(l)] {
			named = append(named, l)
		}
	}
	return named, e.awaitFinished(ctx, s, finishing)
}

// mayIdle asks a worker that was seen idle to end itself, which it refuses when it works again.
func (e *Executor) mayIdle(ctx context.Context, s plan.Resize, l plan.Leaver) bool {
	d, err := e.drain(ctx, s, gcs.DrainRequest{Node: l.RayNode, Reason: gcs.IdleTermination, Message: s.Because})
	if err != nil {
		e.Log.V(1).Info("Could not ask an idle worker to leave; it stays", "pod", l.Name, "reason", err.Error())
		return false
	}
	if !d.Accepted {
		e.Log.V(1).Info("A worker that was idle works again; it stays", "pod", l.Name, "reason", d.Message)
	}
	return d.Accepted
}

// preempt asks a worker to take no more work, and says whether it is worth waiting for.
func (e *Executor) preempt(ctx context.Context, s plan.Resize, l plan.Leaver) bool {
	d, err := e.drain(ctx, s, gcs.DrainRequest{Node: l.RayNode, Reason: gcs.Preemption, Deadline: s.Deadline, Message: s.Because})
	if err != nil {
		e.Log.V(1).Info("Could not ask a worker to leave", "pod", l.Name, "reason", err.Error())
		return e.drains(s, l)
	}
	return d.Accepted
}

// drains says whether a worker was asked to leave before, by what its head said last. Until when it may
// stay is not known any more; the deadline of this step is not before that.
func (e *Executor) drains(s plan.Resize, l plan.Leaver) bool {
	if e.Heads == nil {
		return false
	}
	a, _ := e.Heads.Last(s.Cluster.UID)
	n, there := a.State.Node(l.Name)
	return there && n.ID == l.RayNode && n.Status == demand.Draining
}

var errNoHead = errors.New("no head is asked")

func (e *Executor) drain(ctx context.Context, s plan.Resize, r gcs.DrainRequest) (gcs.Drained, error) {
	if e.Heads == nil {
		return gcs.Drained{}, errNoHead
	}
	return e.Heads.Drain(ctx, s.Cluster.UID, r)
}

// awaitFinished waits until nothing runs on the workers that were preempted, or their time is up.
func (e *Executor) awaitFinished(ctx context.Context, s plan.Resize, leavers []plan.Leaver) error {
	asked := e.Now()
	for len(leavers) > 0 && e.Now().Before(s.Deadline) && !e.finished(s, leavers, asked) {
		if !sleep(ctx, min(look, s.Deadline.Sub(e.Now()))) {
			return ctx.Err()
		}
	}
	return nil
}

// finished says whether a head has said, since they were asked, that the leavers are gone or idle.
func (e *Executor) finished(s plan.Resize, leavers []plan.Leaver, asked time.Time) bool {
	a, ok := e.Heads.Last(s.Cluster.UID)
	if !ok || !a.Known() || !a.At.After(asked) {
		return false
	}
	for _, l := range leavers {
		if n, there := a.State.Node(l.Name); there && n.ID == l.RayNode && !idle(n) {
			return false
		}
	}
	return true
}

// idle says whether nothing runs on a node. One that drains tells of that and no more of its status,
// but for how long it has idled.
func idle(n demand.Node) bool { return n.Status == demand.Idle || n.IdleFor > 0 }
