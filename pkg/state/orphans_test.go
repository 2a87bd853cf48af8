package state_test

import (
	"testing"
	"time"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/state"
)

func TestOrphansAreFound(t *testing.T) {
	cases := map[string]struct {
		reason string
		intent string
		mirror func(*state.Mirror)
		want   string
	}{
		"NoRequest": {"it went with its owner", "default/x", func(*state.Mirror) {}, "default/x"},
		"Open":      {"the answer to the launch was lost; the request finds it by its tag", "default/x", func(m *state.Mirror) { m.AssumeRequest(request("x", "g5-a", 1, noon)) }, ""},
		"Returned": {"all that came of a refused purchase was given back, and this one came after", "default/x", func(m *state.Mirror) {
			m.AssumeRequest(request("x", "g5-a", 1, ago(time.Minute), is(v1alpha1.ConditionFailed, v1alpha1.ReasonPartialFill, noon),
				is(v1alpha1.ConditionReleased, v1alpha1.ReasonNodesReturned, noon)))
		}, "default/x"},
		"NotOurs": {"somebody else's machine in the group is nobody's orphan", "", func(*state.Mirror) {}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			m.SetGroups([]cloud.Group{market("g5-a", "us-east-1a", cloud.Instance{ID: "i-1", Launched: ago(time.Minute), Intent: tc.intent})})
			tc.mirror(m)
			if got := m.Snapshot(noon).NodeGroup("g5-a").Instances[0].Orphan; got != tc.want {
				t.Errorf("%s: orphan of %q, want %q", tc.reason, got, tc.want)
			}
		})
	}
}
