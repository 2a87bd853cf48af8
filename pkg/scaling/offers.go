package scaling

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Offer is what a node group could deliver on top of what runs and comes.
type Offer struct {
	Group   *snapshot.NodeGroup
	Shape   *snapshot.Node   // a node of the group as it will be once usable
	More    int              // nodes until the group's maximum
	Price   snapshot.Dollars // per node and hour
	ETA     time.Duration    // launch to usable
	Refused string           // why nothing can be launched now, for people; "" when it can
	Until   time.Time        // when a refusal ends by itself; zero when it does not
}

// Offers lists one offer per configured node group, by name. A group that the cloud refused
// lately, or whose shape is not known, is listed with the reason.
func Offers(s *snapshot.Snapshot) []Offer {
	offers := make([]Offer, 0, len(s.NodeGroups))
	for _, g := range s.NodeGroups {
		o := Offer{Group: g, Shape: shape(s, g), Price: g.Price, ETA: g.ExpectedBootTime}
		o.More = max(0, g.Max-members(s, g))
		switch {
		case g.Unknown != "":
			o.Refused = g.Unknown
		case o.Shape == nil:
			o.Refused = "its shape is not known yet"
		case s.Now.Before(g.BlockedUntil):
			o.Refused, o.Until = g.BlockedBecause, g.BlockedUntil
		}
		offers = append(offers, o)
	}
	return offers
}

// shape prefers a real node of the group over the provider's promise: what a machine offers in
// fact is often less than what its type says.
func shape(s *snapshot.Snapshot, g *snapshot.NodeGroup) *snapshot.Node {
	for _, n := range s.Nodes {
		if n.Group == g.Name && n.Usable && !n.Draining { // a new node will not have the taint of one that goes
			learned := *n
			learned.Name, learned.InstanceID, learned.Pods, learned.IdleSince = "", "", nil, time.Time{}
			if len(n.Rejects) > 0 { // a new node may run what the kubelet of this one would not
				learned.Class, learned.Rejects = "", nil
			}
			for _, p := range n.Pods {
				if p.Resident { // a new node will have the same daemons
					learned.Pods = append(learned.Pods, p)
				}
			}
			return &learned
		}
	}
	return g.Template
}

// members counts the group's instances: those there, and those promised by open bookings; what the
// cloud is told to keep where that is more, because somebody else grows the group and those will come.
func members(s *snapshot.Snapshot, g *snapshot.NodeGroup) int {
	n := 0
	for _, i := range g.Instances {
		if i.State != snapshot.InstanceTerminating {
			n++
		}
	}
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			if part.Group == g.Name {
				n += unlisted(s, g, b, part)
			}
		}
	}
	return max(n, g.Desired)
}

// unlisted counts the nodes that a booking promises of a group and that the cloud does not list: not
// launched yet, or launched a moment ago.
func unlisted(s *snapshot.Snapshot, g *snapshot.NodeGroup, b *snapshot.Booking, part snapshot.BookedNodes) int {
	n := part.Count
	for _, id := range part.Instances {
		if instance(g, id) != nil || !unseen(s, g, b) {
			n--
		}
	}
	return max(0, n)
}

// unseen says whether an instance of a booking may exist although the cloud does not list it: the
// group cannot be read, or the listing lags behind the launch's own answer. Where another autoscaler
// makes the nodes, an instance is a node that was seen: not listed, it is gone.
func unseen(s *snapshot.Snapshot, g *snapshot.NodeGroup, b *snapshot.Booking) bool {
	return g.Unknown != "" || !g.Delegated && s.Now.Sub(b.Since()) < unseenGrace
}

// unseenGrace is how long an instance that the cloud's launch call returned may be missing from
// its listing before it counts as lost. EC2 describes are eventually consistent within seconds.
const unseenGrace = 2 * time.Minute

func instance(g *snapshot.NodeGroup, id string) *snapshot.Instance {
	for k := range g.Instances {
		if g.Instances[k].ID == id {
			return &g.Instances[k]
		}
	}
	return nil
}

// Coming lists the nodes that are on their way, as they will be once usable: instances that boot,
// then promised ones without an instance yet. Each has the group's shape and a name of its own.
func Coming(s *snapshot.Snapshot) []Arrival {
	var arrivals []Arrival
	for _, g := range s.NodeGroups {
		template := shape(s, g)
		if template == nil {
			continue
		}
		arrive := func(name, instance string, at time.Time, owner snapshot.GangID) {
			node := *template
			node.Name, node.InstanceID = name, instance
			arrivals = append(arrivals, Arrival{Node: &node, At: at, Booked: owner})
		}
		for _, i := range g.Instances {
			if boots(s, g, i) {
				arrive(nameOf(i), i.ID, i.Launched.Add(g.ExpectedBootTime), bookedFor(s, i.ID))
			}
		}
		for _, b := range s.Bookings {
			for _, part := range b.Nodes {
				if part.Group != g.Name {
					continue
				}
				for k := range unlisted(s, g, b, part) {
					arrive(fmt.Sprintf("%s/%s/%d", b.Request, g.Name, k), "", b.Since().Add(g.ExpectedBootTime), b.Owner())
				}
			}
		}
	}
	return arrivals
}

// Arrival is a node on its way.
type Arrival struct {
	Node   *snapshot.Node
	At     time.Time       // when it is expected to be usable
	Booked snapshot.GangID // for whom it was bought; "" for anyone
}

// boots says whether an instance will become usable without anyone's doing: it is not on its way
// out, its node was not cordoned, and it is younger than the group's provision timeout.
func boots(s *snapshot.Snapshot, g *snapshot.NodeGroup, i snapshot.Instance) bool {
	if i.Leaves() || overdue(s, g, i) {
		return false
	}
	if i.Node == "" {
		return true
	}
	n := s.Node(i.Node)
	return n != nil && !n.Usable && !n.Draining && !n.Cordoned
}

// overdue says whether an instance had more time to become usable than its group allows.
func overdue(s *snapshot.Snapshot, g *snapshot.NodeGroup, i snapshot.Instance) bool {
	return !i.Launched.IsZero() && s.Now.Sub(i.Launched) > g.ProvisionTimeout
}

func nameOf(i snapshot.Instance) string {
	if i.Node != "" {
		return i.Node
	}
	return i.ID
}

// bookedFor returns the gang that an instance was bought for, or "".
func bookedFor(s *snapshot.Snapshot, instance string) snapshot.GangID {
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			if slices.Contains(part.Instances, instance) {
				return b.Owner()
			}
		}
	}
	return ""
}

// inBooking says whether a purchase under way, for a gang or to keep capacity warm, has an instance.
func inBooking(s *snapshot.Snapshot, instance string) bool {
	return slices.ContainsFunc(s.Bookings, func(b *snapshot.Booking) bool {
		return slices.ContainsFunc(b.Nodes, func(part snapshot.BookedNodes) bool { return slices.Contains(part.Instances, instance) })
	})
}

// Owners maps instance IDs to the gang that they were bought for.
func Owners(s *snapshot.Snapshot) map[string]snapshot.GangID {
	owners := map[string]snapshot.GangID{}
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			for _, id := range part.Instances {
				owners[id] = b.Owner()
			}
		}
	}
	return owners
}
