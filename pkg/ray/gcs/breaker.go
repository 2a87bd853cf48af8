package gcs

import "time"

// breaker leaves a head alone that does not answer, longer each time.
type breaker struct {
	failures int
	until    time.Time // closed again from then on, for one try
}

const (
	// tolerated is how many failures in a row are bad luck.
	tolerated = 3
	shortest  = 5 * time.Second
	longest   = time.Minute
)

// open says whether the head is left alone at now.
func (b *breaker) open(now time.Time) bool { return now.Before(b.until) }

// suspect says whether the head failed when it was last asked.
func (b *breaker) suspect() bool { return b.failures > 0 }

// failed notes a failure. One that trying again does not mend is not tried again soon: a new token
// or address begins with a new breaker.
func (b *breaker) failed(now time.Time, lasting bool) {
	b.failures++
	switch over := b.failures - tolerated; {
	case lasting:
		b.until = now.Add(longest)
	case over >= 0:
		b.until = now.Add(min(longest, shortest<<min(over, 10)))
	}
}

// worked forgets all failures.
func (b *breaker) worked() { *b = breaker{} }
