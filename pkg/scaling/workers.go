package scaling

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// change is what becomes of one worker group in one decision.
type change struct {
	now     time.Time
	gang    *snapshot.Gang
	group   *snapshot.Group
	workers *snapshot.Workers
	grant   *Grant // nil: nobody has an opinion
}

func (c *change) step() (plan.Step, time.Time) {
	if c.gang.Scaler == snapshot.ScaledByRay {
		return c.ceiling()
	}
	if c.leaving() {
		return nil, time.Time{} // KubeRay does nothing to the group before they are gone
	}
	r := plan.Resize{Gang: plan.OwnerOf(c.gang), Cluster: plan.Of(c.gang.Cluster), Group: c.ref(),
		From: c.workers.Replicas, To: c.workers.Replicas, Wish: c.workers.Wish, Min: c.group.Min, OldList: c.workers.ToDelete, Gone: c.workers.Named}
	due := sooner(c.resize(&r), c.surplusDue())
	if r.From == r.To && len(r.Gone) == 0 {
		if !c.adopts() {
			return nil, due
		}
		r.Because = "somebody asks for so many"
	}
	return r, due
}

// adopts says whether a number that somebody else has written is taken for the wish: when it may be
// had. Until then it stands against capmgr's own, and whoever writes it again contends with capmgr.
func (c *change) adopts() bool {
	to, _ := c.target()
	return c.workers.Adopt && c.grant != nil && to == c.workers.Replicas
}

func (c *change) ref() plan.Group {
	return plan.Group{Name: c.group.Name, Index: c.workers.Index, Hosts: c.workers.Hosts}
}

// leaving says whether a pod is there that the list names.
func (c *change) leaving() bool {
	return slices.ContainsFunc(c.gang.Members, func(p *snapshot.Pod) bool {
		return p.Group == c.group.Name && slices.Contains(c.workers.ToDelete, p.Name)
	})
}

// resize decides the number and who leaves, or says when it can.
func (c *change) resize(r *plan.Resize) (due time.Time) {
	to, because := c.target()
	switch w := c.workers; {
	case to > w.Replicas:
		if due := w.Shrunk.Add(calm); c.now.Before(due) {
			return due
		}
		r.To, r.Because = to, because
	case to < w.Replicas:
		crew := crewOf(c.gang, c.group, c.leave(), c.keep())
		leavers := crew.choose(w.Replicas-to, w.Replicas)
		if due := w.Grown.Add(calm); c.now.Before(due) && !crew.deliberate(leavers, to) {
			return due
		}
		r.To, r.Because, r.Leavers = w.Replicas-len(leavers), because, crew.ask(leavers)
		c.allow(r)
	}
	return time.Time{}
}

func (c *change) leave() []string {
	if c.grant == nil {
		return nil
	}
	return c.grant.Leave
}

// allow gives those who are preempted their time; where there is none, they are not asked at all.
func (c *change) allow(r *plan.Resize) {
	grace := c.grace()
	for k := range r.Leavers {
		switch l := &r.Leavers[k]; {
		case l.Drain != plan.DrainPreempt:
		case grace > 0:
			r.Deadline = c.now.Add(grace)
		default:
			l.Drain = plan.DrainNone
		}
	}
}

// grace is how long what runs on the leavers may go on.
func (c *change) grace() time.Duration {
	if c.grant != nil && len(c.grant.Leave) > 0 {
		return c.grant.Grace
	}
	return PreemptGrace
}

func (c *change) keep() []string {
	if c.grant == nil {
		return nil
	}
	return c.grant.Keep
}

// target is the number of replicas to have, and why.
func (c *change) target() (to int, because string) {
	w, least := c.workers, floor(c.group)
	to, because = w.Replicas, "as its queue allows"
	if c.grant != nil {
		to = c.grant.Replicas
		if c.grant.Because != "" {
			because = c.grant.Because
		}
	}
	to = min(to, asked(c.gang, c.group, c.now), max(w.Most, least))
	if idles(c.gang, c.now) && to > least {
		to, because = least, fmt.Sprintf("nothing has run in the cluster for %s", c.gang.IdleAfter)
	}
	if spare := c.surplus(); spare > 0 && to > w.Replicas-spare {
		to, because = w.Replicas-spare, fmt.Sprintf("beyond the wish of %d, and idle for %s", w.Wish, surplusIdle)
	}
	return max(to, least), because
}

// surplus counts replicas beyond the wish that have idled for long enough.
func (c *change) surplus() (n int) {
	for _, since := range c.spares() {
		if c.now.Sub(since) >= surplusIdle {
			n++
		}
	}
	return max(0, min(n, c.workers.Replicas-c.workers.Wish))
}

// surplusDue is when the next of them will have; zero for never.
func (c *change) surplusDue() (due time.Time) {
	for _, since := range c.spares() {
		if at := since.Add(surplusIdle); at.After(c.now) {
			due = sooner(due, at)
		}
	}
	return due
}

// spares are since when replicas idle of a group that has some beyond the wish.
func (c *change) spares() (idle []time.Time) {
	if !c.gang.Opportunistic || c.gang.Heard == nil || !c.gang.Heard.Fresh || c.gang.Heard.Waiting || c.workers.Replicas <= c.workers.Wish {
		return nil
	}
	for _, u := range unitsOf(c.gang, c.group.Name) {
		if since := u.idleSince(); !since.IsZero() {
			idle = append(idle, since)
		}
	}
	return idle
}

// ceiling moves what Ray's autoscaler may grow to.
func (c *change) ceiling() (plan.Step, time.Time) {
	w := c.workers
	if c.grant == nil {
		return nil, time.Time{}
	}
	to := max(min(c.grant.Replicas, w.Ceiling), floor(c.group))
	running := 0
	for _, u := range unitsOf(c.gang, c.group.Name) {
		if u.bound() {
			running++
		}
	}
	switch {
	case to == w.Most:
		return nil, time.Time{}
	case to > w.Most && c.now.Before(w.Shrunk.Add(calm)):
		return nil, w.Shrunk.Add(calm)
	case to < w.Most && to >= running && c.now.Before(w.Grown.Add(calm)):
		return nil, w.Grown.Add(calm)
	}
	because := c.grant.Because
	if because == "" {
		because = "as its queue allows"
	}
	return plan.Ceiling{Gang: plan.OwnerOf(c.gang), Cluster: plan.Of(c.gang.Cluster), Group: c.ref(),
		From: w.Most, To: to, Own: w.Ceiling, Because: because}, time.Time{}
}
