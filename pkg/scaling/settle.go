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
}

// Complete says whether every promised node is usable.
func (p Progress) Complete() bool { return p.Usable == p.Promised }

// String is the progress in the words of a verdict: "2 of 4 nodes are usable".
func (p Progress) String() string {
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
		eta := b.Created.Add(g.ExpectedBootTime)
		for _, id := range part.Instances {
			k := slices.IndexFunc(g.Instances, func(i snapshot.Instance) bool { return i.ID == id })
			switch {
			case k < 0 && s.Now.Sub(b.Created) < unseenGrace:
				// Launched a moment ago; the cloud's listing may lag behind its own answer.
			case k < 0 || g.Instances[k].State == snapshot.InstanceTerminating:
				p.Lost = append(p.Lost, id)
			case usable(s, g.Instances[k]):
				p.Usable++
			default:
				eta = later(eta, g.Instances[k].Launched.Add(g.ExpectedBootTime))
			}
		}
		p.ETA = later(p.ETA, eta)
		if p.Usable < p.Promised && p.Late == "" && s.Now.Sub(b.Created) > g.ProvisionTimeout {
			p.Late = g.Name
		}
	}
	slices.Sort(p.Lost)
	return p
}

// unseenGrace is how long an instance that the cloud's launch call returned may be missing from
// its listing before it counts as lost. EC2 describes are eventually consistent within seconds.
const unseenGrace = 2 * time.Minute

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
