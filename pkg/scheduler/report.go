package scheduler

import (
	"cmp"
	"slices"

	"github.com/capmgr/capmgr/pkg/plan"
)

// reports says what every queue has, before this decision changes it, by name.
func (l *ledger) reports() []plan.QueueReport {
	out := make([]plan.QueueReport, 0, len(l.accounts))
	for name, a := range l.accounts {
		r := plan.QueueReport{Name: name, Allocated: a.used, NonPreemptible: a.unevicted, Requested: a.requested, FairShare: a.fair,
			OverQuota: a.queue.Quota.Exceeded(a.used, a.used), Invalid: a.queue.Invalid}
		for _, c := range a.children {
			r.Children = append(r.Children, c.queue.Name)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y plan.QueueReport) int { return cmp.Compare(x.Name, y.Name) })
	return out
}
