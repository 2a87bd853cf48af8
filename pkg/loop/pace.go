package loop

import "time"

// pace turns a bound on the time of a decision into one on its work: deciding reads no clock, so that the
// same snapshot gives the same plan.
type pace struct {
	perSecond float64 // looks, as measured lately; 0: not yet
}

const (
	// firstGuess is low, for the first decision, which is the largest.
	firstGuess = 1e6
	// measurable is from how many looks on a decision tells something: below, most of its time goes elsewhere.
	measurable = 10_000
)

// looks is how many fit into a time; 0, which is no bound, where the time is 0.
func (p *pace) looks(budget time.Duration) int64 {
	if budget <= 0 {
		return 0
	}
	rate := p.perSecond
	if rate == 0 {
		rate = firstGuess
	}
	return max(1, int64(rate*budget.Seconds()))
}

// note takes in what a decision took, weighed so that one slow decision does not bind the next ones.
func (p *pace) note(looks int64, took time.Duration) {
	if looks < measurable || took <= 0 {
		return
	}
	rate := float64(looks) / took.Seconds()
	if p.perSecond == 0 {
		p.perSecond = rate
		return
	}
	p.perSecond += (rate - p.perSecond) / 4
}
