package scheduler_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// tolerance is a Fitter that knows one taint: class "picky" does not run on nodes of class "tainted".
type tolerance struct{}

func (tolerance) Fits(p *snapshot.Pod, n *snapshot.Node, _ []snapshot.Placed) string {
	if p.Class == "picky" && n.Class == "tainted" {
		return "taint team=ml is not tolerated"
	}
	return ""
}

// drawSnapshot makes a small cluster in the middle of its life: nodes inside and outside of groups,
// booting, idle, cordoned; bookings in every state; gangs that run, wait, lack members or grow; a
// tree of queues with limits and quotas. Whatever runs, fits its node.
func drawSnapshot(t *rapid.T) *snapshot.Snapshot {
	g := &drawing{T: t, s: &snapshot.Snapshot{Rev: 1, Now: noon, Bounds: map[string]snapshot.Bounds{}}}
	g.queues()
	g.nodes()
	g.gangs()
	g.bookings()
	slices.SortFunc(g.s.Gangs, func(a, b *snapshot.Gang) int { return cmp.Compare(a.ID, b.ID) })
	return g.s
}

type drawing struct {
	*rapid.T
	s      *snapshot.Snapshot
	leaves []string
}

func (g *drawing) int(label string, from, to int) int {
	return rapid.IntRange(from, to).Draw(g.T, label)
}
func (g *drawing) chance(label string, percent int) bool {
	return g.int(label, 1, 100) <= percent
}

func pick[T any](g *drawing, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(g.T, label)
}

func (g *drawing) queues() {
	parents := map[string]bool{}
	for k := range g.int("queues", 1, 5) {
		q := &snapshot.Queue{Name: fmt.Sprintf("q%d", k), Created: noon.Add(-time.Hour), Priority: pick(g, "queue priority", 100, 100, 200),
			Quota:  snapshot.Ceiling{MilliGPU: pick(g, "quota", free, 0, 1000, 2000, 4000), MilliCPU: free, Memory: free},
			Limit:  snapshot.Ceiling{MilliGPU: pick(g, "gpu limit", free, free, 0, 1000, 2000, 4000), MilliCPU: pick(g, "cpu limit", free, free, 4000, 16000), Memory: free},
			Weight: snapshot.Resources{MilliGPU: 1000, MilliCPU: 1000, Memory: 1000}}
		if k > 0 && g.chance("has parent", 60) {
			q.Parent = fmt.Sprintf("q%d", g.int("parent", 0, k-1))
			parents[q.Parent] = true
		}
		g.s.Queues = append(g.s.Queues, q)
		if g.chance("bounded", 70) {
			b := snapshot.Bounds{MaxNodes: map[string]int{}}
			if g.chance("max gpus", 70) {
				n := int64(g.int("gpus", 0, 6))
				b.MaxGPUs = &n
			}
			if g.chance("max cost", 30) {
				d := snapshot.Dollars(g.int("dollars", 0, 6)) * 1_000_000
				b.MaxHourlyCost = &d
			}
			if g.chance("prefers", 20) {
				b.PreferScaleUp = 5 * time.Minute
			}
			g.s.Bounds[q.Name] = b
		}
	}
	for _, q := range g.s.Queues {
		if !parents[q.Name] {
			g.leaves = append(g.leaves, q.Name)
		}
	}
	if g.chance("cluster bound", 30) {
		g.s.Limits = snapshot.Limits{MaxNodes: g.int("max nodes", 1, 6), MaxHourlyCost: snapshot.Dollars(g.int("max cost", 1, 20)) * 1_000_000}
	}
	if g.chance("consolidates", 30) {
		g.s.Limits.ConsolidateAbove = 400_000
	}
}

func (g *drawing) shape() snapshot.Resources {
	return pick(g, "shape",
		snapshot.Resources{MilliCPU: 4000, Memory: 16 << 30, MilliGPU: 1000},
		snapshot.Resources{MilliCPU: 16000, Memory: 64 << 30, MilliGPU: 4000},
		snapshot.Resources{MilliCPU: 8000, Memory: 32 << 30})
}

func (g *drawing) class() string { return pick(g, "class", "plain", "plain", "tainted") }

func (g *drawing) nodes() {
	for k := range g.int("nodes", 0, 3) {
		g.s.Nodes = append(g.s.Nodes, &snapshot.Node{Name: fmt.Sprintf("n%d", k), Class: g.class(), Usable: g.chance("usable", 90),
			Allocatable: g.shape(), MaxPods: pick(g, "max pods", 3, 110)})
	}
	for k := range g.int("groups", 0, 3) {
		grp := &snapshot.NodeGroup{Name: fmt.Sprintf("g%d", k), Max: g.int("max", 0, 5), Price: snapshot.Dollars(g.int("price", 1, 4)) * 500_000,
			IdleAfter: 5 * time.Minute, ExpectedBootTime: 4 * time.Minute, ProvisionTimeout: 15 * time.Minute}
		grp.Min = g.int("min", 0, min(1, grp.Max))
		shape, class := g.shape(), g.class()
		grp.Template = &snapshot.Node{Name: grp.Name + "-template", Group: grp.Name, Class: class, Allocatable: shape, MaxPods: 10}
		if g.chance("refused", 15) {
			grp.BlockedUntil, grp.BlockedBecause = noon.Add(time.Minute), "the cloud refused"
		}
		for n := range g.int("instances", 0, min(3, grp.Max)) {
			i := snapshot.Instance{ID: fmt.Sprintf("i-%s-%d", grp.Name, n), State: snapshot.InstanceRunning, Launched: noon.Add(-time.Duration(g.int("age", 0, 20)) * time.Minute)}
			if g.chance("has node", 85) {
				i.Node = fmt.Sprintf("%s-%d", grp.Name, n)
				node := &snapshot.Node{Name: i.Node, Group: grp.Name, InstanceID: i.ID, Class: class, Allocatable: shape, MaxPods: 10,
					Usable: g.chance("usable", 80), Cordoned: false}
				if g.chance("less than promised", 15) {
					node.Allocatable.Memory /= 4
				}
				if node.Usable {
					node.IdleSince = noon.Add(-time.Duration(g.int("idle", 0, 10)) * time.Minute)
				}
				g.s.Nodes = append(g.s.Nodes, node)
			} else if g.chance("goes", 20) {
				i.State = snapshot.InstanceTerminating
			}
			grp.Instances = append(grp.Instances, i)
		}
		g.s.NodeGroups = append(g.s.NodeGroups, grp)
	}
	slices.SortFunc(g.s.Nodes, func(a, b *snapshot.Node) int { return strings.Compare(a.Name, b.Name) })
}

func (g *drawing) gangs() {
	for k := range g.int("gangs", 0, 6) {
		name := fmt.Sprintf("w%d", k)
		gang := &snapshot.Gang{ID: snapshot.GangID("ml/RayCluster/" + name + "/" + name), Kind: "RayCluster", Namespace: "ml", Name: name, UID: name,
			Created: noon.Add(-time.Duration(g.int("age", 1, 60)) * time.Minute), Queue: pick(g, "queue", g.leaves...), Priority: pick[int32](g, "priority", 50, 50, 75, 125)}
		gang.NonPreemptible = gang.Priority >= 100
		if g.chance("strays", 5) {
			gang.Queue = pick(g, "stray queue", "", "nowhere", "q0")
		}
		if g.chance("ends", 30) {
			gang.Ends = noon.Add(time.Duration(g.int("ends in", -10, 90)) * time.Minute)
		}
		if g.chance("runs for", 30) {
			gang.Runtime = time.Duration(g.int("minutes", 1, 90)) * time.Minute
		}
		gang.Suspended = g.chance("suspended", 5)
		class := pick(g, "pod class", "picky", "tolerant")
		head := snapshot.Resources{MilliCPU: 1000, Memory: 2 << 30}
		worker := pick(g, "worker", snapshot.Resources{MilliCPU: 1000, Memory: 8 << 30, MilliGPU: 1000}, snapshot.Resources{MilliCPU: 2000, Memory: 4 << 30, MilliGPU: 2000},
			snapshot.Resources{MilliCPU: 2000, Memory: 4 << 30})
		want := g.int("workers", 0, 4)
		least := g.int("least", 0, want)
		gang.Groups = []snapshot.Group{{Name: "head", Min: 1, Want: 1, Request: head}, {Name: "w", Min: least, Want: want, Request: worker}}
		gang.Shape = fmt.Sprintf("%v/%d/%s", worker, least, class)
		gang.Members = append(gang.Members, &snapshot.Pod{Group: "head", Request: head})
		for range want {
			gang.Members = append(gang.Members, &snapshot.Pod{Group: "w", Request: worker})
		}
		if want > 0 && g.chance("headless", 30) {
			gang.Groups, gang.Members = gang.Groups[1:], gang.Members[1:]
			gang.Shape += "/headless"
		}
		if g.chance("lacks a pod", 10) {
			gang.Members = gang.Members[:len(gang.Members)-1]
		}
		for n, p := range gang.Members {
			p.UID, p.Namespace, p.Name, p.Gang, p.Class = fmt.Sprintf("%s-%d", name, n), "ml", fmt.Sprintf("%s-%d", name, n), gang.ID, class
		}
		if g.chance("runs", 40) {
			g.start(gang)
		}
		if g.chance("resized", 50) {
			g.workers(gang, class)
		}
		g.s.Gangs = append(g.s.Gangs, gang)
	}
}

// workers makes a gang a RayCluster whose worker group may change; now and then one that waits without pods.
func (g *drawing) workers(gang *snapshot.Gang, class string) {
	gang.Scaler = pick(g, "scaler", snapshot.ScaledByCapmgr, snapshot.ScaledByCapmgr, snapshot.ScaledByRay)
	gang.Cluster = snapshot.Ref{Kind: "RayCluster", Namespace: "ml", Name: gang.Name, UID: gang.UID}
	if g.chance("may be suspended", 50) {
		gang.Suspendable = gang.Cluster
	}
	gang.Opportunistic = g.chance("opportunistic", 30)
	gang.Starting = g.chance("starting", 20)
	for k := range gang.Groups {
		grp := &gang.Groups[k]
		grp.Template = &snapshot.Pod{Namespace: "ml", Gang: gang.ID, Group: grp.Name, Request: grp.Request, Class: class}
		if grp.Name == "w" {
			most := grp.Want + g.int("more", 0, 3)
			grp.Workers = &snapshot.Workers{Hosts: 1, Replicas: grp.Want, Least: grp.Min, Most: most, Ceiling: most, Wish: g.int("wish", grp.Min, most)}
			if n := grp.Want + g.int("asked", 0, 3); gang.Opportunistic && g.chance("asks", 50) {
				grp.Workers.Asked = &n
				if n > grp.Want+1 {
					grp.Workers.Batches = []int{2}
				}
			}
		}
	}
	if gang.Suspendable.UID != "" && g.chance("held", 20) {
		for _, n := range g.s.Nodes {
			n.Pods = slices.DeleteFunc(n.Pods, func(p *snapshot.Pod) bool { return p.Gang == gang.ID })
		}
		gang.Members, gang.Suspended, gang.Held = nil, true, true
	}
}

// start binds pods of a gang first fit; now and then not all of them.
func (g *drawing) start(gang *snapshot.Gang) {
	guarded := g.chance("guarded", 15)
	for _, p := range gang.Members {
		if g.chance("lost", 10) {
			continue
		}
		for _, n := range g.s.Nodes {
			if !n.Usable || !p.Request.FitsIn(n.Free()) || n.FreePods() <= 0 || (tolerance{}).Fits(p, n, nil) != "" {
				continue
			}
			p.Node, p.Started = n.Name, noon.Add(-time.Duration(g.int("runs for", 0, 30))*time.Minute)
			p.Terminating = g.chance("leaves", 5)
			if guarded {
				p.Guarded = "disruption budget b allows no eviction of it"
			}
			n.Pods, n.IdleSince = append(n.Pods, p), time.Time{}
			break
		}
	}
}

// bookings book instances that nobody uses yet, for gangs that wait or are gone.
func (g *drawing) bookings() {
	taken := map[string]bool{}
	for k, gang := range g.s.Gangs {
		if len(g.s.NodeGroups) == 0 || !g.chance("booked", 40) {
			continue
		}
		grp := pick(g, "of group", g.s.NodeGroups...)
		b := &snapshot.Booking{Gang: gang.ID, Namespace: "ml", Request: fmt.Sprintf("r%d", k), Attempt: 1, Created: noon.Add(-time.Duration(g.int("booked for", 0, 20)) * time.Minute)}
		gang.Attempts = 1
		if g.chance("gone", 10) {
			b.Gang += "-gone"
		}
		part := snapshot.BookedNodes{Group: grp.Name}
		for _, i := range grp.Instances {
			n := g.s.Node(i.Node)
			if !taken[i.ID] && (n == nil || len(n.Pods) == 0) && g.chance("takes", 60) {
				taken[i.ID] = true
				part.Instances = append(part.Instances, i.ID)
			}
		}
		part.Count = len(part.Instances)
		if part.Count == 0 || part.Count+len(grp.Instances) < grp.Max && g.chance("still launching", 30) {
			part.Count++
		}
		b.Nodes = []snapshot.BookedNodes{part}
		g.s.Bookings = append(g.s.Bookings, b)
	}
}
