package scheduler

import (
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// lending is what is left over of nodes that are on their way to gangs which have their places on them: no
// other gang is bound there before the purchase is over, and none need buy what it will find there.
type lending struct {
	owners []snapshot.GangID        // that have their places, in the order in which they got them
	seated map[snapshot.GangID]bool // the same
	on     bool                     // whoever looks for a place now may be lent one
	gpus   bool                     // also on nodes with GPUs
}

// seat notes that a gang has its places on the nodes that were bought for it, and others may have the rest.
func (r *room) seat(g snapshot.GangID) {
	if !r.lending.seated[g] {
		r.lending.owners = append(r.lending.owners, g)
		r.lending.seated[g] = true
	}
}

// lent says whether a slot may be lent to a gang.
func (r *room) lent(booked, g snapshot.GangID, n *snapshot.Node) bool {
	return r.lending.on && booked != "" && booked != g && (r.lending.gpus || n.Allocatable.MilliGPU == 0) && r.lending.seated[booked]
}

// eachLent calls with the slots that may be lent to a gang for a pod, the best first of each owner's kinds of
// nodes. may says on which shelves the pod may find a place; nil: on all of them.
func (r *room) eachLent(p *snapshot.Pod, g snapshot.GangID, may []bool, try func(*slot) (more bool)) {
	for _, owner := range r.lending.owners {
		for _, sh := range r.shelves[owner] {
			if r.lent(owner, g, sh.example) && p.Request.FitsIn(sh.free) && (may == nil || may[sh.id]) && !r.outside(p, sh.kind.zone) {
				sh.each(p, try)
			}
		}
	}
}

// leftOver says whether so many GPUs, in thousandths, are left over in sum.
func (r *room) leftOver(milliGPU int64) bool {
	for _, owner := range r.lending.owners {
		if milliGPU <= 0 {
			return true
		}
		for _, sh := range r.shelves[owner] {
			milliGPU -= sh.free.MilliGPU
		}
	}
	return milliGPU <= 0 && len(r.lending.owners) > 0
}

// borrow finds places for all pods of a demand on nodes on their way, those of others included. Who asks for
// no GPUs is lent none with them.
func (d *decision) borrow(q *demand) bool {
	if !d.room.leftOver(q.need.MilliGPU) {
		return false
	}
	d.room.lending.on, d.room.lending.gpus = true, q.need.MilliGPU > 0
	defer func() { d.room.lending.on = false }()
	return d.room.tryAll(q.pods, q.gang.ID, coming)
}
