package scaling_test

import (
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const (
	boot    = 4 * time.Minute
	timeout = 15 * time.Minute
	idle    = 5 * time.Minute
	price   = snapshot.Dollars(1_006_000)
)

// world builds a snapshot in few words.
type world struct{ *snapshot.Snapshot }

func newWorld() world {
	return world{&snapshot.Snapshot{Now: noon, Bounds: map[string]snapshot.Bounds{}}}
}

// group adds a node group of one-GPU nodes.
func (w world) group(name string, least, most int) *snapshot.NodeGroup {
	g := &snapshot.NodeGroup{Name: name, Min: least, Max: most, Price: price, IdleAfter: idle, ExpectedBootTime: boot, ProvisionTimeout: timeout,
		Template: &snapshot.Node{Name: name + "-template", Group: name, MaxPods: 58, Allocatable: oneGPU}}
	w.NodeGroups = append(w.NodeGroups, g)
	return g
}

var oneGPU = snapshot.Resources{MilliCPU: 4000, Memory: 16 << 30, MilliGPU: 1000}

// instance adds a booting instance, launched some time ago.
func (w world) instance(g *snapshot.NodeGroup, age time.Duration) *snapshot.Instance {
	g.Instances = append(g.Instances, snapshot.Instance{ID: fmt.Sprintf("i-%s-%d", g.Name, len(g.Instances)), State: snapshot.InstancePending, Launched: w.Now.Add(-age)})
	return &g.Instances[len(g.Instances)-1]
}

// node adds an instance that became a usable node an hour ago.
func (w world) node(g *snapshot.NodeGroup) *snapshot.Node {
	i := w.instance(g, time.Hour)
	i.State, i.Node = snapshot.InstanceRunning, fmt.Sprintf("%s-%d", g.Name, len(g.Instances)-1)
	n := &snapshot.Node{Name: i.Node, Group: g.Name, InstanceID: i.ID, Usable: true, Allocatable: oneGPU, MaxPods: 58, IdleSince: w.Now.Add(-time.Hour)}
	w.Nodes = append(w.Nodes, n)
	return n
}

// booking books instances of a group for a gang; count may promise more than there are.
func (w world) booking(gang string, g *snapshot.NodeGroup, age time.Duration, count int, instances ...string) *snapshot.Booking {
	b := &snapshot.Booking{Gang: snapshot.GangID(gang), Namespace: "ml", Request: gang + "-1", Created: w.Now.Add(-age),
		Nodes: []snapshot.BookedNodes{{Group: g.Name, Count: count, Instances: instances}}}
	w.Bookings = append(w.Bookings, b)
	return b
}

// gang adds a gang whose pods run on nodes, one GPU each.
func (w world) gang(name, queue string, on ...*snapshot.Node) *snapshot.Gang {
	g := &snapshot.Gang{ID: snapshot.GangID(name), Queue: queue}
	for _, n := range on {
		p := &snapshot.Pod{UID: name + "@" + n.Name, Namespace: "ml", Name: name, Gang: g.ID, Node: n.Name,
			Request: snapshot.Resources{MilliCPU: 2000, Memory: 4 << 30, MilliGPU: 1000}}
		g.Members = append(g.Members, p)
		n.Pods, n.IdleSince = append(n.Pods, p), time.Time{}
	}
	w.Gangs = append(w.Gangs, g)
	return g
}

// chain makes every queue "a/b" a child of "a".
func chain(queue string) []string {
	var out []string
	for queue != "" {
		out = append(out, queue)
		k := len(queue) - 1
		for k >= 0 && queue[k] != '/' {
			k--
		}
		queue = queue[:max(0, k)]
	}
	return out
}

func int64p(v int64) *int64 { return &v }

func dollars(v snapshot.Dollars) *snapshot.Dollars { return &v }

// budget starts a budget from a snapshot alone.
func budget(s *snapshot.Snapshot) *scaling.Budget {
	held := scaling.NewSpending()
	held.Follow(s, nil, chain)
	return scaling.NewBudget(s, chain, held)
}
