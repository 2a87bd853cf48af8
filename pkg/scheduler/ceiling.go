package scheduler

import (
	"fmt"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ceilings says of the worker groups that Ray's own autoscaler resizes how far it may: as many replicas as
// have a place, and as many more as would find one. Nothing is held for those, nor bought, before it asks.
func (d *decision) ceilings() (out []scaling.Grant) {
	var byGang map[snapshot.GangID]*work
	for _, m := range d.world.musters {
		g := m.gang
		if g.Scaler != snapshot.ScaledByRay || !m.whole() || len(m.running) == 0 || d.s.Now.Before(g.ContendedUntil) {
			continue
		}
		if byGang == nil {
			byGang = make(map[snapshot.GangID]*work, len(d.works))
			for _, w := range d.works {
				byGang[w.gang.ID] = w
			}
		}
		w := byGang[g.ID]
		if w == nil {
			w = &work{muster: m}
		}
		if !w.servedOut() {
			continue
		}
		for k := range g.Groups {
			if grp := &g.Groups[k]; grp.Workers != nil {
				out = append(out, d.ceiling(w, grp))
			}
		}
	}
	return out
}

func (d *decision) ceiling(w *work, grp *snapshot.Group) scaling.Grant {
	grant := scaling.Grant{Gang: w.gang.ID, Group: grp.Name, Replicas: d.staying(w, grp) + w.replicas[grp.Name], Because: "there is room for it"}
	p := d.newProbe(w, grp)
	defer p.undo()
	for ; grant.Replicas < grp.Workers.Ceiling && p.found < mostHired; grant.Replicas++ {
		if why := p.another(); why.Reason != "" {
			grant.Because = fmt.Sprintf("%s: %s", why.Reason, why.Message)
			break
		}
	}
	return grant
}

// probe looks for places of replicas that nobody has asked for yet, and leaves everything as it was.
type probe struct {
	d           *decision
	work        *work
	grp         *snapshot.Group
	basket      *basket
	mark, slots int
	found       int
}

func (d *decision) newProbe(w *work, grp *snapshot.Group) *probe {
	d.room.guest = d.guestOf(w.muster)
	bounds := d.boundsOf(w.gang.Queue)
	return &probe{d: d, work: w, grp: grp, mark: d.room.mark(), slots: len(d.room.bought),
		basket: &basket{d: d, gang: w.gang, queues: d.ledger.chain(w.gang.Queue), offers: d.rungs(bounds), opened: map[string]int{}, zone: d.zoneOf(w.gang)}}
}

// another finds places for one more replica, on what is there, coming, or could be bought. It returns the
// zero verdict, or what stands in the way.
func (p *probe) another() plan.Verdict {
	d, g := p.d, p.work.gang
	pods := born(p.grp, p.grp.Workers.Hosts)
	q := &demand{work: p.work, pods: pods, need: sumOf(pods), elastic: true, said: &plan.Verdict{}}
	if b := d.ledger.within(g, q.need.Times(int64(p.found)+1)); b != nil {
		q.say(b)
		return *q.said
	}
	why, pod := d.room.placeAll(pods, g.ID, usable)
	if why == nil || d.room.tryAll(pods, g.ID, coming) || len(d.offers) > 0 && p.buy(q, q.failure(why, pod)) {
		p.found++
		return plan.Verdict{}
	}
	if q.said.Reason == "" {
		q.say(&blocked{plan.NoNodeFits, why.text(), ""})
	}
	return *q.said
}

// buy says whether nodes could be bought for a replica, or why not.
func (p *probe) buy(q *demand, f *failure) bool {
	b, bounds := p.basket, p.d.boundsOf(q.gang.Queue)
	b.demand, b.denied, b.elsewhere, b.refused = q, nil, nil, nil
	classes := byClass(q.pods)
	stuck, ok := b.choose(classes, bounds != nil && len(bounds.Ladder) > 0)
	if !ok {
		b.refuse(classes[stuck], f)
	}
	return ok
}

func (p *probe) undo() {
	p.d.room.undo(p.mark)
	p.d.room.close(p.slots)
	for _, o := range p.d.offers {
		if n := p.basket.opened[o.Group.Name]; n > 0 {
			p.d.budget.Return(p.basket.queues, o.Group, n)
		}
	}
}
