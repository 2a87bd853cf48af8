package scaling_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestOffersSayWhatCouldBeDelivered(t *testing.T) {
	type offer struct {
		More    int
		Refused string
		Until   time.Time
		Shape   string // node that the shape is of
	}
	cases := map[string]struct {
		reason string
		world  func(world)
		want   offer
	}{
		"Empty": {"all of it, in the promised shape", func(w world) { w.group("g5", 0, 4) }, offer{More: 4, Shape: "g5-template"}},
		"Members": {"less what runs, comes and is promised", func(w world) {
			g := w.group("g5", 0, 4)
			w.instance(g, 0)
			w.booking("x", g, 0, 2)
		}, offer{More: 1, Shape: "g5-template"}},
		"Learned": {"a usable node tells more truly than a promise what the next will be", func(w world) {
			g := w.group("g5", 0, 4)
			w.node(g).Allocatable.Memory = 1
		}, offer{More: 3, Shape: "learned"}},
		"NotLearnedYet": {"a node that is not usable yet may still lack its GPUs", func(w world) {
			g := w.group("g5", 0, 4)
			w.node(g).Usable = false
		}, offer{More: 3, Shape: "g5-template"}},
		"Refused": {"the cloud's refusal, until it is forgotten", func(w world) {
			g := w.group("g5", 0, 4)
			g.BlockedUntil, g.BlockedBecause = noon.Add(time.Minute), "the cloud refused"
		}, offer{More: 4, Refused: "the cloud refused", Until: noon.Add(time.Minute), Shape: "g5-template"}},
		"RefusalOver": {"at the end of its time a refusal is over", func(w world) {
			g := w.group("g5", 0, 4)
			g.BlockedUntil, g.BlockedBecause = noon, "the cloud refused"
		}, offer{More: 4, Shape: "g5-template"}},
		"Unknown": {"nothing is bought of a group that cannot be read", func(w world) {
			w.group("g5", 0, 4).Unknown = "access denied"
		}, offer{More: 4, Refused: "access denied", Shape: "g5-template"}},
		"Shapeless": {"nor of one whose nodes nobody knows", func(w world) {
			w.group("g5", 0, 4).Template = nil
		}, offer{More: 4, Refused: "its shape is not known yet"}},
		"OverFull": {"a group above its maximum offers nothing, not less", func(w world) {
			g := w.group("g5", 0, 1)
			w.instance(g, 0)
			w.instance(g, 0)
		}, offer{Shape: "g5-template"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.world(w)
			o := scaling.Offers(w.Snapshot)[0]
			got := offer{More: o.More, Refused: o.Refused, Until: o.Until}
			if o.Shape != nil {
				got.Shape = o.Shape.Name
				if o.Shape.Name == "" {
					got.Shape = "learned"
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestLearnedShapeKeepsTheDaemonsAndForgetsTheRest(t *testing.T) {
	w := newWorld()
	n := w.node(w.group("g5", 0, 4))
	daemon := &snapshot.Pod{UID: "d", Resident: true, Request: snapshot.Resources{MilliCPU: 500}}
	w.gang("x", "a", n)
	n.Pods = append(n.Pods, daemon)
	shape := scaling.Offers(w.Snapshot)[0].Shape
	want := oneGPU.Sub(daemon.Request)
	if diff := cmp.Diff(want, shape.Free()); diff != "" {
		t.Errorf("a new node has the same daemons and no work (-want +got):\n%s", diff)
	}
	if shape.InstanceID != "" || len(n.Pods) != 2 {
		t.Errorf("the shape is no copy: %+v, the node has %d pods", shape, len(n.Pods))
	}
}

func TestWhatOneKubeletRejectsANewNodeMayRun(t *testing.T) {
	w := newWorld()
	g := w.group("g5", 0, 4)
	n := w.node(g)
	n.Class, n.Rejects = "c without p", []snapshot.Rejection{{Class: "p"}}
	if o := scaling.Offers(w.Snapshot)[0]; o.Shape.Rejected("p") != nil || o.Shape.Class == n.Class {
		t.Errorf("a new node would be of class %q and reject %v", o.Shape.Class, o.Shape.Rejects)
	}
}

// TestANodeThatIsGivenBackIsNoPattern: the taint that closes it would keep every pod away from a node that
// is bought in its place.
func TestANodeThatIsGivenBackIsNoPattern(t *testing.T) {
	w := newWorld()
	w.node(w.group("g5", 0, 4)).Draining = true
	if shape := scaling.Offers(w.Snapshot)[0].Shape; shape != w.NodeGroups[0].Template {
		t.Errorf("the shape is learned from a node that goes: %+v", shape)
	}
}

func TestComingAreTheNodesThatNobodyHasToAskForAgain(t *testing.T) {
	type arrival struct {
		Name, Instance string
		At             time.Time
		Booked         snapshot.GangID
	}
	cases := map[string]struct {
		reason string
		world  func(world)
		want   []arrival
	}{
		"Boots": {"an instance without a node", func(w world) {
			w.instance(w.group("g5", 0, 4), time.Minute)
		}, []arrival{{"i-g5-0", "i-g5-0", noon.Add(3 * time.Minute), ""}}},
		"Registered": {"a node that is not usable yet goes by its name", func(w world) {
			w.node(w.group("g5", 0, 4)).Usable = false
			w.NodeGroups[0].Instances[0].Launched = noon.Add(-time.Minute)
		}, []arrival{{"g5-0", "i-g5-0", noon.Add(3 * time.Minute), ""}}},
		"Usable": {"a usable node is there, not coming", func(w world) { w.node(w.group("g5", 0, 4)) }, nil},
		"Cordoned": {"somebody does not want it", func(w world) {
			n := w.node(w.group("g5", 0, 4))
			n.Usable, n.Cordoned = false, true
			w.NodeGroups[0].Instances[0].Launched = noon
		}, nil},
		"Overdue": {"what did not come in time is not waited for", func(w world) {
			w.instance(w.group("g5", 0, 4), timeout+time.Second)
		}, nil},
		"Terminating": {"what goes does not come", func(w world) {
			w.instance(w.group("g5", 0, 4), 0).State = snapshot.InstanceTerminating
		}, nil},
		"Promised": {"a booking that has no instances yet", func(w world) {
			w.booking("x", w.group("g5", 0, 4), time.Minute, 2)
		}, []arrival{{"x-1/g5/0", "", noon.Add(3 * time.Minute), "x"}, {"x-1/g5/1", "", noon.Add(3 * time.Minute), "x"}}},
		"Booked": {"a booked instance is its gang's, and counted once", func(w world) {
			g := w.group("g5", 0, 4)
			w.booking("x", g, time.Minute, 2, w.instance(g, time.Minute).ID)
		}, []arrival{{"i-g5-0", "i-g5-0", noon.Add(3 * time.Minute), "x"}, {"x-1/g5/0", "", noon.Add(3 * time.Minute), "x"}}},
		"NotListedYet": {"launched a moment ago, and the listing lags behind", func(w world) {
			w.booking("x", w.group("g5", 0, 4), time.Minute, 1, "i-new")
		}, []arrival{{"x-1/g5/0", "", noon.Add(3 * time.Minute), "x"}}},
		"Gone": {"not listed for long is gone", func(w world) {
			w.booking("x", w.group("g5", 0, 4), 3*time.Minute, 1, "i-old")
		}, nil},
		"NoShape": {"of a group whose shape is unknown nothing can be expected", func(w world) {
			g := w.group("g5", 0, 4)
			g.Template = nil
			w.instance(g, 0)
		}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			c.world(w)
			var got []arrival
			for _, a := range scaling.Coming(w.Snapshot) {
				got = append(got, arrival{a.Node.Name, a.Node.InstanceID, a.At, a.Booked})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestOwnersAreByInstance(t *testing.T) {
	w := newWorld()
	g := w.group("g5", 0, 4)
	w.booking("x", g, 0, 3, "i-1", "i-2")
	w.booking("y", g, 0, 1, "i-3")
	want := map[string]snapshot.GangID{"i-1": "x", "i-2": "x", "i-3": "y"}
	if diff := cmp.Diff(want, scaling.Owners(w.Snapshot)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
