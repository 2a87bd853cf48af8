package scheduler

import (
	"cmp"
	"slices"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// maxTries bounds the search for one gang: classes of pods times groups is a few dozen in practice.
const maxTries = 512

// choose fills the basket with the groups that give every class of the gang a place, one vector as one
// choice. Along a ladder that is the first that works; without one, the cheapest: what a gang asks for
// is given, so the least money is the least per requested GPU, stranded GPUs and cores included. Among
// equals the fewest nodes win, then the earlier names. It returns false, the first class that found no
// place, and the basket empty, when there is none.
func (b *basket) choose(classes [][]*snapshot.Pod, ladder bool) (stuck int, ok bool) {
	s := &vectors{b: b, classes: classes, ladder: ladder, picks: make([]pick, len(classes))}
	s.from(0, worth{})
	if s.best == nil {
		return s.stuck, false
	}
	for k, class := range classes { // what was tried is done once more, and stays
		b.fill(class, s.best[k])
	}
	return 0, true
}

// pick is how one class found its places: with nodes of a group, or on what is there, coming, or
// opened for the classes before it.
type pick struct {
	offer *scaling.Offer // nil: nothing is opened
	zone  string         // of the gang from here on
}

// worth is what a basket costs.
type worth struct {
	cost  snapshot.Dollars
	nodes int
}

func (w worth) compare(o worth) int {
	return cmp.Or(cmp.Compare(w.cost, o.cost), cmp.Compare(w.nodes, o.nodes))
}

// vectors goes depth first through the groups for each class, and leaves out what cannot be better
// than the best so far.
type vectors struct {
	b       *basket
	classes [][]*snapshot.Pod
	ladder  bool
	picks   []pick
	tries   int
	stuck   int // the furthest class that found no place

	best  []pick
	least worth
}

// from finds places for the classes from k on. It returns true when the search is over.
func (s *vectors) from(k int, so worth) bool {
	if k == len(s.classes) {
		if s.best == nil || so.compare(s.least) < 0 {
			s.best, s.least = slices.Clone(s.picks), so
		}
		return s.ladder
	}
	found := false
	var followed []pick
	for _, c := range s.candidates(k) {
		if s.twin(c.pick, k, followed) {
			continue
		}
		if s.best != nil && (worth{so.cost + c.least.cost, so.nodes + c.least.nodes}).compare(s.least) >= 0 {
			continue
		}
		if s.tries++; s.tries > maxTries {
			return true
		}
		room, zone := s.b.d.room, s.b.zone
		mark, slots := room.mark(), len(room.bought)
		opened, done := s.b.fill(s.classes[k], c.pick)
		if !done {
			continue
		}
		found = true
		s.picks[k], followed = c.pick, append(followed, c.pick)
		next := so
		if c.offer != nil {
			next = worth{so.cost + c.offer.Price*snapshot.Dollars(opened), so.nodes + opened}
		}
		over := s.from(k+1, next)
		room.undo(mark)
		room.close(slots)
		if opened > 0 {
			s.b.d.budget.Return(s.b.queues, c.offer.Group, opened)
			s.b.opened[c.offer.Group.Name] -= opened
		}
		if s.b.zone = zone; over {
			return true
		}
	}
	if !found {
		s.stuck = max(s.stuck, k)
	}
	return false
}

// twin says whether a pick is like one that was followed to its end: for pods without GPUs, which may be
// anywhere, a machine of the same size and price in another zone is no other choice.
func (s *vectors) twin(p pick, k int, followed []pick) bool {
	if p.offer == nil || p.offer.Shape == nil || s.classes[k][0].Request.MilliGPU > 0 {
		return false
	}
	return slices.ContainsFunc(followed, func(o pick) bool {
		return o.offer != nil && o.offer.Price == p.offer.Price && o.offer.Shape.Free() == p.offer.Shape.Free() && o.zone == p.zone
	})
}

// candidate is a pick with the least that it can cost.
type candidate struct {
	pick
	least worth
}

// candidates are the picks for a class in the order to try: what needs no new node, then along the
// ladder, or by the least cost.
func (s *vectors) candidates(k int) []candidate {
	class, gpu := s.classes[k], s.classes[k][0].Request.MilliGPU > 0
	mark := s.b.d.room.mark()
	s.b.d.room.zone = s.b.zone
	fits := s.b.d.room.tryAll(class, s.b.gang.ID, bought)
	s.b.d.room.zone = ""
	s.b.d.room.undo(mark)
	var out []candidate
	if fits {
		out = append(out, candidate{pick: pick{zone: s.b.zone}})
		if !gpu || s.b.gang.AnyZone || s.b.zone != "" {
			return out
		}
	}
	left := map[string]snapshot.Resources{}
	for i := range s.b.offers {
		o := &s.b.offers[i]
		zone := s.b.zoneFor(class, *o)
		c := candidate{pick: pick{offer: o, zone: cmp.Or(zone, s.b.zone)}}
		if gpu && zone != "" && s.b.zone != "" && zone != s.b.zone {
			if s.b.elsewhere == nil && o.Shape != nil && s.b.fits(class[0], *o) {
				s.b.elsewhere = o
			}
			continue
		}
		if o.Shape != nil && !s.ladder {
			if _, known := left[zone]; !known {
				left[zone] = s.b.leftover(class, zone)
			}
			c.least = atLeast(left[zone], *o)
		}
		out = append(out, c)
	}
	if !s.ladder {
		slices.SortStableFunc(out, func(x, y candidate) int { return x.least.compare(y.least) })
	}
	return out
}

// leftover is what of a class finds no place without new nodes, with its GPU pods in a zone.
func (b *basket) leftover(class []*snapshot.Pod, zone string) (sum snapshot.Resources) {
	mark, before := b.d.room.mark(), b.d.room.zone
	b.d.room.zone = zone
	for _, p := range class {
		if !b.d.room.placeOne(p, b.gang.ID, bought) {
			sum = sum.Add(p.Request)
		}
	}
	b.d.room.zone = before
	b.d.room.undo(mark)
	return sum
}

// atLeast is the least that nodes of an offer for so much can cost: by the sums alone.
func atLeast(r snapshot.Resources, o scaling.Offer) worth {
	n := int64(0)
	each := o.Shape.Free()
	for d := range dimensions {
		if want, has := d.of(r), d.of(each); want > 0 && has > 0 {
			n = max(n, (want+has-1)/has)
		}
	}
	return worth{o.Price * snapshot.Dollars(n), int(n)}
}

// fill does what a pick says: it returns how many nodes were opened, and false when the class found
// no place and nothing has changed.
func (b *basket) fill(class []*snapshot.Pod, p pick) (opened int, ok bool) {
	if p.offer == nil {
		b.d.room.zone = b.zone
		defer func() { b.d.room.zone = "" }()
		return 0, b.d.room.tryAll(class, b.gang.ID, bought)
	}
	before := b.opened[p.offer.Group.Name]
	if !b.try(class, *p.offer) {
		return 0, false
	}
	b.zone = p.zone
	return b.opened[p.offer.Group.Name] - before, true
}

// zoneFor is the zone that a class is confined to when nodes of an offer are bought for it; "" when
// it is not: it asks for no GPU, its gang may be anywhere, or the group spans zones.
func (b *basket) zoneFor(class []*snapshot.Pod, o scaling.Offer) string {
	if class[0].Request.MilliGPU == 0 || b.gang.AnyZone {
		return ""
	}
	return o.Group.Zone
}
