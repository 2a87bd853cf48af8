package scheduler

import (
	"cmp"
	"slices"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// zoneOf is the zone of a gang's GPU members that run; "" when none does, they are in several, or the
// gang may be anywhere.
func (d *decision) zoneOf(g *snapshot.Gang) (zone string) {
	if g.AnyZone {
		return ""
	}
	for _, p := range g.Members {
		if p.Node == "" || p.Terminating || p.Request.MilliGPU == 0 {
			continue
		}
		n := d.s.Node(p.Node)
		switch {
		case n == nil || n.Zone == "":
		case zone != "" && zone != n.Zone:
			return ""
		default:
			zone = n.Zone
		}
	}
	return zone
}

// placeInZone puts a demand of a gang that prefers one zone on room that is free in one: where its other
// members are, else where it leaves least, so that much room in one place stays for those that need much.
func (d *decision) placeInZone(q *demand) bool {
	if q.gang.AnyZone || q.need.MilliGPU == 0 {
		return false
	}
	defer func() { d.room.zone = "" }()
	for _, zone := range d.room.zonesFor(q, d.zoneOf(q.gang)) {
		d.room.zone = zone
		if d.room.tryAll(q.pods, q.gang.ID, usable) {
			return true
		}
	}
	return false
}

// zonesFor are the zones that have so many GPUs free, the fullest first; only one where the gang is in one
// already; none where all nodes are in one anyway.
func (r *room) zonesFor(q *demand, home string) (zones []string) {
	if len(r.zones) < 2 {
		return nil
	}
	if home != "" {
		return []string{home}
	}
	free := map[string]int64{}
	for _, owner := range owners(q.gang.ID) {
		for _, sh := range r.shelves[owner] {
			if sh.kind.stage == usable {
				free[sh.kind.zone] += sh.free.MilliGPU
			}
		}
	}
	for zone, gpus := range free {
		if zone != "" && gpus >= q.need.MilliGPU {
			zones = append(zones, zone)
		}
	}
	slices.SortFunc(zones, func(a, b string) int { return cmp.Or(cmp.Compare(free[a], free[b]), cmp.Compare(a, b)) })
	return zones
}
