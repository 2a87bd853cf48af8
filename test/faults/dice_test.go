package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// fault is what goes wrong with one call.
type fault int

const (
	none        fault = iota
	before            // it fails and nothing happened
	after             // it happened and the answer is lost
	conflict          // somebody else was faster
	crashBefore       // the manager dies on the way
	crashAfter        // the manager dies with the answer on its way
)

// dice decides what happens to calls. What a call meets follows from the seed, the call and how
// often it was made, not from what other goroutines do meanwhile.
type dice struct {
	seed uint64

	mu    sync.Mutex
	count map[string]uint64
	calm  bool // the faults are over, or there are none

	// For a crash at one certain call that changes something, counted from 1 over all lives; 0: none.
	effects, crashAt int
	crash            fault
}

func (d *dice) roll(key string) *rand.Rand {
	d.mu.Lock()
	d.count[key]++
	n := d.count[key]
	d.mu.Unlock()
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d/%s/%d", d.seed, key, n)
	return rand.New(rand.NewPCG(d.seed, h.Sum64())) //nolint:gosec // reproducible, not secret
}

// atEffect counts a call that changes something, and says whether the manager is to die there.
func (d *dice) atEffect() fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.effects++; d.effects == d.crashAt {
		return d.crash
	}
	return none
}

func (d *dice) isCalm() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calm
}

func (d *dice) endFaults() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calm = true
}

// life is one process of the manager. A dead one has no effects any more.
type life struct {
	w      *world
	ctx    context.Context //nolint:containedctx // of one life of the manager, which this is
	cancel context.CancelFunc
}

var errDead = errors.New("the manager died here")

// call lets one call of the manager take its time, meet its fault, and have its effect. lost is the
// error of a call that failed on the way, refused that of a conflict.
func (l *life) call(ctx context.Context, key string, writes bool, lost, refused error, effect func() error) error {
	r := l.w.dice.roll(key)
	took := time.Duration(5+r.IntN(40))*time.Millisecond + time.Duration(r.IntN(1e6))
	what := none
	if p := r.IntN(1000); !l.w.dice.isCalm() {
		switch {
		case p < 25:
			what = before
		case p < 50 && writes:
			what = after
		case p < 65 && writes && refused != nil:
			what = conflict
		case p < 68:
			what = crashBefore
		case p < 73:
			what = crashAfter
		case p < 85:
			took += time.Duration(r.IntN(4000)) * time.Millisecond
		}
	}
	if err := rest(ctx, took); err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return errDead
	}
	if writes {
		what = max(what, l.w.dice.atEffect())
	}
	if what != none {
		l.w.tell("%s: fault %d", key, what)
	}
	switch what {
	case before:
		return lost
	case conflict:
		return refused
	case crashBefore:
		l.cancel()
		return errDead
	}
	err := effect()
	switch what {
	case after:
		return lost
	case crashAfter:
		l.cancel()
		return errDead
	}
	return err
}

// rest lets virtual time pass.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return ctx.Err()
}
