package fakeaws

import (
	"context"
	"sort"
	"sync"
	"time"
)

// Clock is the only way this package reads or waits for time, so that a test can drive it.
type Clock interface {
	// Now is the current time.
	Now() time.Time
	// AfterFunc runs f once d has passed, and not at all if the result is called first.
	AfterFunc(d time.Duration, f func()) (stop func())
}

// RealClock is the wall clock.
type RealClock struct{}

// Now implements Clock.
func (RealClock) Now() time.Time { return time.Now() }

// AfterFunc implements Clock.
func (RealClock) AfterFunc(d time.Duration, f func()) func() {
	timer := time.AfterFunc(d, f)
	return func() { timer.Stop() }
}

// ManualClock stands still until Advance is called.
type ManualClock struct {
	mu     sync.Mutex
	now    time.Time
	next   int
	timers map[int]manualTimer
}

type manualTimer struct {
	at  time.Time
	seq int
	f   func()
}

// NewManualClock returns a clock that shows start.
func NewManualClock(start time.Time) *ManualClock {
	return &ManualClock{now: start, timers: map[int]manualTimer{}}
}

// Now implements Clock.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements Clock. Functions run inside Advance, never inside AfterFunc.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	seq := c.next
	c.timers[seq] = manualTimer{at: c.now.Add(d), seq: seq, f: f}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, seq)
	}
}

// Advance moves the clock forward by d and runs what falls due on the way, in order of time, each with
// the clock showing its own moment. It returns when all of it has run.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	c.mu.Unlock()
	for {
		f := c.takeDue(end)
		if f == nil {
			return
		}
		f()
	}
}

func (c *ManualClock) takeDue(end time.Time) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := make([]manualTimer, 0, len(c.timers))
	for _, t := range c.timers {
		if !t.at.After(end) {
			due = append(due, t)
		}
	}
	if len(due) == 0 {
		c.now = end
		return nil
	}
	sort.Slice(due, func(i, j int) bool {
		if due[i].at.Equal(due[j].at) {
			return due[i].seq < due[j].seq
		}
		return due[i].at.Before(due[j].at)
	})
	first := due[0]
	delete(c.timers, first.seq)
	if first.at.After(c.now) {
		c.now = first.at
	}
	return first.f
}

// pause waits for d on the clock, or for the end of ctx.
func pause(ctx context.Context, clock Clock, d time.Duration) error {
	done := make(chan struct{})
	stop := clock.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
