package state_test

import (
	"testing"
	"time"

	"github.com/capmgr/capmgr/pkg/state"
)

// TestFlapping: incident flapping, nodes deleted and recreated every three minutes.
func TestFlapping(t *testing.T) {
	cases := map[string]struct {
		reason string
		mirror func(*state.Mirror)
		want   time.Duration
	}{
		"Quiet": {"released, and not missed since", func(m *state.Mirror) { m.NoteReleased("g5-a", ago(time.Minute)) }, 5 * time.Minute},
		"BoughtFirst": {"the purchase was before the release", func(m *state.Mirror) {
			m.AssumeRequest(request("x", "g5-a", 1, ago(30*time.Minute)))
			m.NoteReleased("g5-a", ago(time.Minute))
		}, 5 * time.Minute},
		"Missed": {"bought again three minutes after it was given back", func(m *state.Mirror) {
			m.NoteReleased("g5-a", ago(20*time.Minute))
			m.AssumeRequest(request("x", "g5-a", 1, ago(17*time.Minute)))
		}, 10 * time.Minute},
		"OnceForOneRelease": {"three nodes went together and two gangs came: that is one flap", func(m *state.Mirror) {
			for _, late := range []time.Duration{0, time.Second, 2 * time.Second} {
				m.NoteReleased("g5-a", ago(20*time.Minute-late))
			}
			m.AssumeRequest(request("x", "g5-a", 1, ago(17*time.Minute)))
			m.AssumeRequest(request("y", "g5-a", 1, ago(16*time.Minute)))
		}, 10 * time.Minute},
		"AgainAndAgain": {"each doubles it, up to an hour", func(m *state.Mirror) {
			for k := range 6 {
				at := ago(time.Duration(100-10*k) * time.Minute)
				m.NoteReleased("g5-a", at)
				m.AssumeRequest(request(string(rune('a'+k)), "g5-a", 1, at.Add(3*time.Minute)))
			}
		}, time.Hour},
		"Later": {"new work after a quarter of an hour is new work", func(m *state.Mirror) {
			m.NoteReleased("g5-a", ago(30*time.Minute))
			m.AssumeRequest(request("x", "g5-a", 1, ago(15*time.Minute)))
		}, 5 * time.Minute},
		"AnotherGroup": {"the one has nothing to do with the other", func(m *state.Mirror) {
			m.NoteReleased("g5-b", ago(20*time.Minute))
			m.AssumeRequest(request("x", "g5-a", 1, ago(17*time.Minute)))
		}, 5 * time.Minute},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			tc.mirror(m)
			if g := m.Snapshot(noon).NodeGroup("g5-a"); g.IdleAfter != tc.want {
				t.Errorf("%s: idle for %s after %d flaps, want %s", tc.reason, g.IdleAfter, g.Flaps, tc.want)
			}
		})
	}
}
