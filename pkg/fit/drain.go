package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/autoscaler/cluster-autoscaler/core/scaledown/pdb"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/drainability"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/drainability/rules"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/options"
	"k8s.io/autoscaler/cluster-autoscaler/utils/drain"
)

// doNotDisrupt is the annotation by which Karpenter is told to leave a pod alone, whoever it belongs to.
const doNotDisrupt = "karpenter.sh/do-not-disrupt"

// Drainer says which pods keep the node that they run on, by Cluster Autoscaler's rules for draining. It
// belongs to one goroutine.
type Drainer struct {
	rules   rules.Rules
	budgets budgets
}

// NewDrainer returns a Drainer that knows of no disruption budget yet.
//
// Of Cluster Autoscaler's options, those are on that keep system pods and local storage. What is made by a
// controller of any kind may be moved: RayClusters are such.
func NewDrainer() *Drainer {
	return &Drainer{budgets: budgets{}, rules: rules.Default(options.NodeDeleteOptions{
		SkipNodesWithSystemPods: true, SkipNodesWithLocalStorage: true})}
}

// Keeps says why the node of a pod must not be taken away under it, or "". It depends on the pod and the
// budgets that select it, and not on the time: what has waited long is protected for as long as it is there.
func (d *Drainer) Keeps(pod *corev1.Pod) string {
	if pod.Annotations[doNotDisrupt] == "true" {
		return "annotation " + doNotDisrupt
	}
	status := d.rules.Drainable(&drainability.DrainContext{RemainingPdbTracker: tracker{budgets: d.budgets}}, pod, nil)
	if status.Outcome != drainability.BlockDrain {
		return ""
	}
	if text, known := keeps[status.BlockingReason]; known {
		return text
	}
	return status.BlockingReason.String()
}

// Guard is what disruption budgets say of the eviction of a pod.
type Guard struct {
	Why    string // the API server would refuse it now; "" when nothing says so
	Budget string // that would allow one less then; "" for none
	Allows int    // how many it allows now
}

// Guards says what stands between a pod that is bound and its eviction. The API server refuses for the sake of
// disruption budgets only, and not of pods that have not begun to run: see its eviction subresource.
func (d *Drainer) Guards(pod *corev1.Pod) Guard {
	if pod.Status.Phase == corev1.PodPending || pod.DeletionTimestamp != nil {
		return Guard{}
	}
	matching := tracker{budgets: d.budgets}.MatchingPdbs(pod)
	switch {
	case len(matching) > 1:
		return Guard{Why: "more than one disruption budget selects it"}
	case len(matching) == 0 || !ready(pod) && spares(matching[0]):
		return Guard{}
	case matching[0].Status.DisruptionsAllowed < 1:
		return Guard{Why: "disruption budget " + matching[0].Name + " allows no eviction of it"}
	}
	return Guard{Budget: matching[0].Name, Allows: int(matching[0].Status.DisruptionsAllowed)}
}

// spares says whether a budget lets pods go that are not ready: as a rule when enough others are healthy.
func spares(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

var keeps = map[drain.BlockingPodReason]string{
	drain.NotReplicated:            "it has no controller that would make it again",
	drain.LocalStorageRequested:    "it keeps data on the node",
	drain.NotSafeToEvictAnnotation: "annotation " + drain.PodSafeToEvictKey + "=false",
	drain.UnmovableKubeSystemPod:   "it is a system pod without a disruption budget",
	drain.NotEnoughPdb:             "a disruption budget allows no eviction of it",
}

// SetBudget adds a disruption budget or replaces it.
func (d *Drainer) SetBudget(b *policyv1.PodDisruptionBudget) {
	if d.budgets[b.Namespace] == nil {
		d.budgets[b.Namespace] = map[string]budget{}
	}
	d.budgets[b.Namespace][b.Name] = budget{b, Selected(b)}
}

// Selected says which pods of its namespace a disruption budget is about. The API server lets no selector
// through that cannot be read; one would select nothing.
func Selected(b *policyv1.PodDisruptionBudget) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// DropBudget removes a disruption budget.
func (d *Drainer) DropBudget(b *policyv1.PodDisruptionBudget) { delete(d.budgets[b.Namespace], b.Name) }

// budgets are the disruption budgets by namespace and name, as the rules ask for them.
type budgets map[string]map[string]budget

type budget struct {
	object   *policyv1.PodDisruptionBudget
	selector labels.Selector
}

// tracker is the part of the interface that the rules use.
type tracker struct {
	pdb.RemainingPdbTracker
	budgets budgets
}

// MatchingPdbs lists the budgets that select a pod. The rules look for any that is spent, so that their
// order does not matter.
func (t tracker) MatchingPdbs(pod *corev1.Pod) (out []*policyv1.PodDisruptionBudget) {
	for _, one := range t.budgets[pod.Namespace] {
		if one.selector.Matches(labels.Set(pod.Labels)) {
			out = append(out, one.object)
		}
	}
	return out
}
