package fakeaws

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestManualClock(t *testing.T) {
	clock := NewManualClock(epoch)
	var seen []string
	note := func(name string) { seen = append(seen, name+" at "+clock.Now().Sub(epoch).String()) }
	clock.AfterFunc(3*time.Second, func() { note("third") })
	clock.AfterFunc(time.Second, func() {
		note("first")
		clock.AfterFunc(time.Second, func() { note("second") })
	})
	stop := clock.AfterFunc(time.Second, func() { note("stopped") })
	stop()
	clock.AfterFunc(time.Hour, func() { note("late") })
	clock.Advance(10 * time.Second)
	if diff := cmp.Diff([]string{"first at 1s", "second at 2s", "third at 3s"}, seen); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if got := clock.Now().Sub(epoch); got != 10*time.Second {
		t.Errorf("the clock shows %v", got)
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pause(ctx, NewManualClock(epoch), time.Hour); err == nil {
		t.Error("no error from an ended context")
	}
	if err := pause(t.Context(), RealClock{}, time.Nanosecond); err != nil {
		t.Error(err)
	}
}
