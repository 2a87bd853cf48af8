package scheduler_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIdleNodesThatAGangWillNeed(t *testing.T) {
	cases := map[string]struct {
		reason  string
		blocked time.Duration
		want    []string
	}{
		"SoonTriedAgain": {
			"three minutes without capacity: two of the four nodes are there already and stay; the machine without a GPU helps nobody",
			3 * time.Minute, []string{"terminate i-node-02 (node-02) of other: idle for 5m0s"},
		},
		"NotSoon": {
			"nodes that serve nobody for half an hour go",
			30 * time.Minute, []string{
				"terminate i-node-00 (node-00) of one-a: idle for 5m0s",
				"terminate i-node-01 (node-01) of one-a: idle for 5m0s",
				"terminate i-node-02 (node-02) of other: idle for 5m0s",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("team-a", "", free, free)
			a := w.group("one-a", "a", 1, 1_000_000)
			a.BlockedUntil, a.BlockedBecause = noon.Add(tc.blocked), "the cloud refused: insufficient capacity"
			w.idle(a, 2, time.Hour)
			w.idle(w.group("other", "a", 0, 100_000), 1, time.Hour)
			w.bounds("team-a", nil, "one-a")
			w.gang("train", "team-a", 50, 4, 4)
			if diff := cmp.Diff(tc.want, w.does()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
