package fit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/predicate"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/store"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/framework"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// oracle answers with Cluster Autoscaler's own snapshot, built anew for every question.
type oracle struct{ handle *framework.Handle }

// fits says whether the pod passes on the node beside the others, in a cluster of these nodes.
func (o oracle) fits(tb testing.TB, pod *snapshot.Pod, node *snapshot.Node, nodes []*snapshot.Node, placed []snapshot.Placed) bool {
	tb.Helper()
	s := predicate.NewPredicateSnapshot(store.NewBasicSnapshotStore(), o.handle, true)
	for _, n := range nodes {
		info := framework.NewNodeInfo(n.Object, nil)
		for _, p := range n.Pods {
			info.AddPod(framework.NewPodInfo(p.Object, nil))
		}
		if err := s.AddNodeInfo(info); err != nil {
			tb.Fatal(err)
		}
	}
	for _, p := range placed {
		if err := s.ForceAddPod(p.Pod.Object, p.Node.Name); err != nil {
			tb.Fatal(err)
		}
	}
	return s.CheckPredicates(pod.Object, node.Name) == nil
}

// dice makes random pods and nodes from few values, so that classes repeat and constraints meet.
type dice struct{ *rand.Rand }

func (d dice) chance(percent int) bool { return d.IntN(100) < percent }

func (d dice) of(values ...string) string { return values[d.IntN(len(values))] }

func (d dice) effect() corev1.TaintEffect {
	return corev1.TaintEffect(d.of("NoSchedule", "NoExecute", "PreferNoSchedule"))
}

func (d dice) node(name string) *snapshot.Node {
	options := []nodeOption{inZone(d.of("a", "b")), allocatable("cpu", d.of("2", "4")), allocatable("memory", d.of("4Gi", "8Gi"))}
	if d.chance(60) {
		options = append(options, label("disk", d.of("ssd", "hdd")))
	}
	if d.chance(30) {
		options = append(options, label("rank", d.of("1", "2", "3", "x")))
	}
	if d.chance(30) {
		options = append(options, allocatable("nvidia.com/gpu", d.of("0", "2", "4")))
	}
	for d.chance(30) {
		options = append(options, taint(d.of("t", "u"), d.of("", "1"), d.effect()))
	}
	if d.chance(5) {
		options = append(options, func(n *corev1.Node) { n.Spec.Unschedulable = true })
	}
	return newNode(name, options...)
}

func (d dice) ordinaryPod(name string) *snapshot.Pod {
	requests := []string{"cpu", d.of("1", "3", "8"), "memory", d.of("1Gi", "6Gi")}
	if d.chance(30) {
		requests = append(requests, "nvidia.com/gpu", d.of("1", "2", "4"))
	}
	options := []podOption{asks(requests...), labelled("app", d.of("x", "y"))}
	if d.chance(30) {
		options = append(options, selects("disk", d.of("ssd", "hdd")))
	}
	for d.chance(40) {
		options = append(options, tolerates(corev1.Toleration{
			Key: d.of("t", "u"), Operator: corev1.TolerationOperator(d.of("Exists", "Equal", "")), Effect: corev1.TaintEffect(d.of("", "NoSchedule", "NoExecute")),
		}))
	}
	if d.chance(30) {
		var terms []corev1.NodeSelectorTerm
		for range d.IntN(3) {
			terms = append(terms, d.term())
		}
		options = append(options, onNodesWith(terms...))
	}
	return newPod(name, options...)
}

func (d dice) term() corev1.NodeSelectorTerm {
	switch d.IntN(4) {
	case 0:
		return term("rank", corev1.NodeSelectorOpGt, d.of("1", "2"))
	case 1:
		return term("disk", corev1.NodeSelectorOpDoesNotExist)
	case 2:
		return term(zone, corev1.NodeSelectorOpNotIn, d.of("a", "b"))
	}
	return term(zone, corev1.NodeSelectorOpIn, d.of("a", "b"), "c")
}

// alonePod looks at other pods in one way or another; small requests keep room out of the way.
func (d dice) alonePod(name string) *snapshot.Pod {
	options := []podOption{asks("cpu", "100m"), labelled("app", d.of("x", "y"))}
	app, topology := d.of("x", "y"), d.of(hostname, zone)
	switch d.IntN(4) {
	case 0:
		options = append(options, repelling("app", app, topology))
	case 1:
		options = append(options, beside("app", app, topology))
	case 2:
		options = append(options, spread("app", app, topology, corev1.DoNotSchedule))
	case 3:
		options = append(options, hostPort(int32(8000+d.IntN(2))))
	}
	return newPod(name, options...)
}

func TestClassesAnswerLikePredicates(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(1, 2))}
	c := newChecker(t)
	o := oracle{framework.NewTestFrameworkHandleOrDie(t)}
	var nodes []*snapshot.Node
	for i := range 150 {
		nodes = append(nodes, d.node(fmt.Sprintf("n%03d", i)))
	}
	c.Begin(worldOf(nodes...))
	fitting := 0
	for i := range 300 {
		p := d.ordinaryPod(fmt.Sprintf("p%03d", i))
		if p.Alone {
			t.Fatalf("%s is alone", p.Name)
		}
		for range 20 {
			n := nodes[d.IntN(len(nodes))]
			want := o.fits(t, p, n, []*snapshot.Node{n}, nil)
			why := c.Fits(p, n, nil)
			if (why == "") != want {
				t.Errorf("%s on %s: got %q, the predicates say %t", p.Name, n.Name, why, want)
			}
			// The class must carry the text as well: the answer that another pod and node left
			// behind is the one that these two give themselves.
			if own, _ := c.fitsEmpty(p.Object, n.Object); own != why {
				t.Errorf("%s on %s: got %q, asked anew %q", p.Name, n.Name, why, own)
			}
			if want {
				fitting++
			}
		}
	}
	if fitting < 500 || fitting > 5500 {
		t.Errorf("%d of 6000 fit: the sample tells little", fitting)
	}
}

func TestSlowRoadAnswersLikePredicates(t *testing.T) {
	o := oracle{framework.NewTestFrameworkHandleOrDie(t)}
	c := newChecker(t) // one for all worlds: what one leaves behind must not matter to the next
	fitting, questions := 0, 0
	for seed := range uint64(60) {
		d := dice{rand.New(rand.NewPCG(3, seed))}
		var nodes []*snapshot.Node
		for i := range 6 {
			nodes = append(nodes, newNode(fmt.Sprintf("n%d", i), inZone(d.of("a", "b", "c"))))
		}
		for i := range 5 {
			with(nodes[d.IntN(len(nodes))], d.pod(fmt.Sprintf("bound-%d", i)))
		}
		c.Begin(worldOf(nodes[:4]...)) // the other two do not exist yet
		var placed []snapshot.Placed
		for i := range 12 {
			p, n := d.pod(fmt.Sprintf("p%d", i)), nodes[d.IntN(len(nodes))]
			why := c.Fits(p, n, placed)
			want := o.fits(t, p, n, seenBy(nodes, n, placed), placed)
			if questions++; (why == "") != want {
				t.Fatalf("seed %d, %s on %s: got %q, the predicates say %t", seed, p.Name, n.Name, why, want)
			}
			if want {
				fitting++
				placed = append(placed, snapshot.Placed{Pod: p, Node: n})
			}
			if d.chance(10) {
				placed = placed[:d.IntN(len(placed)+1)] // a gang that was given up
			}
		}
	}
	if fitting*4 < questions || fitting*10 > questions*9 {
		t.Errorf("%d of %d fit: the sample tells little", fitting, questions)
	}
}

// Members of a gang are alike, so that what was computed for the first serves the others.
func TestGangAnswersLikePredicates(t *testing.T) {
	o := oracle{framework.NewTestFrameworkHandleOrDie(t)}
	c := newChecker(t)
	for seed := range uint64(60) {
		d := dice{rand.New(rand.NewPCG(7, seed))}
		var nodes []*snapshot.Node
		for i := range 7 {
			nodes = append(nodes, newNode(fmt.Sprintf("n%d", i), inZone(d.of("a", "b", "c", "d"))))
		}
		with(nodes[d.IntN(4)], d.pod("bound"))
		c.Begin(worldOf(nodes[:4]...))
		kinds := []*snapshot.Pod{d.alonePod("first"), d.pod("second")}
		var placed []snapshot.Placed
		for i := range 14 {
			p := *kinds[min(d.IntN(4), 1)]
			p.Object = p.Object.DeepCopy()
			p.Object.Name, p.Object.UID = fmt.Sprint("p", i), types.UID(fmt.Sprint("p", i))
			var fitting []*snapshot.Node
			for _, n := range nodes {
				why, want := c.Fits(&p, n, placed), o.fits(t, &p, n, seenBy(nodes, n, placed), placed)
				if (why == "") != want {
					t.Fatalf("seed %d, %s on %s after %d: got %q, the predicates say %t", seed, p.Name, n.Name, len(placed), why, want)
				}
				if want {
					fitting = append(fitting, n)
				}
			}
			if len(fitting) > 0 {
				placed = append(placed, snapshot.Placed{Pod: &p, Node: fitting[d.IntN(len(fitting))]})
			}
		}
	}
}

func (d dice) pod(name string) *snapshot.Pod {
	if d.chance(30) {
		return newPod(name, asks("cpu", "100m"), labelled("app", d.of("x", "y")))
	}
	return d.alonePod(name)
}

// seenBy are the nodes of the cluster, those that something was placed on, and the one asked about.
func seenBy(nodes []*snapshot.Node, asked *snapshot.Node, placed []snapshot.Placed) []*snapshot.Node {
	seen := append([]*snapshot.Node(nil), nodes[:4]...)
	for _, n := range nodes[4:] {
		used := n == asked
		for _, p := range placed {
			used = used || p.Node == n
		}
		if used {
			seen = append(seen, n)
		}
	}
	return seen
}

func TestTextsNameNoNode(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(5, 6))}
	c := newChecker(t)
	for i := range 200 {
		n := d.node("somewhere-in-particular")
		with(n, d.pod("bound"))
		c.Begin(worldOf(n))
		for _, p := range []*snapshot.Pod{d.ordinaryPod("p"), d.alonePod("q")} {
			why := c.Fits(p, n, nil)
			if strings.Contains(why, n.Name) || strings.Contains(why, "node(s)") || strings.HasPrefix(why, CannotTell) || strings.HasSuffix(why, ".") {
				t.Errorf("world %d: %q", i, why)
			}
		}
	}
}
