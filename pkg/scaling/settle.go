package scaling

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Progress is how far a booking has come.
type Progress struct {
	Promised int
	Usable   int
	Lost     []string  // instances that are gone or going, by ID
	Late     string    // the group whose provision timeout has passed; "" while there is time
	ETA      time.Time // when the last node is expected
	Deadline time.Time // when the last provision timeout ends
}

// Complete says whether every promised node is usable.
func (p Progress) Complete() bool { return p.Usable == p.Promised }

// String is the progress in the words of a verdict: "2 of 4 nodes are usable".
func (p Progress) String() string {
	switch {
	case p.Promised == 1 && p.Complete():
		return "its node is usable"
	case p.Promised == 1:
		return "its node is not usable yet"
	}
	return fmt.Sprintf("%d of %d nodes are usable", p.Usable, p.Promised)
}

// Track reads a booking's progress off the snapshot.
func Track(s *snapshot.Snapshot, b *snapshot.Booking) Progress {
	p := Progress{Promised: b.Total()}
	for _, part := range b.Nodes {
		g := s.NodeGroup(part.Group)
		if g == nil { // taken out of the configuration: its instances are nobody's to wait for
			p.Lost = append(p.Lost, part.Instances...)
			continue
		}
		eta, came := b.Since().Add(g.ExpectedBootTime), p.Usable
		for _, id := range part.Instances {
			i := instance(g, id)
			switch {
			case i == nil && unseen(s, g, b):
			case i == nil || i.Leaves():
				p.Lost = append(p.Lost, id)
			case usable(s, *i):
				p.Usable++
			default:
				eta = later(eta, i.Launched.Add(g.ExpectedBootTime))
			}
		}
		p.ETA = later(p.ETA, eta)
		p.Deadline = later(p.Deadline, b.Since().Add(g.ProvisionTimeout))
		if p.Usable-came < part.Count && p.Late == "" && g.Unknown == "" && s.Now.Sub(b.Since()) > g.ProvisionTimeout {
			p.Late = g.Name
		}
	}
	slices.Sort(p.Lost)
	return p
}

func usable(s *snapshot.Snapshot, i snapshot.Instance) bool {
	if i.Node == "" {
		return false
	}
	n := s.Node(i.Node)
	return n != nil && n.Usable
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
