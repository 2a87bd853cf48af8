package localcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// startLimit bounds the wait for one process to become ready: long enough for
// a busy two-core machine, short enough that a hang is told as one.
const startLimit = 2 * time.Minute

// children are the processes of one cluster in the order they were started.
type children struct {
	dir      string
	detached bool

	mu       sync.Mutex
	launcher *launcher
	list     []*Process
	stopped  bool
}

func newChildren(dir string, detached bool) *children {
	return &children{dir: dir, detached: detached, launcher: newLauncher()}
}

// start starts a process. One of the same name that has ended gives up its
// place in the order, so that a restarted API server still ends before etcd
// and after those who use it.
func (c *children) start(spec ProcessSpec) (*Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, fmt.Errorf("start %s: the cluster is stopped", spec.Name)
	}
	at := c.index(spec.Name)
	if at >= 0 && running(c.list[at]) {
		return nil, fmt.Errorf("start %s: it runs already", spec.Name)
	}
	p, err := newProcess(spec, c.dir, c.detached)
	if err != nil {
		return nil, err
	}
	if err := p.launch(c.launcher); err != nil {
		return nil, err
	}
	if at >= 0 {
		c.list[at] = p
	} else {
		c.list = append(c.list, p)
	}
	return p, c.record()
}

// record notes the running processes for StopDetached.
func (c *children) record() error {
	if !c.detached {
		return nil
	}
	return writePids(c.dir, slices.DeleteFunc(slices.Clone(c.list), func(p *Process) bool { return !running(p) }))
}

func (c *children) index(name string) int {
	return slices.IndexFunc(c.list, func(p *Process) bool { return p.Name == name })
}

func (c *children) named(name string) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.index(name); at >= 0 {
		return c.list[at]
	}
	return nil
}

// stopAll ends all processes and then the thread they were started from.
func (c *children) stopAll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	var errs []error
	for _, p := range slices.Backward(c.list) {
		// Not a context of the caller's: one that has ended must not turn an
		// orderly stop into kills.
		errs = append(errs, p.Stop(context.Background()))
	}
	c.launcher.close()
	return errors.Join(append(errs, c.record())...)
}

func running(p *Process) bool {
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// await asks ready until it returns nil. A needed process that ends fails it at
// once: nothing that is asked after that can succeed.
func await(ctx context.Context, what string, ready func(context.Context) error, needed ...*Process) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		for _, p := range needed {
			if !running(p) {
				return fmt.Errorf("wait for %s: %w", what, p.died())
			}
		}
		answer := ask(ctx, ready)
		if answer == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; the last answer was: %w", what, ctx.Err(), answer)
		case <-again.C:
		}
	}
}

// ask bounds one question, so that an unanswered one does not hide a death.
func ask(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return ready(ctx)
}
