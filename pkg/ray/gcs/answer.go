package gcs

import (
	"time"

	"github.com/capmgr/capmgr/pkg/ray/demand"
)

// FreshWithin is how old an answer may be to take workers away by: a few questions may have been lost.
const FreshWithin = 15 * time.Second

// Answer is what is known of a cluster: the last good answer, and what went wrong since.
type Answer struct {
	State  demand.State
	At     time.Time // when it was given; zero: never
	Err    error     // of the last question; nil when it was answered
	Failed time.Time // since when questions fail; zero when they do not
}

// Age is how old the answer is. An answer that was never given has no age: ask Known first.
func (a Answer) Age(now time.Time) time.Duration { return now.Sub(a.At) }

// Known says whether the head ever answered.
func (a Answer) Known() bool { return !a.At.IsZero() }

// Fresh says whether the answer is young enough to take workers away by. Giving workers needs less:
// at worst they idle.
func (a Answer) Fresh(now time.Time, within time.Duration) bool {
	return a.Known() && a.Age(now) <= within
}
