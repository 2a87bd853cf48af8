package faults

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/state"
)

// unrest decides once more, on everything there is, and says what is still to be done or is left
// over; "" when all is well.
func (w *world) unrest(t *testing.T) string {
	t.Helper()
	m := state.New(w.config)
	l := &life{w: w, ctx: t.Context(), cancel: func() {}}
	_ = (&state.Observer{Mirror: m, Groups: w.config.NodeGroups,
		Providers: map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: provider{l}}}).Observe(t.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	newView(m).follow(w)
	s := m.Snapshot(time.Now())
	c := checkers[1]
	c.Begin(s)
	p := scheduler.Decide(s, c)
	if len(p.Steps) > 0 {
		return "a further decision has a step: " + fmt.Sprint(p.Steps[0])
	}
	if left := w.leaks(); left != "" {
		return "left over: " + left
	}
	verdicts := map[string]plan.Verdict{}
	for _, v := range p.Verdicts {
		verdicts[v.Gang.UID] = *v
	}
	for _, g := range w.gangs() {
		if why := w.untrue(g, verdicts[string(g.uid)]); why != "" {
			return why
		}
	}
	return ""
}

// leaks says which instances nobody has a use for: none runs anything on them, is waiting for them, or
// wants them kept warm.
func (w *world) leaks() string {
	var idle []string
	warm := map[string]int{}
	for _, c := range w.config.NodeGroups {
		warm[c.Name] = int(c.MinNodes)
	}
	gpus := 0
	for _, q := range w.config.Queues {
		if q.Scaling != nil {
			gpus += int(q.Scaling.MinGPUs)
		}
	}
	for _, name := range sorted(w.groups) {
		g := w.groups[name]
		for _, i := range g.instances {
			switch r := w.requests.get(i.intent); {
			case len(w.podsOn(i.node)) > 0, r != nil && open(r):
			case g.alive() <= warm[name]:
			case g.shape.GPUs > 0 && gpus > 0:
				gpus -= int(g.shape.GPUs)
			default:
				idle = append(idle, i.id)
			}
		}
	}
	if len(idle) == 0 {
		return ""
	}
	return fmt.Sprint(idle)
}

// untrue says why what is said of a gang that does not run is not so.
func (w *world) untrue(g *gang, v plan.Verdict) string {
	if g.whole() && !g.suspended {
		return ""
	}
	limit, quota, bounded := false, false, false
	for _, q := range w.lineage(g.queue) {
		gpu := w.queues.get("/" + q).Spec.Resources.GPU
		limit = limit || gpu.Limit >= 0 && w.use(q, g.uid, false)+g.gpus > int64(gpu.Limit*1000)
		quota = quota || gpu.Quota >= 0 && w.use(q, g.uid, true)+g.gpus > int64(gpu.Quota*1000)
		if s := w.config.Queues[q].Scaling; s != nil {
			bounded = bounded || len(s.MaxNodes) > 0 ||
				s.MaxGPUs != nil && (g.gpus == 0 || w.use(q, g.uid, false)+g.gpus+w.coarseness() > int64(*s.MaxGPUs)*1000)
		}
	}
	fits := false
	switch v.Reason {
	case plan.Suspended:
		fits = g.suspended
	case plan.ExceedsLimit, plan.WaitingForQuota:
		fits = limit
	case plan.NonPreemptibleOverQuota:
		fits = g.fixed && quota
	case plan.BoundReached:
		fits = bounded || w.full()
	case plan.BudgetExceeded, plan.NoMatchingNodeGroup, plan.NoNodeFits:
		fits = true
	}
	if fits {
		return ""
	}
	return fmt.Sprintf("%s has %v of %v: %s: %s", g.name, g.have, g.least, v.Reason, v.Message)
}

// coarseness is how many thousandths of a GPU are bought at most with what is needed: machines come whole.
func (w *world) coarseness() int64 {
	most := int64(1)
	for _, g := range w.groups {
		most = max(most, g.shape.GPUs)
	}
	return (most - 1) * 1000
}

// full says whether some group, or the cluster, has little room to grow.
func (w *world) full() bool {
	total := 0
	for _, g := range w.groups {
		total += g.alive()
		if g.alive()+4 > g.max {
			return true
		}
	}
	return total+5 > int(ptr.Deref(w.config.Limits.MaxNodes, 1<<30)) || w.config.Limits.MaxNewNodesPerHour != nil
}
