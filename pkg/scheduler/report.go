package scheduler

import "github.com/capmgr/capmgr/pkg/plan"

// reports says what every queue has, before this decision changes it, by name.
func (l *ledger) reports() []plan.QueueReport {
	out := make([]plan.QueueReport, 0, len(l.all))
	for _, a := range l.all {
		out = append(out, plan.QueueReport{Name: a.queue.Name, Children: a.names, Allocated: a.used, NonPreemptible: a.unevicted,
			Requested: a.requested, FairShare: a.fair, OverQuota: a.queue.Quota.Exceeded(a.used, a.used), Invalid: a.queue.Invalid})
	}
	return out
}
