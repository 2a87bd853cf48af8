package scheduler_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// TestRoomThatAnEvictionLeavesOverIsNobodysToBuy: a gang of two leaves for one that needs one. Work
// that found no room before waits for the rest; nothing is bought beside it, and least of all nothing
// for nothing.
func TestRoomThatAnEvictionLeavesOverIsNobodysToBuy(t *testing.T) {
	w := newWorld(t)
	for _, q := range []string{"a", "b", "c"} {
		w.queue(q, "", free, free)
	}
	w.queue("v", "", 0, free).Weight = snapshot.Resources{} // entitled to nothing: all that it has can be reclaimed
	w.nodes(2, 1)
	w.gang("victim", "v", 50, 2, 2, 0, 1)
	w.gang("early", "a", 50, 1, 1).NeverEvicts = true
	w.gang("serve", "b", 50, 1, 1)
	w.gang("late", "c", 50, 1, 1).NeverEvicts = true
	want := []string{"evict all of gang/default/victim (queue v) for gang/default/serve (queue b): victim-0, victim-1"}
	if diff := cmp.Diff(want, w.steps()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := w.reason("late"); got != plan.WaitingForPreemption {
		t.Errorf("late waits for what is left over: got %s", got)
	}
}
