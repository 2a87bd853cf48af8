package gcs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/proxy"

	"github.com/capmgr/capmgr/pkg/ray/demand"
)

// Options are how a Poller asks. The zero value of each is its default.
type Options struct {
	Dial    Dialer                            // TCP, through the proxy that ALL_PROXY names, if it names one
	Now     func() time.Time                  // time.Now
	Every   time.Duration                     // between two questions to one head; 3 s
	Timeout time.Duration                     // of one question; 2 s
	Workers int                               // questions under way at once; 8
	Jitter  func(time.Duration) time.Duration // spreads the questions; up to a tenth longer
	Changed func(uid string)                  // called after a new answer or a first failure; must not block
}

// Poller asks the heads in turn and keeps their last good answers. Reading them never waits.
type Poller struct {
	opts Options
	wake chan struct{}

	mu    sync.Mutex
	heads map[string]*head // by UID
	free  int              // workers
	slow  int              // workers that are busy with heads that failed before
	ended bool
}

// head is a cluster with its one connection.
type head struct {
	target  Target
	client  *Client // nil: none is open
	breaker breaker
	due     time.Time
	asking  bool
	answer  Answer
}

// ErrUnknown says that a cluster is not watched.
var ErrUnknown = errors.New("the cluster is not watched")

// ErrLeftAlone says that a head did not answer and is left alone for a while.
var ErrLeftAlone = errors.New("the head does not answer and is left alone for a while")

// NewPoller makes a poller; Start lets it ask.
func NewPoller(o Options) *Poller {
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) { return proxy.Dial(ctx, "tcp", address) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = func(d time.Duration) time.Duration {
			return d + rand.N(max(1, d/10)) //nolint:gosec // spreads load, hides nothing
		}
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	o.Every = cmp.Or(o.Every, 3*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 2*time.Second)
	o.Workers = cmp.Or(o.Workers, 8)
	return &Poller{opts: o, wake: make(chan struct{}, 1), heads: map[string]*head{}, free: o.Workers}
}

// Watch sets which clusters there are. The connections of those that went are closed, answers
// forgotten; a head that is reached otherwise now is asked at once, and its last answer stays.
func (p *Poller) Watch(targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := map[string]bool{}
	for _, t := range targets {
		there[t.UID] = true
		h := p.heads[t.UID]
		switch {
		case h == nil:
			p.heads[t.UID] = &head{target: t}
		case h.target != t:
			p.heads[t.UID] = &head{target: t, answer: h.answer}
			h.hangUp()
		}
	}
	for uid, h := range p.heads {
		if !there[uid] {
			delete(p.heads, uid)
			h.hangUp()
		}
	}
	p.nudge()
}

// Last returns what is known of a cluster. It never waits for a head.
func (p *Poller) Last(uid string) (Answer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.heads[uid]
	if h == nil {
		return Answer{}, false
	}
	return h.answer, true
}

// Drain asks a node of a cluster to drain, over the cluster's connection and in the caller's time.
// A head that is left alone is not asked.
func (p *Poller) Drain(ctx context.Context, uid string, r DrainRequest) (Drained, error) {
	c, err := p.client(uid)
	if err != nil {
		return Drained{}, fmt.Errorf("drain node %s of cluster %s: %w", r.Node, uid, err)
	}
	return c.Drain(ctx, r)
}

func (p *Poller) client(uid string) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.heads[uid]
	switch {
	case h == nil || p.ended:
		return nil, ErrUnknown
	case h.breaker.open(p.opts.Now()):
		return nil, fmt.Errorf("%w: %w", ErrLeftAlone, h.answer.Err)
	}
	return h.dial(p.opts)
}

// Start asks until ctx ends, and returns when no question is under way and no connection is open.
func (p *Poller) Start(ctx context.Context) error {
	var workers sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(p.askDue(ctx, &workers))
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer.C:
		}
	}
	workers.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, h := range p.heads {
		h.hangUp()
	}
	return nil
}

// askDue sends workers to the heads whose turn it is, as many as are free, and says when the next
// turn comes. Heads that failed before get half of the workers at most, so that however many are
// dead, the living are asked in time.
func (p *Poller) askDue(ctx context.Context, workers *sync.WaitGroup) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opts.Now()
	next := p.opts.Every
	for _, h := range p.turns() {
		if wait := h.due.Sub(now); wait > 0 {
			next = min(next, wait)
			break // the others are later
		}
		suspect := h.breaker.suspect()
		if p.free == 0 || suspect && p.slow >= max(1, p.opts.Workers/2) {
			continue // a worker that comes back wakes us
		}
		p.free--
		if suspect {
			p.slow++
		}
		h.asking = true
		c, err := h.dial(p.opts)
		workers.Go(func() {
			var s demand.State
			if err == nil {
				s, err = c.Status(ctx)
			}
			p.note(h, s, err, suspect, ctx.Err() != nil)
		})
	}
	return next
}

// turns are the heads that nobody asks right now, the longest due first.
func (p *Poller) turns() []*head {
	var turns []*head
	for _, h := range p.heads {
		if !h.asking {
			turns = append(turns, h)
		}
	}
	slices.SortFunc(turns, func(a, b *head) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.target.UID, b.target.UID))
	})
	return turns
}

// note keeps an answer or a failure and frees the worker.
func (p *Poller) note(h *head, s demand.State, err error, suspect, ending bool) {
	p.mu.Lock()
	p.free++
	if suspect {
		p.slow--
	}
	h.asking = false
	tell := false
	// Neither the head's fault when we end, nor of interest when it was replaced meanwhile.
	if current := p.heads[h.target.UID] == h; current && !ending {
		now := p.opts.Now()
		tell = h.note(now, s, err)
		h.due = now.Add(p.opts.Jitter(p.opts.Every))
		if h.breaker.open(now) {
			h.due = h.breaker.until
			h.hangUp() // gRPC would dial a dead head again and again
		}
	}
	p.nudge()
	p.mu.Unlock()
	if tell {
		p.opts.Changed(h.target.UID)
	}
}

// note says whether somebody may want to know.
func (h *head) note(now time.Time, s demand.State, err error) bool {
	if err == nil {
		h.breaker.worked()
		h.answer = Answer{State: s, At: now}
		return true
	}
	h.breaker.failed(now, Denied(err) || Unsupported(err))
	h.answer.Err = err
	if !h.answer.Failed.IsZero() {
		return false
	}
	h.answer.Failed = now
	return true
}

// dial returns the head's connection. Nothing is sent before the first call.
func (h *head) dial(o Options) (*Client, error) {
	if h.client == nil {
		c, err := NewClient(h.target, o.Dial, o.Timeout)
		if err != nil {
			return nil, err
		}
		h.client = c
	}
	return h.client, nil
}

func (h *head) hangUp() {
	if h.client != nil {
		_ = h.client.Close() // only says that it was closed before
		h.client = nil
	}
}

// nudge lets Start look again.
func (p *Poller) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
