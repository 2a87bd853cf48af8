package scaling_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestBoots(t *testing.T) {
	cases := map[string]struct {
		reason string
		usable []time.Duration // after the launch; 0: not watched
		want   []plan.Boot
	}{
		"Slowest":     {"a gang waits for the last of its nodes", []time.Duration{3 * time.Minute, 5 * time.Minute}, []plan.Boot{{Group: "g5", Took: 5 * time.Minute}}},
		"HalfWatched": {"the one that was not watched may have been the slowest", []time.Duration{3 * time.Minute, 0}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := &snapshot.NodeGroup{Name: "g5"}
			s := &snapshot.Snapshot{Now: noon, NodeGroups: []*snapshot.NodeGroup{g}}
			b := &snapshot.Booking{Nodes: []snapshot.BookedNodes{{Group: "g5", Count: len(tc.usable)}}}
			for k, after := range tc.usable {
				name := string(rune('a' + k))
				n := &snapshot.Node{Name: name, Group: "g5", InstanceID: "i-" + name, Usable: true}
				if after > 0 {
					n.UsableSince = ago(time.Hour).Add(after)
				}
				s.Nodes = append(s.Nodes, n)
				g.Instances = append(g.Instances, snapshot.Instance{ID: "i-" + name, Node: name, Launched: ago(time.Hour)})
				b.Nodes[0].Instances = append(b.Nodes[0].Instances, "i-"+name)
			}
			if diff := cmp.Diff(tc.want, scaling.Boots(s, b)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
