package scheduler_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// picky is a Fitter for which some classes of pods and nodes do not go together, and pods that are
// alone keep off the nodes on which the decision put another of their class.
type picky struct{}

func (f picky) Fits(p *snapshot.Pod, n *snapshot.Node, placed []snapshot.Placed) string {
	if why := f.FitsClass(p, n); why != "" {
		return why
	}
	for _, o := range placed {
		if p.Alone && o.Pod.Class == p.Class && o.Node != nil && o.Node.Name == n.Name {
			return "has another of its kind"
		}
	}
	return ""
}

// FitsClass refuses one pair of classes.
func (picky) FitsClass(p *snapshot.Pod, n *snapshot.Node) string {
	if p.Class == "b" && n.Class == "x" {
		return "does not take its class"
	}
	return ""
}

// randomWorld is a small cluster of everything that a decision deals with.
func randomWorld(r *rand.Rand) *snapshot.Snapshot {
	s := &snapshot.Snapshot{Rev: 1, Now: noon, Bounds: map[string]snapshot.Bounds{}}
	unlimited := snapshot.Ceiling{MilliGPU: free, MilliCPU: free, Memory: free}
	var leaves []string
	for d := range 1 + r.IntN(3) {
		dept := fmt.Sprintf("d%d", d)
		s.Queues = append(s.Queues, &snapshot.Queue{Name: dept, Quota: snapshot.Ceiling{MilliGPU: int64(r.IntN(16)) * 1000, MilliCPU: free, Memory: free},
			Limit: unlimited, Weight: snapshot.Resources{MilliGPU: 1000, MilliCPU: 1000, Memory: 1000}, Priority: 100})
		for l := range 1 + r.IntN(3) {
			q := &snapshot.Queue{Name: fmt.Sprintf("%s-%d", dept, l), Parent: dept, Priority: 100 - r.IntN(2), Limit: unlimited,
				Quota: snapshot.Ceiling{MilliGPU: int64(r.IntN(8)) * 1000, MilliCPU: free, Memory: free}, Weight: snapshot.Resources{MilliGPU: 1000, MilliCPU: 1000, Memory: 1000}}
			if r.IntN(4) == 0 {
				q.Limit.MilliGPU = int64(r.IntN(12)) * 1000
			}
			if r.IntN(4) == 0 {
				q.ReclaimMinRuntime = new(time.Duration)
				*q.ReclaimMinRuntime = time.Duration(r.IntN(4)) * time.Hour
			}
			if r.IntN(2) == 0 {
				s.Bounds[q.Name] = snapshot.Bounds{PreferScaleUp: time.Duration(r.IntN(3)) * 3 * time.Minute}
			}
			s.Queues = append(s.Queues, q)
			leaves = append(leaves, q.Name)
		}
	}
	slices.SortFunc(s.Queues, func(a, b *snapshot.Queue) int { return cmp.Compare(a.Name, b.Name) })
	shape := func(class string) snapshot.Node {
		gpus := int64(r.IntN(5))
		return snapshot.Node{Class: class, Usable: true, Allocatable: snapshot.Resources{MilliGPU: gpus * 1000, MilliCPU: 16000, Memory: 64 << 30}, MaxPods: 6}
	}
	kinds := []snapshot.Node{shape("x"), shape("y"), shape("")}
	for i := range 1 + r.IntN(10) {
		n := kinds[r.IntN(3)]
		n.Name = fmt.Sprintf("n%02d", i)
		s.Nodes = append(s.Nodes, &n)
	}
	if r.IntN(2) == 0 {
		t := kinds[r.IntN(2)]
		t.Name = "template"
		g := &snapshot.NodeGroup{Name: "g", Max: r.IntN(6), Price: 1e6, ExpectedBootTime: 4 * time.Minute, ProvisionTimeout: 15 * time.Minute, Template: &t}
		for i := range r.IntN(3) {
			g.Instances = append(g.Instances, snapshot.Instance{ID: fmt.Sprint("i", i), State: snapshot.InstancePending, Launched: noon.Add(-time.Minute)})
		}
		g.Max = max(g.Max, len(g.Instances))
		s.NodeGroups = append(s.NodeGroups, g)
	}
	for i := range 1 + r.IntN(24) {
		s.Gangs = append(s.Gangs, randomGang(r, s, i, leaves[r.IntN(len(leaves))]))
	}
	slices.SortFunc(s.Gangs, func(a, b *snapshot.Gang) int { return cmp.Compare(a.ID, b.ID) })
	if g := s.Gangs[0]; len(s.NodeGroups) > 0 && len(s.NodeGroups[0].Instances) > 0 {
		s.Bookings = append(s.Bookings, &snapshot.Booking{Gang: g.ID, Request: "r", Created: noon.Add(-time.Minute),
			Nodes: []snapshot.BookedNodes{{Group: "g", Count: 1, Instances: []string{"i0"}}}})
	}
	return s
}

func randomGang(r *rand.Rand, s *snapshot.Snapshot, i int, queue string) *snapshot.Gang {
	name := fmt.Sprintf("g%02d", i)
	gpus := int64(r.IntN(3))
	request := snapshot.Resources{MilliGPU: gpus * 1000, MilliCPU: int64(1+r.IntN(6)) * 1000, Memory: int64(r.IntN(4)) * 8 << 30}
	class := []string{"a", "b", ""}[r.IntN(3)]
	least := 1 + r.IntN(4)
	g := &snapshot.Gang{ID: snapshot.GangID("ns/Job/" + name + "/" + name), Kind: "Job", Namespace: "ns", Name: name, UID: name, Queue: queue,
		Created: noon.Add(-time.Duration(i) * time.Hour), Priority: int32(50 + 50*r.IntN(2)),
		Shape: fmt.Sprint(class, request, least), Groups: []snapshot.Group{{Name: "w", Min: least, Want: least, Request: request}}}
	g.NonPreemptible = g.Priority >= 100 && r.IntN(2) == 0
	if r.IntN(3) == 0 {
		g.Ends = noon.Add(time.Duration(r.IntN(90)) * time.Minute)
	}
	if r.IntN(3) == 0 {
		g.Runtime = time.Duration(1+r.IntN(90)) * time.Minute
	}
	alone := r.IntN(4) == 0
	runs, guard := r.IntN(2) == 0, ""
	if r.IntN(4) == 0 {
		guard = "disruption budget b allows no eviction of it"
	}
	for k := range least + r.IntN(3) {
		p := &snapshot.Pod{UID: fmt.Sprintf("%s-%d", name, k), Namespace: "ns", Name: fmt.Sprintf("%s-%d", name, k), Gang: g.ID, Group: "w",
			Request: request, Class: class, Alone: alone, Created: g.Created}
		if runs && r.IntN(8) > 0 {
			if n := s.Nodes[r.IntN(len(s.Nodes))]; request.FitsIn(n.Free()) && n.FreePods() > 0 {
				p.Guarded = guard
				p.Node, p.Started = n.Name, noon.Add(-time.Duration(r.IntN(5))*time.Hour)
				p.Terminating = r.IntN(10) == 0
				n.Pods = append(n.Pods, p)
				slices.SortFunc(n.Pods, func(a, b *snapshot.Pod) int { return strings.Compare(a.UID, b.UID) })
			}
		}
		g.Members = append(g.Members, p)
	}
	return g
}
