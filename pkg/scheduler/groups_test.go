package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// group adds a node group whose nodes have so many GPUs and cost so much per hour.
func (w *world) group(name, zone string, gpus int64, price snapshot.Dollars) *snapshot.NodeGroup {
	g := &snapshot.NodeGroup{Name: name, Provider: "aws", InstanceType: name, Zone: zone, CapacityType: "on-demand",
		Max: 16, Price: price, IdleAfter: 5 * time.Minute, ExpectedBootTime: 4 * time.Minute, ProvisionTimeout: 15 * time.Minute,
		Template: &snapshot.Node{Name: name + "-template", Group: name, Class: name, Zone: zone, MaxPods: 110,
			Allocatable: snapshot.Resources{MilliCPU: 64000, Memory: 1 << 38, MilliGPU: gpus * 1000}}}
	w.s.NodeGroups = append(w.s.NodeGroups, g)
	slices.SortFunc(w.s.NodeGroups, func(a, b *snapshot.NodeGroup) int { return strings.Compare(a.Name, b.Name) })
	return g
}

// idle adds n usable nodes of a group that have been idle for so long.
func (w *world) idle(g *snapshot.NodeGroup, n int, since time.Duration) {
	for range n {
		name := fmt.Sprintf("node-%02d", len(w.s.Nodes))
		g.Instances = append(g.Instances, snapshot.Instance{ID: "i-" + name, Zone: g.Zone, State: snapshot.InstanceRunning,
			Launched: noon.Add(-time.Hour), Node: name})
		node := *g.Template
		node.Name, node.InstanceID, node.Usable, node.IdleSince = name, "i-"+name, true, noon.Add(-since)
		w.s.Nodes = append(w.s.Nodes, &node)
	}
}

// bounds lets a queue buy along a ladder.
func (w *world) bounds(queue string, change func(*snapshot.Bounds), ladder ...string) {
	b := snapshot.Bounds{Ladder: ladder}
	if change != nil {
		change(&b)
	}
	w.s.Bounds[queue] = b
}

// does decides and returns the steps that are not mere records: purchases, binds and releases. The
// parts of names that are hashes are cut.
func (w *world) does() []string {
	var out []string
	for _, s := range scheduler.Decide(w.s, everywhere{}).Steps {
		if s.Kind() != "Book" {
			text := s.String()
			if s.Kind() == "GrowNodeGroup" {
				text = text[:strings.LastIndex(text, "-")]
			}
			out = append(out, text)
		}
	}
	return out
}

func (w *world) decide() *plan.Plan { return scheduler.Decide(w.s, everywhere{}) }

// verdict decides and returns what is said of a gang.
func (w *world) verdict(gang string) plan.Verdict {
	for _, v := range w.decide().Verdicts {
		if v.Gang.Name == gang {
			return *v
		}
	}
	w.t.Fatalf("no verdict on %s", gang)
	return plan.Verdict{}
}
