package gcs

import (
	"cmp"
	"encoding/hex"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
)

// Read turns a head's answer into values. Bundles that are already placed, shapes that Ray makes
// for its own bookkeeping, empty gangs and dead nodes are left out.
func Read(reply *autoscalerpb.GetClusterStatusReply) demand.State {
	in := reply.GetClusterResourceState()
	return demand.State{
		Session: in.GetClusterSessionName(),
		Loose:   readLoose(in.GetPendingResourceRequests()),
		Gangs:   readGangs(in.GetPendingGangResourceRequests()),
		Nodes:   readNodes(in.GetNodeStates()),
	}
}

// readLoose merges what is alike once markers are dropped.
func readLoose(in []*autoscalerpb.ResourceRequestByCount) []demand.Loose {
	byName := map[string]demand.Loose{}
	for _, r := range in {
		// Work inside of a placement group waits for the group, which is listed as a gang.
		if r.GetCount() <= 0 || inGroup(r.GetRequest().GetResourcesBundle()) {
			continue
		}
		shape := readRequest(r.GetRequest())
		l := byName[shape.String()]
		byName[shape.String()] = demand.Loose{Shape: shape, Count: l.Count + r.GetCount()}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b demand.Loose) int { return demand.Compare(a.Shape, b.Shape) })
}

func readGangs(in []*autoscalerpb.GangResourceRequest) []demand.Gang {
	var gangs []demand.Gang
	for _, g := range in {
		if gang := readGang(g); len(gang.Bundles) > 0 {
			gangs = append(gangs, gang)
		}
	}
	return gangs
}

// readGang takes the bundles from where newer versions put them, else from where older ones do;
// versions that fill both mean the same bundles. Further selectors are what Ray falls back to when
// the first cannot be had; a wish is made of the first.
func readGang(g *autoscalerpb.GangResourceRequest) demand.Gang {
	requests := g.GetRequests()
	if s := g.GetBundleSelectors(); len(s) > 0 && len(s[0].GetResourceRequests()) > 0 {
		requests = s[0].GetResourceRequests()
	}
	var gang demand.Gang
	for _, r := range requests {
		gang.Bundles = append(gang.Bundles, readRequest(r))
		for _, c := range r.GetPlacementConstraints() {
			label := cmp.Or(c.GetAntiAffinity().GetLabelName(), c.GetAffinity().GetLabelName())
			if id, ok := strings.CutPrefix(label, "_PG_"); ok {
				gang.ID = id
			}
			gang.Spread = gang.Spread || c.GetAntiAffinity() != nil
			gang.Together = gang.Together || c.GetAffinity() != nil
		}
	}
	gang.ID = cmp.Or(gang.ID, groupID.FindString(g.GetDetails()))
	return gang
}

// groupID is a placement group's ID where it stands in text for people.
var groupID = regexp.MustCompile(`\b[0-9a-f]{36}\b`)

func readNodes(in []*autoscalerpb.NodeState) []demand.Node {
	var nodes []demand.Node
	for _, n := range in {
		if n.GetStatus() == autoscalerpb.NodeStatus_DEAD {
			continue
		}
		nodes = append(nodes, demand.Node{
			ID:       hex.EncodeToString(n.GetNodeId()),
			Pod:      n.GetInstanceId(),
			Group:    n.GetRayNodeTypeName(),
			Status:   readStatus(n.GetStatus()),
			IdleFor:  time.Duration(max(0, n.GetIdleDurationMs())) * time.Millisecond,
			Activity: slices.Clone(n.GetNodeActivity()),
			Total:    readBundle(n.GetTotalResources()),
			Free:     readBundle(n.GetAvailableResources()),
		})
	}
	slices.SortFunc(nodes, func(a, b demand.Node) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.ID, b.ID))
	})
	return nodes
}

func readStatus(s autoscalerpb.NodeStatus) demand.Status {
	switch s {
	case autoscalerpb.NodeStatus_RUNNING:
		return demand.Running
	case autoscalerpb.NodeStatus_IDLE:
		return demand.Idle
	case autoscalerpb.NodeStatus_DRAINING:
		return demand.Draining
	}
	return demand.Unknown
}

func readRequest(r *autoscalerpb.ResourceRequest) demand.Shape {
	shape := readBundle(r.GetResourcesBundle())
	// Further selectors are fallbacks here too.
	if s := r.GetLabelSelectors(); len(s) > 0 {
		for _, c := range s[0].GetLabelConstraints() {
			shape.Selector = append(shape.Selector, demand.Selector{
				Key:    c.GetLabelKey(),
				Not:    c.GetOperator() == autoscalerpb.LabelSelectorOperator_LABEL_OPERATOR_NOT_IN,
				Values: slices.Sorted(slices.Values(c.GetLabelValues())), // a set in Ray, in another order each time
			})
		}
	}
	return shape
}

func readBundle(bundle map[string]float64) demand.Shape {
	var shape demand.Shape
	for _, name := range slices.Sorted(maps.Keys(bundle)) {
		amount := min(bundle[name], ceiling)
		model, isModel := strings.CutPrefix(name, demand.AcceleratorPrefix)
		switch {
		case !(amount > 0) || own(name): // not a number is not more than nothing either
		case isModel:
			shape.Accelerator = model
		case name == "CPU":
			shape.MilliCPU = milli(amount)
		case name == "GPU":
			shape.MilliGPU = milli(amount)
		case name == "memory":
			shape.Memory = int64(math.Ceil(amount)) // in bytes, unlike all others
		default:
			shape.Custom = append(shape.Custom, demand.Custom{Name: name, Milli: milli(amount)})
		}
	}
	return shape
}

// milli rounds up: a task that asks for a hair more than a thousandth does not fit one. The hair of
// binary fractions is not meant; Ray itself counts in ten-thousandths.
func milli(amount float64) int64 { return int64(math.Ceil(math.Round(amount*10_000) / 10)) }

// ceiling is more than any node has, and far from where thousandths of it overflow.
const ceiling = 1 << 50

// own says whether Ray keeps a resource for itself: the node's own mark, the object store's bytes,
// and those of placement groups.
func own(name string) bool {
	return strings.HasPrefix(name, "node:") || name == "object_store_memory" || grouped(name)
}

// inGroup says whether a bundle is work that runs inside of a placement group.
func inGroup(bundle map[string]float64) bool {
	for name := range bundle {
		if grouped(name) {
			return true
		}
	}
	return false
}

var groupResource = regexp.MustCompile(`_group_([0-9]+_)?[0-9a-f]{16,}$`)

// grouped recognizes CPU_group_<hex>, CPU_group_<index>_<hex> and bundle_group_*.
func grouped(name string) bool {
	return strings.HasPrefix(name, "bundle_group_") || groupResource.MatchString(name)
}
