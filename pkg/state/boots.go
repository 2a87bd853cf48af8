package state

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// boot is what has been seen of a node's coming up.
type boot struct {
	over   bool      // it was usable once: what happens later is no boot
	usable time.Time // zero where only the end was seen
}

// usableSince notes when a node that was seen booting is first seen usable. Of a node that was usable
// when this process first saw it, nobody knows.
func (b *builder) usableSince(n *snapshot.Node) time.Time {
	seen, known := b.m.boots[n.Name]
	if n.Usable && !seen.over {
		seen.over = true
		if known {
			seen.usable = b.s.Now
		}
	}
	b.m.boots[n.Name] = seen
	return seen.usable
}

// bootTime is how long the slowest node of one purchase took from launch to usable.
type bootTime struct {
	request types.UID
	at      time.Time // of the purchase
	took    time.Duration
}

// bootsKept is how many boots are the measure of a group: few enough to follow a new image, enough
// for the median to pass over one slow pull.
const bootsKept = 5

// learnBoots reads from CapacityRequests how long the nodes of each group took, and keeps it when
// the requests go.
func (b *builder) learnBoots() {
	for _, r := range b.history {
		for _, st := range r.Status.Nodes {
			if st.BootTime == nil || st.BootTime.Duration <= 0 {
				continue
			}
			known := b.m.learned[st.NodeGroup]
			if slices.ContainsFunc(known, func(t bootTime) bool { return t.request == r.UID }) {
				continue
			}
			known = append(known, bootTime{r.UID, r.CreationTimestamp.Time, st.BootTime.Duration})
			slices.SortFunc(known, func(x, y bootTime) int {
				return cmp.Or(x.at.Compare(y.at), cmp.Compare(x.request, y.request))
			})
			b.m.learned[st.NodeGroup] = known[max(0, len(known)-bootsKept):]
		}
	}
}

// learnedBoot replaces a group's configured boot time by the median of its latest boots; of an even
// number the longer of the two in the middle, because a promise is better kept than broken.
func (b *builder) learnedBoot(g *snapshot.NodeGroup) {
	var took []time.Duration
	for _, t := range b.m.learned[g.Name] {
		took = append(took, t.took)
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	g.ExpectedBootTime, g.BootsLearned = took[len(took)/2], len(took)
}
