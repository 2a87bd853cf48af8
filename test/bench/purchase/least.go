package purchase

import (
	"cmp"
	"math"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// least is the cheapest set of nodes on which a gang fits, and of equally cheap ones the smallest, by
// trying every number of every group up to one node for each pod. GPU nodes take no head.
func least(w *world, s *snapshot.Snapshot, g *snapshot.Gang) (best Cart) {
	best.Dollars = math.Inf(1)
	classes := w.pods[g.Name]
	pods := append(append([]*corev1.Pod(nil), classes[1]...), classes[0]...) // the hardest first
	var zones []string
	for _, grp := range s.NodeGroups {
		if len(zones) == 0 || zones[len(zones)-1] != grp.Zone {
			zones = append(zones, grp.Zone)
		}
	}
	counts := make([]int, len(s.NodeGroups))
	var try func(k int, dollars float64, nodes int)
	try = func(k int, dollars float64, nodes int) {
		if cmp.Or(cmp.Compare(dollars, best.Dollars), cmp.Compare(nodes, best.Nodes)) >= 0 {
			return
		}
		if k == len(counts) {
			if packs(s, pods, counts) {
				best = Cart{Gangs: 1, Nodes: nodes, Dollars: dollars}
			}
			return
		}
		for n := range len(pods) + 1 {
			counts[k] = n
			try(k+1, dollars+float64(n)*float64(s.NodeGroups[k].Price)/1e6, nodes+n)
		}
		counts[k] = 0
	}
	try(0, 0, 0)
	return best
}

// packs says whether pods fit on so many nodes of each group, with those that ask for GPUs in one zone.
func packs(s *snapshot.Snapshot, pods []*corev1.Pod, counts []int) bool {
	type node struct {
		free snapshot.Resources
		gpus bool
		zone string
	}
	var nodes []node
	for k, n := range counts {
		t := s.NodeGroups[k].Template
		for range n {
			nodes = append(nodes, node{t.Allocatable, t.Allocatable.MilliGPU > 0, s.NodeGroups[k].Zone})
		}
	}
	var place func(k int, zone string) bool
	place = func(k int, zone string) bool {
		if k == len(pods) {
			return true
		}
		need := fit.Requests(pods[k])
		tried := map[node]bool{}
		for i := range nodes {
			n := &nodes[i]
			if tried[*n] || !need.FitsIn(n.free) || n.gpus && need.MilliGPU == 0 || need.MilliGPU > 0 && zone != "" && zone != n.zone {
				continue
			}
			tried[*n] = true
			in := zone
			if need.MilliGPU > 0 {
				in = n.zone
			}
			n.free = n.free.Sub(need)
			ok := place(k+1, in)
			n.free = n.free.Add(need)
			if ok {
				return true
			}
		}
		return false
	}
	return place(0, "")
}
