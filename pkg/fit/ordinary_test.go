package fit

import (
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestFitsOrdinary(t *testing.T) {
	gpuTaint := taint("nvidia.com/gpu", "present", corev1.TaintEffectNoSchedule)
	cases := map[string]struct {
		reason string
		pod    *snapshot.Pod
		node   *snapshot.Node
		want   string
	}{
		"Fits": {
			reason: "nothing forbids it",
			pod:    newPod("p"), node: newNode("n"),
		},
		"FullNode": {
			reason: "room beside other pods is the caller's account, so an ordinary pod is asked about on the empty node",
			pod:    newPod("p", asks("cpu", "8")), node: with(newNode("n"), newPod("other", asks("cpu", "8"))),
		},
		"Taint": {
			reason: "the taint is named with its value and effect",
			pod:    newPod("p"), node: newNode("n", gpuTaint),
			want: "taint nvidia.com/gpu=present:NoSchedule is not tolerated",
		},
		"TwoTaints": {
			reason: "the first by text is named, whatever the node's own order",
			pod:    newPod("p"), node: newNode("n", taint("b", "", corev1.TaintEffectNoExecute), taint("a", "1", corev1.TaintEffectNoSchedule)),
			want: "taint a=1:NoSchedule is not tolerated",
		},
		"OneOfTwoTaintsTolerated": {
			reason: "only what is not tolerated is named",
			pod:    newPod("p", tolerates(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists})),
			node:   newNode("n", taint("b", "", corev1.TaintEffectNoExecute), taint("a", "1", corev1.TaintEffectNoSchedule)),
			want:   "taint b:NoExecute is not tolerated",
		},
		"Tolerated": {
			reason: "a toleration lets the pod in",
			pod:    newPod("p", tolerates(corev1.Toleration{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists})),
			node:   newNode("n", gpuTaint),
		},
		"PreferNoSchedule": {
			reason: "a preference refuses nothing",
			pod:    newPod("p"), node: newNode("n", taint("a", "1", corev1.TaintEffectPreferNoSchedule)),
		},
		"Selector": {
			reason: "the entry that fails is named",
			pod:    newPod("p", selects("disk", "ssd"), selects("arch", "arm")), node: newNode("n", label("arch", "arm")),
			want: "node selector disk=ssd does not match",
		},
		"Affinity": {
			reason: "required node affinity",
			pod:    newPod("p", onNodesWith(term("zone", corev1.NodeSelectorOpIn, "x"), term("zone", corev1.NodeSelectorOpIn, "y"))),
			node:   newNode("n", label("zone", "z")),
			want:   "node affinity does not match",
		},
		"Cordoned": {
			reason: "a cordon is said as such",
			pod:    newPod("p"), node: newNode("n", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
			want: "the node is cordoned",
		},
		"NeverEnoughGPUs": {
			reason: "what an empty node cannot hold is named with its dimension",
			pod:    newPod("p", asks("cpu", "1", "nvidia.com/gpu", "4")), node: newNode("n"),
			want: "not enough gpu, even on an empty node",
		},
		"NeverEnoughOfTwo": {
			reason: "dimensions come in a fixed order",
			pod:    newPod("p", asks("memory", "100Gi", "cpu", "9")), node: newNode("n"),
			want: "not enough cpu and not enough memory, even on an empty node",
		},
		"NoPods": {
			reason: "a node that takes no pods",
			pod:    newPod("p"), node: newNode("n", allocatable("pods", "0")),
			want: "too many pods, even on an empty node",
		},
		"BoundElsewhere": {
			reason: "the question is where the pod could run, not where it does",
			pod:    newPod("p", func(p *corev1.Pod) { p.Spec.NodeName = "elsewhere" }), node: newNode("n"),
		},
		"ResourceClaims": {
			reason: "claims are not modelled, and silence would call every node fitting",
			pod:    newPod("p", func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }), node: newNode("n"),
			want: "dynamic resource claims are not supported",
		},
		"NoPodObject": {
			reason: "a missing object is no misfit",
			pod:    &snapshot.Pod{Name: "p"}, node: newNode("n"),
			want: "cannot tell: the pod's object is unknown",
		},
		"NoNodeObject": {
			reason: "a missing object is no misfit",
			pod:    newPod("p"), node: &snapshot.Node{Name: "n"},
			want: "cannot tell: the node's object is unknown",
		},
	}
	c := newChecker(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c.Begin(worldOf(tc.node))
			for range 2 { // the second answer comes from the cache
				if got := c.Fits(tc.pod, tc.node, nil); got != tc.want {
					t.Errorf("\n%s\nFits: got %q, want %q", tc.reason, got, tc.want)
				}
			}
		})
	}
}

func TestAnswersAreSharedByClass(t *testing.T) {
	c := newChecker(t)
	n1, n2 := newNode("n1"), newNode("n2")
	c.Begin(worldOf(n1, n2))
	for _, p := range []*snapshot.Pod{newPod("a"), newPod("b", labelled("x", "y"))} {
		for _, n := range []*snapshot.Node{n1, n2} {
			if why := c.Fits(p, n, nil); why != "" {
				t.Errorf("Fits(%s, %s): %s", p.Name, n.Name, why)
			}
		}
	}
	if len(c.answers) != 1 {
		t.Errorf("one pair of classes was asked about, %d answers are kept", len(c.answers))
	}
}

func TestAnswersAreBounded(t *testing.T) {
	c := newChecker(t)
	p, n := newPod("p"), newNode("n", taint("a", "", corev1.TaintEffectNoSchedule))
	c.Begin(worldOf(n))
	for i := range maxAnswers {
		c.answers[classes{pod: strconv.Itoa(i)}] = ""
	}
	full := len(c.answers)
	for range 2 {
		if got := c.Fits(p, n, nil); got != "taint a:NoSchedule is not tolerated" {
			t.Errorf("Fits: got %q", got)
		}
	}
	if len(c.answers) > full {
		t.Errorf("%d answers are kept, of %d at most", len(c.answers), full)
	}
}

func TestFitsWithoutClasses(t *testing.T) {
	c := newChecker(t)
	p, tainted, plain := newPod("p"), newNode("n", taint("a", "", corev1.TaintEffectNoSchedule)), newNode("m")
	p.Class = ""
	c.Begin(worldOf(plain, tainted))
	if got := c.Fits(p, plain, nil); got != "" {
		t.Errorf("Fits: got %q", got)
	}
	if got := c.Fits(p, tainted, nil); got == "" {
		t.Error("the answer for one node was taken for another, though the pod has no class")
	}
}

func TestWhatAKubeletRejectsDoesNotFit(t *testing.T) {
	c := newChecker(t)
	p, other, bad, good := newPod("p"), newPod("other", asks("cpu", "7")), newNode("bad"), newNode("good")
	c.Begin(worldOf(bad, good))
	if c.Fits(p, bad, nil) != "" {
		t.Fatal("nothing has happened yet")
	}
	bad.Rejects, bad.Class = []snapshot.Rejection{{Class: p.Class}}, bad.Class+" without "+p.Class
	for _, fits := range []func(*snapshot.Pod, *snapshot.Node) string{
		func(p *snapshot.Pod, n *snapshot.Node) string { return c.Fits(p, n, nil) }, c.FitsClass,
	} {
		if got := fits(p, bad); got != rejected {
			t.Errorf("its kubelet has rejected such a pod: got %q", got)
		}
		if why := fits(p, good) + fits(other, bad); why != "" {
			t.Errorf("another node, and another pod: %s", why)
		}
	}
}
