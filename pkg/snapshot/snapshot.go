// Package snapshot is the world as values: what a decision may look at, and nothing else.
//
// A Snapshot is immutable once built. It holds no client, no clock and no function; everything in
// it is in a fixed order, so that the same world is the same bytes. Objects of the Kubernetes API
// hang off Pod and Node for the fit check only: accounting and ordering use the integer fields.
package snapshot

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is one consistent view of cluster, queues, gangs and node groups.
type Snapshot struct {
	Rev uint64    // grows with every change that the mirror saw
	Now time.Time // the only clock of a decision

	Nodes      []*Node      // by name
	Gangs      []*Gang      // by ID
	Queues     []*Queue     // by name
	NodeGroups []*NodeGroup // by name
	Bookings   []*Booking   // by gang, then request name

	Grown []Growth // nodes bought within the last GrowthWindow, oldest first

	Home         string           // namespace of purchases that are for no workload
	WarmAttempts map[string]int32 // purchases made so far to keep capacity warm, by UID of what keeps it

	Looks  int64    // bounds the work of one decision, see plan.Plan.Looks; 0: it works until it is done
	Passed []GangID // those that the last decisions tried, where they did not get through with all: the others come first

	Limits        Limits
	DefaultBounds *Bounds           // for queues without bounds of their own or of an ancestor; nil: buy nothing
	Bounds        map[string]Bounds // by queue name, only where configured
}

// Limits are the cluster-wide bounds. Zero means unlimited.
type Limits struct {
	MaxNodes      int     // nodes of configured groups, running plus coming
	MaxHourlyCost Dollars // of configured groups, running plus coming

	// ConsolidateAbove is the hourly price from which on a node is emptied to be given back, where what it has
	// may be moved; zero: none is.
	ConsolidateAbove Dollars

	MaxVictims int // pods that one decision evicts; the room of a single gang is never cut in half by it

	MaxNewNodesPerHour *int // bought within any GrowthWindow, whatever became of them; nil: unlimited
}

// Bounds are what a queue may have bought for it, running plus coming. They limit buying only:
// room that is idle anyway may be used beyond them.
type Bounds struct {
	MinGPUs       int64          // devices kept warm for the queue and all below it
	MaxGPUs       *int64         // devices; nil: unlimited
	MaxHourlyCost *Dollars       // nil: unlimited
	MaxNodes      map[string]int // per node group; absent: unlimited
	PreferScaleUp time.Duration  // how long preemptible work waits for nodes before it evicts
	Ladder        []string       // node groups in the order to try; empty: the cheapest that fits
}

// Node finds a node by name, or nil.
func (s *Snapshot) Node(name string) *Node {
	return find(s.Nodes, name, func(n *Node) string { return n.Name })
}

// Gang finds a gang by ID, or nil.
func (s *Snapshot) Gang(id GangID) *Gang {
	return find(s.Gangs, id, func(g *Gang) GangID { return g.ID })
}

// Queue finds a queue by name, or nil.
func (s *Snapshot) Queue(name string) *Queue {
	return find(s.Queues, name, func(q *Queue) string { return q.Name })
}

// NodeGroup finds a node group by name, or nil.
func (s *Snapshot) NodeGroup(name string) *NodeGroup {
	return find(s.NodeGroups, name, func(g *NodeGroup) string { return g.Name })
}

// find looks in a list that is sorted by name.
func find[T any, N cmp.Ordered](list []*T, name N, nameOf func(*T) N) *T {
	at, there := slices.BinarySearchFunc(list, name, func(v *T, name N) int { return cmp.Compare(nameOf(v), name) })
	if !there {
		return nil
	}
	return list[at]
}
