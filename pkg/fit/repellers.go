package fit

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// repellers knows which ordinary pods the required anti-affinity of other pods might keep away
// from a node. It only decides which road a question takes: pods that some term selects go the
// slow one, which also looks at where the terms reach.
type repellers struct {
	current bool
	nodes   []*snapshot.Node                             // whose pods are the bound ones, by name
	known   map[string]*snapshot.Node                    // the same by name
	byNode  map[string][]schedulerframework.AffinityTerm // of their pods, where there are any
	bound   []schedulerframework.AffinityTerm

	applied []snapshot.Placed // that placed has the terms of
	placed  []schedulerframework.AffinityTerm
	seen    uint64 // the highest serial of a change that brought no terms

	concerned map[*corev1.Pod]bool // answers for bound and placed together
}

func newRepellers() *repellers {
	return &repellers{known: map[string]*snapshot.Node{}, byNode: map[string][]schedulerframework.AffinityTerm{}, concerned: map[*corev1.Pod]bool{}}
}

// expire says that a new decision has begun.
func (r *repellers) expire() { r.current = false }

// concern says whether a pod that is bound, placed, or comes with the node asked about may repel
// this one. A term that selects namespaces by their labels counts as selecting them all; a pod that
// the decision removed still counts. Both only cost time.
func (r *repellers) concern(nodes []*snapshot.Node, pod *corev1.Pod, node *snapshot.Node, placed []snapshot.Placed) bool {
	if !r.current {
		r.update(nodes)
	}
	r.follow(placed)
	hit, known := r.concerned[pod]
	if !known {
		hit = selectsAny(r.bound, pod) || selectsAny(r.placed, pod)
		r.concerned[pod] = hit
	}
	return hit || !r.covers(node) && selectsAny(termsOn(node), pod)
}

// update collects the terms of all bound pods, looking only at nodes that changed. Both the last nodes
// and these are sorted by name.
func (r *repellers) update(nodes []*snapshot.Node) {
	changed := false
	forget := func(n *snapshot.Node) {
		delete(r.known, n.Name)
		if _, had := r.byNode[n.Name]; had {
			delete(r.byNode, n.Name)
			changed = true
		}
	}
	k := 0
	for _, n := range nodes {
		for k < len(r.nodes) && r.nodes[k] != n && r.nodes[k].Name < n.Name {
			forget(r.nodes[k])
			k++
		}
		same := k < len(r.nodes) && r.nodes[k] == n
		if k < len(r.nodes) && r.nodes[k].Name == n.Name {
			k++
		}
		if same {
			continue
		}
		if was := r.known[n.Name]; was == nil || !sameNode(was, n) {
			forget(n)
			if terms := termsOn(n); len(terms) > 0 {
				r.byNode[n.Name], changed = terms, true
			}
		}
		r.known[n.Name] = n
	}
	for ; k < len(r.nodes); k++ {
		forget(r.nodes[k])
	}
	r.nodes, r.current = nodes, true
	if changed {
		var all []schedulerframework.AffinityTerm
		for _, name := range slices.Sorted(maps.Keys(r.byNode)) {
			all = append(all, r.byNode[name]...)
		}
		r.bound = distinct(all)
	}
	r.undo()
}

// follow adds the terms of pods that were placed since the last question. Serials grow, and undoing takes
// changes from the end: while nobody who was placed repels anything, those with a serial that was seen need
// not be looked at again.
func (r *repellers) follow(placed []snapshot.Placed) {
	if len(r.placed) == 0 {
		fresh := len(placed)
		for fresh > 0 && (placed[fresh-1].Serial == 0 || placed[fresh-1].Serial > r.seen) {
			fresh--
		}
		if !slices.ContainsFunc(placed[fresh:], r.brings) {
			if n := len(placed); n > 0 {
				r.seen = max(r.seen, placed[n-1].Serial)
			}
			return
		}
	}
	if !startsWith(placed, r.applied) {
		r.undo()
	}
	for _, p := range placed[len(r.applied):] {
		r.applied = append(r.applied, p)
		if !r.brings(p) {
			continue
		}
		more := termsOf(nil, p.Pod)
		if !r.covers(p.Node) {
			more = append(more, termsOn(p.Node)...)
		}
		r.placed = distinct(append(r.placed, more...))
		clear(r.concerned)
	}
}

// brings says whether a change brings terms: the pod's own, or those of pods that come with a new node.
func (r *repellers) brings(p snapshot.Placed) bool {
	return p.Node != nil && (isRepeller(p.Pod) || !r.covers(p.Node) && slices.ContainsFunc(p.Node.Pods, isRepeller))
}

func isRepeller(p *snapshot.Pod) bool {
	return p.Object != nil && p.Object.Spec.Affinity != nil && len(schedulerframework.GetPodAntiAffinityTerms(p.Object.Spec.Affinity)) > 0
}

func (r *repellers) undo() {
	r.applied, r.placed, r.seen = nil, nil, 0
	r.concerned = map[*corev1.Pod]bool{}
}

// covers says whether the node's pods are among the bound ones.
func (r *repellers) covers(n *snapshot.Node) bool { return r.known[n.Name] == n }

func termsOn(n *snapshot.Node) (terms []schedulerframework.AffinityTerm) {
	for _, p := range n.Pods {
		terms = termsOf(terms, p)
	}
	return terms
}

// termsOf adds those of a pod; most have none.
func termsOf(terms []schedulerframework.AffinityTerm, p *snapshot.Pod) []schedulerframework.AffinityTerm {
	if p.Object == nil || p.Object.Spec.Affinity == nil {
		return terms
	}
	return append(terms, antiAffinity(p.Object)...)
}

// antiAffinity parses the required terms as the scheduler does. Terms that it cannot parse repel
// nothing there, and so not here.
func antiAffinity(pod *corev1.Pod) []schedulerframework.AffinityTerm {
	terms, err := schedulerframework.GetAffinityTerms(pod, schedulerframework.GetPodAntiAffinityTerms(pod.Spec.Affinity))
	if err != nil {
		return nil
	}
	return terms
}

func selectsAny(terms []schedulerframework.AffinityTerm, pod *corev1.Pod) bool {
	for i := range terms {
		t := &terms[i]
		if (t.Namespaces.Has(pod.Namespace) || byLabels(t)) && t.Selector.Matches(labels.Set(pod.Labels)) {
			return true
		}
	}
	return false
}

// byLabels says whether the term selects namespaces by label. The scheduler gives a term without a
// namespace selector one that matches nothing.
func byLabels(t *schedulerframework.AffinityTerm) bool {
	return t.NamespaceSelector != labels.Nothing()
}

// distinct drops terms that select the same pods; where they reach does not matter here. Every
// replica of a Deployment brings the same term.
func distinct(terms []schedulerframework.AffinityTerm) []schedulerframework.AffinityTerm {
	seen := map[string]bool{}
	var out []schedulerframework.AffinityTerm
	for _, t := range terms {
		if key := termKey(t); !seen[key] {
			seen[key] = true
			out = append(out, t)
		}
	}
	return out
}

func termKey(t schedulerframework.AffinityTerm) string {
	namespaces := t.Namespaces.UnsortedList()
	slices.Sort(namespaces)
	anywhere := "named"
	if byLabels(&t) {
		anywhere = "any"
	}
	return strings.Join(namespaces, ",") + "|" + anywhere + "|" + t.Selector.String()
}
