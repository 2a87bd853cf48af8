package loop

import (
	"testing"
	"time"
)

func TestPaceFollowsWhatDecisionsTake(t *testing.T) {
	var p pace
	if got := p.looks(0); got != 0 {
		t.Errorf("no budget is no bound: got %d", got)
	}
	if got := p.looks(time.Second); got != firstGuess {
		t.Errorf("before the first decision it guesses: got %d", got)
	}
	p.note(measurable-1, time.Hour)
	if got := p.looks(time.Second); got != firstGuess {
		t.Errorf("a small decision tells nothing: got %d", got)
	}
	p.note(2_000_000, 500*time.Millisecond)
	if got := p.looks(time.Second); got != 4_000_000 {
		t.Errorf("four million a second were measured: got %d", got)
	}
	for range 50 {
		p.note(1_000_000, time.Second)
	}
	if got := p.looks(500 * time.Millisecond); got < 490_000 || got > 510_000 {
		t.Errorf("the machine is slower now: half a second is half a million, not %d", got)
	}
}
