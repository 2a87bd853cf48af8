package scheduler

import (
	"cmp"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// shelf holds slots that no ordinary pod can tell apart but by what is free on them, in the order of
// better, so that the best place is found without looking at the others.
type shelf struct {
	id      int
	kind    kind
	example *snapshot.Node     // one of its nodes
	tiers   []*tier            // by free GPUs
	free    snapshot.Resources // on all of them
}

// kind is what the slots of a shelf have in common.
type kind struct {
	class, zone string
	name        string // of the node, where its class is not known
	allocatable snapshot.Resources
	stage       stage
	booked      snapshot.GangID
}

// tier holds the slots of a shelf with the same amount of free GPUs, by free CPU, arrival and name.
type tier struct {
	milliGPU int64
	slots    []*slot
}

func kindOf(sl *slot) kind {
	k := kind{class: sl.node.Class, zone: sl.node.Zone, allocatable: sl.node.Allocatable, stage: sl.stage, booked: sl.booked}
	if k.class == "" {
		k.name = sl.node.Name
	}
	return k
}

func compareSlots(a, b *slot) int {
	return cmp.Or(cmp.Compare(a.free.MilliCPU, b.free.MilliCPU), a.at.Compare(b.at), cmp.Compare(a.node.Name, b.node.Name))
}

func (s *shelf) tier(milliGPU int64) (int, bool) {
	return slices.BinarySearchFunc(s.tiers, milliGPU, func(t *tier, v int64) int { return cmp.Compare(t.milliGPU, v) })
}

// put files a slot under what is free on it now.
func (s *shelf) put(sl *slot) {
	k, there := s.tier(sl.free.MilliGPU)
	if !there {
		s.tiers = slices.Insert(s.tiers, k, &tier{milliGPU: sl.free.MilliGPU})
	}
	t := s.tiers[k]
	at, _ := slices.BinarySearchFunc(t.slots, sl, compareSlots)
	t.slots = slices.Insert(t.slots, at, sl)
	s.free = s.free.Add(sl.free)
}

// take removes a slot that was put in and has not changed since.
func (s *shelf) take(sl *slot) {
	k, there := s.tier(sl.free.MilliGPU)
	if !there {
		return
	}
	t := s.tiers[k]
	if at, there := slices.BinarySearchFunc(t.slots, sl, compareSlots); there {
		t.slots = slices.Delete(t.slots, at, at+1)
		s.free = s.free.Sub(sl.free)
	}
}

// each calls with the slots that have room for a pod now, the best first, until told to stop.
func (s *shelf) each(p *snapshot.Pod, try func(*slot) (more bool)) {
	k := 0
	if p.Request.MilliGPU > 0 {
		k, _ = s.tier(p.Request.MilliGPU)
	}
	for _, t := range s.tiers[k:] {
		at := 0
		if least := p.Request.MilliCPU; least > 0 {
			at, _ = slices.BinarySearchFunc(t.slots, least, func(sl *slot, v int64) int { return cmp.Compare(sl.free.MilliCPU, v) })
		}
		for _, sl := range t.slots[at:] {
			if sl.pods > 0 && p.Request.FitsIn(sl.free) && !try(sl) {
				return
			}
		}
	}
}
