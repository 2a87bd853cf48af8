package state_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/state"
)

// slowCloud answers when it is told to, with what there was when it was asked.
type slowCloud struct {
	cloud.Provider
	mu     sync.Mutex
	there  int // instances
	asked  int
	answer chan struct{}
}

func (c *slowCloud) Observe(_ context.Context, _ []cloud.GroupConfig) ([]cloud.Group, error) {
	c.mu.Lock()
	c.asked++
	g := g5()
	for range c.there {
		g.Instances = append(g.Instances, instance("i-"+string(rune('a'+len(g.Instances))), ""))
	}
	c.mu.Unlock()
	<-c.answer
	return []cloud.Group{g}, nil
}

// TestAnOlderReadNeverOverwritesANewerOne: a read that is slow to come back shows an instance that was
// terminated meanwhile. Whoever asked after the termination sees it gone, and one read serves all of them.
func TestAnOlderReadNeverOverwritesANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slowCloud{there: 1, answer: make(chan struct{})}
		m := state.New(config())
		o := &state.Observer{Mirror: m, Groups: config().NodeGroups, Providers: map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: c}}
		var asking sync.WaitGroup
		observe := func() {
			asking.Go(func() {
				if err := o.Observe(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		observe()
		synctest.Wait() // the first has asked, and waits for its answer
		c.mu.Lock()
		c.there = 0
		c.mu.Unlock()
		for range 3 {
			observe()
		}
		synctest.Wait()
		close(c.answer)
		asking.Wait()
		if n := len(m.Snapshot(morning).NodeGroups[0].Instances); n != 0 {
			t.Errorf("%d instances are left of those that an older read saw", n)
		}
		if c.asked != 2 {
			t.Errorf("the cloud was asked %d times, and twice is enough", c.asked)
		}
	})
}
