package fit

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

const (
	hostname = corev1.LabelHostname
	zone     = corev1.LabelTopologyZone

	repelled     = "the anti-affinity of another pod keeps this one away"
	repels       = "pod anti-affinity does not allow it beside the pods there"
	notBeside    = "pod affinity does not match"
	spreadRefuse = "topology spread does not allow one more there"
)

// TestFitsAlone asks about one pod on several nodes, in the order of the names, twice.
func TestFitsAlone(t *testing.T) {
	web := labelled("app", "web")
	apart := repelling("app", "web", hostname)
	type world struct {
		pod    *snapshot.Pod
		nodes  []*snapshot.Node
		ask    []*snapshot.Node // nodes when nil
		placed []snapshot.Placed
	}
	cases := map[string]struct {
		reason string
		make   func() world
		want   []string
	}{
		"AntiAffinity": {
			reason: "the node with a web pod is refused",
			make: func() world {
				return world{pod: newPod("p", web, apart), nodes: []*snapshot.Node{with(newNode("a"), newPod("w", web)), newNode("b")}}
			},
			want: []string{repels, ""},
		},
		"AntiAffinityPlaced": {
			reason: "what the decision has placed counts as what runs",
			make: func() world {
				a, b := newNode("a"), newNode("b")
				return world{pod: newPod("p", web, apart), nodes: []*snapshot.Node{a, b}, placed: []snapshot.Placed{{Pod: newPod("q", web, apart), Node: b}}}
			},
			want: []string{"", repels},
		},
		"AntiAffinityZone": {
			reason: "a term reaches as far as its topology",
			make: func() world {
				return world{pod: newPod("p", repelling("app", "web", zone)), nodes: []*snapshot.Node{with(newNode("a"), newPod("w", web)), newNode("b"), newNode("c", inZone("b"))}}
			},
			want: []string{repels, repels, ""},
		},
		"Affinity": {
			reason: "only the zone of the web pod will do",
			make: func() world {
				return world{pod: newPod("p", beside("app", "web", zone)), nodes: []*snapshot.Node{with(newNode("a"), newPod("w", web)), newNode("b"), newNode("c", inZone("b"))}}
			},
			want: []string{"", "", notBeside},
		},
		"AffinityToPlaced": {
			reason: "a gang's first pod opens the zone for the others",
			make: func() world {
				a, b := newNode("a"), newNode("b", inZone("b"))
				return world{pod: newPod("p", beside("app", "web", zone)), nodes: []*snapshot.Node{a, b}, placed: []snapshot.Placed{{Pod: newPod("w", web), Node: b}}}
			},
			want: []string{notBeside, ""},
		},
		"Spread": {
			reason: "zone a has one more already",
			make: func() world {
				return world{
					pod:   newPod("p", web, spread("app", "web", zone, corev1.DoNotSchedule)),
					nodes: []*snapshot.Node{with(newNode("a"), newPod("w", web)), newNode("b", inZone("b"))},
				}
			},
			want: []string{spreadRefuse, ""},
		},
		"SpreadPlaced": {
			reason: "placed pods weigh",
			make: func() world {
				a, b := with(newNode("a"), newPod("w", web)), newNode("b", inZone("b"))
				return world{
					pod: newPod("p", web, spread("app", "web", zone, corev1.DoNotSchedule)), nodes: []*snapshot.Node{a, b},
					placed: []snapshot.Placed{{Pod: newPod("x", web), Node: b}, {Pod: newPod("y", web), Node: b}},
				}
			},
			want: []string{"", spreadRefuse},
		},
		"SpreadLabelMissing": {
			reason: "a node without the label cannot be counted",
			make: func() world {
				return world{
					pod:   newPod("p", web, spread("app", "web", "rack", corev1.DoNotSchedule)),
					nodes: []*snapshot.Node{newNode("a"), newNode("b", label("rack", "1"))},
				}
			},
			want: []string{"a label that topology spread needs is missing", ""},
		},
		"HostPort": {
			reason: "the port is named",
			make: func() world {
				return world{pod: newPod("p", hostPort(9000), hostPort(8080)), nodes: []*snapshot.Node{with(newNode("a"), newPod("w", hostPort(8080))), newNode("b")}}
			},
			want: []string{"port 8080 is taken", ""},
		},
		"HostPortPlaced": {
			reason: "two of a gang cannot hold one port",
			make: func() world {
				a := newNode("a")
				return world{pod: newPod("p", hostPort(8080)), nodes: []*snapshot.Node{a}, placed: []snapshot.Placed{{Pod: newPod("q", hostPort(8080)), Node: a}}}
			},
			want: []string{"port 8080 is taken"},
		},
		"HostPortOfVictim": {
			reason: "a victim that has left holds nothing",
			make: func() world {
				w := newPod("w", hostPort(8080))
				return world{pod: newPod("p", hostPort(8080)), nodes: []*snapshot.Node{with(newNode("a"), w)}, placed: []snapshot.Placed{{Pod: w}}}
			},
			want: []string{""},
		},
		"HostPortMoved": {
			reason: "a pod that was moved holds its port in the new place only",
			make: func() world {
				a, b, w := newNode("a"), newNode("b"), newPod("w", hostPort(8080))
				return world{pod: newPod("p", hostPort(8080)), nodes: []*snapshot.Node{with(a, w), b}, placed: []snapshot.Placed{{Pod: w, Node: b}}}
			},
			want: []string{"", "port 8080 is taken"},
		},
		"Itself": {
			reason: "a bound pod is no obstacle to itself",
			make: func() world {
				p := newPod("p", web, apart, hostPort(8080))
				return world{pod: p, nodes: []*snapshot.Node{with(newNode("a"), p), newNode("b")}}
			},
			want: []string{"", ""},
		},
		"Resources": {
			reason: "an alone pod is asked about beside the other pods",
			make: func() world {
				return world{pod: newPod("p", hostPort(80), asks("cpu", "4", "nvidia.com/gpu", "1")), nodes: []*snapshot.Node{
					with(newNode("a"), newPod("w", asks("cpu", "6", "nvidia.com/gpu", "1"))), newNode("b"),
				}}
			},
			want: []string{"not enough cpu and not enough gpu", ""},
		},
		"EphemeralStorage": {
			reason: "what the caller does not account is counted here",
			make: func() world {
				disk := allocatable("ephemeral-storage", "10Gi")
				return world{pod: newPod("p", asks("ephemeral-storage", "6Gi")), nodes: []*snapshot.Node{
					with(newNode("a", disk), newPod("w", asks("ephemeral-storage", "6Gi"))), newNode("b", disk),
				}}
			},
			want: []string{"not enough ephemeral-storage", ""},
		},
		"OrdinaryRepelled": {
			reason: "a running pod's anti-affinity keeps an ordinary pod away",
			make: func() world {
				return world{pod: newPod("p", labelled("noisy", "yes")), nodes: []*snapshot.Node{with(newNode("a"), newPod("quiet", repelling("noisy", "yes", hostname))), newNode("b")}}
			},
			want: []string{repelled, ""},
		},
		"OrdinaryRepelledByPlaced": {
			reason: "so does that of a pod which the decision has placed",
			make: func() world {
				a, b := newNode("a"), newNode("b")
				return world{pod: newPod("p", labelled("noisy", "yes")), nodes: []*snapshot.Node{a, b}, placed: []snapshot.Placed{{Pod: newPod("quiet", repelling("noisy", "yes", hostname)), Node: b}}}
			},
			want: []string{"", repelled},
		},
		"OrdinaryVictimRepels": {
			reason: "once it has left, it repels nobody",
			make: func() world {
				q := newPod("quiet", repelling("noisy", "yes", hostname))
				return world{pod: newPod("p", labelled("noisy", "yes")), nodes: []*snapshot.Node{with(newNode("a"), q)}, placed: []snapshot.Placed{{Pod: q}}}
			},
			want: []string{""},
		},
		"OrdinaryOtherNamespace": {
			reason: "a term reaches its own namespace only",
			make: func() world {
				return world{pod: newPod("p", labelled("noisy", "yes"), inNamespace("other")), nodes: []*snapshot.Node{with(newNode("a"), newPod("quiet", repelling("noisy", "yes", hostname)))}}
			},
			want: []string{""},
		},
		"OrdinaryAllNamespaces": {
			reason: "an empty namespace selector reaches all",
			make: func() world {
				q := newPod("quiet", repelling("noisy", "yes", hostname), func(p *corev1.Pod) {
					p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].NamespaceSelector = &metav1.LabelSelector{}
				})
				return world{pod: newPod("p", labelled("noisy", "yes"), inNamespace("other")), nodes: []*snapshot.Node{with(newNode("a"), q)}}
			},
			want: []string{repelled},
		},
		"OrdinaryRepelledByResident": {
			reason: "a node that does not exist yet brings its DaemonSet pods",
			make: func() world {
				return world{pod: newPod("p", labelled("noisy", "yes")), ask: []*snapshot.Node{with(newNode("new"), newPod("quiet", repelling("noisy", "yes", hostname)))}}
			},
			want: []string{repelled},
		},
		"Hypothetical": {
			reason: "nodes that do not exist yet are asked about as if they did",
			make: func() world {
				return world{
					pod:   newPod("p", web, apart),
					nodes: []*snapshot.Node{with(newNode("a"), newPod("w", web))},
					ask:   []*snapshot.Node{newNode("new-1"), newNode("new-2", taint("t", "", corev1.TaintEffectNoSchedule))},
				}
			},
			want: []string{"", "taint t:NoSchedule is not tolerated"},
		},
		"HypotheticalPlaced": {
			reason: "pods placed on them count",
			make: func() world {
				n1, n2 := newNode("new-1"), newNode("new-2")
				return world{
					pod: newPod("p", web, apart), ask: []*snapshot.Node{n1, n2},
					placed: []snapshot.Placed{{Pod: newPod("q", web), Node: n1}},
				}
			},
			want: []string{repels, ""},
		},
		"HypotheticalLeavesNoTrace": {
			reason: "a node that was only asked about opens no new zone for the spread of the next question",
			make: func() world {
				a := with(newNode("a"), newPod("w", web))
				return world{
					pod:   newPod("p", web, spread("app", "web", zone, corev1.DoNotSchedule)),
					nodes: []*snapshot.Node{a}, ask: []*snapshot.Node{a, newNode("new", inZone("b")), a},
				}
			},
			want: []string{"", "", ""},
		},
		"SameObjectTwice": {
			reason: "units that have no pods yet may share one object",
			make: func() world {
				a, template := newNode("a"), newPod("", asks("cpu", "3"), hostPort(80))
				template.Object.Spec.Containers[0].Ports = nil
				q, r := *template, *template
				return world{pod: newPod("p", hostPort(80), asks("cpu", "3")), nodes: []*snapshot.Node{a}, placed: []snapshot.Placed{{Pod: &q, Node: a}, {Pod: &r, Node: a}}}
			},
			want: []string{"not enough cpu"},
		},
		"StartingNode": {
			reason: "the object asked about wins over the one in the cluster, with the pods of the cluster",
			make: func() world {
				starting := with(newNode("a", taint("node.kubernetes.io/not-ready", "", corev1.TaintEffectNoSchedule)), newPod("w", hostPort(8080)))
				ready := *starting
				ready.Object = Usable(starting.Object, nil)
				return world{pod: newPod("p", hostPort(8080)), nodes: []*snapshot.Node{starting}, ask: []*snapshot.Node{starting, &ready}}
			},
			want: []string{"taint node.kubernetes.io/not-ready:NoSchedule is not tolerated", "port 8080 is taken"},
		},
		"Hostname": {
			reason: "a pod that wants one node is asked about each, and no node is named",
			make: func() world {
				return world{pod: newPod("p", selects(hostname, "b")), nodes: []*snapshot.Node{newNode("a"), newNode("b")}}
			},
			want: []string{"node selector kubernetes.io/hostname does not match", ""},
		},
		"NodeField": {
			reason: "so is a DaemonSet's",
			make: func() world {
				named := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}}}
				return world{pod: newPod("p", onNodesWith(named)), nodes: []*snapshot.Node{newNode("a"), newNode("b")}}
			},
			want: []string{"only certain nodes are possible", ""},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := tc.make()
			if w.ask == nil {
				w.ask = w.nodes
			}
			c := newChecker(t)
			c.Begin(worldOf(w.nodes...))
			forth := answers(c, w.pod, w.ask, w.placed)
			if got, want := strings.Join(forth, "\n"), strings.Join(tc.want, "\n"); got != want {
				t.Errorf("\n%s\ngot:\n%s\nwant:\n%s", tc.reason, got, want)
			}
			// In another order, after other questions, the answers are the same.
			answers(c, w.pod, w.ask, nil)
			for i, node := range slices.Backward(w.ask) {
				if got := c.Fits(w.pod, node, w.placed); got != tc.want[i] {
					t.Errorf("\n%s\nasked backwards, %s: got %q, want %q", tc.reason, node.Name, got, tc.want[i])
				}
			}
		})
	}
}

func answers(c *Checker, pod *snapshot.Pod, nodes []*snapshot.Node, placed []snapshot.Placed) []string {
	out := make([]string, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, c.Fits(pod, n, placed))
	}
	return out
}

func TestClusterFollowsSnapshots(t *testing.T) {
	c := newChecker(t)
	p, q := newPod("p", hostPort(8080)), newPod("q", hostPort(8080))
	ask := func(step string, s *snapshot.Snapshot, name, want string) {
		t.Helper()
		c.Begin(s)
		n := s.Node(name)
		if n == nil {
			n = newNode(name)
		}
		if got := c.Fits(p, n, nil); got != want {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
	}
	a, b := newNode("a"), newNode("b")
	free := worldOf(a, b)
	aWithQ := *a
	taken := worldOf(with(&aWithQ, q), b)

	ask("free", free, "a", "")
	ask("another pod came", taken, "a", "port 8080 is taken")
	ask("the other node is as it was", taken, "b", "")
	ask("nothing changed", taken, "a", "port 8080 is taken")
	ask("the node is gone, and one of its name could be bought", worldOf(b), "a", "")
	ask("the pod left", free, "a", "")

	b2 := asNode(Template("b", Shape{Allocatable: b.Allocatable, MaxPods: 20, Taints: []corev1.Taint{{Key: "t", Effect: corev1.TaintEffectNoSchedule}}}))
	ask("the node changed", worldOf(a, b2), "b", "taint t:NoSchedule is not tolerated")
	ask("node without an object", worldOf(a, &snapshot.Node{Name: "b"}), "a", "")
}

func TestRepellersFollowSnapshots(t *testing.T) {
	c := newChecker(t)
	p := newPod("p", labelled("noisy", "yes"))
	a := newNode("a")
	quiet := *a
	with(&quiet, newPod("quiet", repelling("noisy", "yes", hostname)))
	for _, step := range []struct {
		node *snapshot.Node
		want string
	}{{a, ""}, {&quiet, repelled}, {a, ""}, {&quiet, repelled}} {
		c.Begin(worldOf(step.node))
		if got := c.Fits(p, step.node, nil); got != step.want {
			t.Errorf("Fits: got %q, want %q", got, step.want)
		}
	}
}

func TestVolumes(t *testing.T) {
	immediate, wait := storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer
	class := func(name string, mode *storagev1.VolumeBindingMode, provisioner string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, VolumeBindingMode: mode, Provisioner: provisioner}
	}
	pvc := func(name, class, volume string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
			Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: &class, VolumeName: volume},
		}
		if volume != "" {
			c.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
			c.Status.Phase = corev1.ClaimBound
		}
		return c
	}
	inA := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "vol-a"},
		Spec: corev1.PersistentVolumeSpec{
			ClaimRef:     &corev1.ObjectReference{Namespace: "ns", Name: "in-a"},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(zone, corev1.NodeSelectorOpIn, "a")}}},
		},
	}
	c := newChecker(t,
		class("now", &immediate, "ebs"), class("later", &wait, "ebs"), inA,
		pvc("in-a", "now", "vol-a"), pvc("unbound", "now", ""), pvc("wait", "later", ""),
	)
	a, b := newNode("a"), newNode("b", inZone("b"))
	c.Begin(worldOf(a, b))
	cases := map[string]struct {
		reason string
		claim  string
		want   []string // on a and b
	}{
		"BoundInZone": {reason: "the volume is in zone a", claim: "in-a", want: []string{"", "a volume cannot be used there"}},
		"Unbound":     {reason: "the claim must be bound first", claim: "unbound", want: []string{"a volume claim is not bound yet", "a volume claim is not bound yet"}},
		"Later":       {reason: "the volume is made where the pod goes", claim: "wait", want: []string{"", ""}},
		"Missing":     {reason: "a missing claim is named", claim: "none", want: []string{`persistentvolumeclaim "none" not found`, `persistentvolumeclaim "none" not found`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := answers(c, newPod("p-"+tc.claim, claim(tc.claim)), []*snapshot.Node{a, b}, nil)
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("\n%s\ngot:  %q\nwant: %q", tc.reason, got, tc.want)
			}
		})
	}
}

func TestErrorsAreNotMisfits(t *testing.T) {
	c := newChecker(t)
	n := newNode("n")
	c.Begin(worldOf(n))
	p := newPod("p", hostPort(80))
	// A placed pod that cannot be modelled leaves the model as it was.
	if got := c.Fits(p, n, []snapshot.Placed{{Pod: &snapshot.Pod{Name: "q"}, Node: n}}); got != "cannot tell: model a placed pod: the pod's object is unknown" {
		t.Errorf("got %q", got)
	}
	if got := c.Fits(p, n, nil); got != "" {
		t.Errorf("after an error: got %q", got)
	}
	// A selector that cannot be parsed is an error of the plugin.
	bad := newPod("bad", func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: zone, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Nonsense"}}},
		}}
	})
	if got := c.Fits(bad, n, nil); !strings.HasPrefix(got, CannotTell) {
		t.Errorf("got %q", got)
	}
}
