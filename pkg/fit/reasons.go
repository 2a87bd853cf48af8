package fit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	v1helper "k8s.io/component-helpers/scheduling/corev1"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumerestrictions"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumezone"
)

// CannotTell begins an answer of Fits that is an error, not a misfit. It is never remembered.
const CannotTell = "cannot tell: "

// elsewhere is the reason when PreFilter leaves only other nodes: a pod that names its node by
// field, or whose local volume is on another one.
const elsewhere = "only certain nodes are possible"

// answer is what the plugins said about a pod on a node.
type answer struct {
	pod    *corev1.Pod
	info   *schedulerframework.NodeInfo
	status *schedulerframework.Status
}

// certain says whether the plugins came to a conclusion.
func (a answer) certain() bool { return a.status.IsSuccess() || a.status.IsRejected() }

// text is the answer for users, "" when the pod fits. Empty says that the node was asked about
// without its pods, where a lack of room is for good.
func (a answer) text(empty bool) string {
	switch {
	case a.status.IsSuccess():
		return ""
	case !a.status.IsRejected():
		return CannotTell + a.status.Message()
	}
	switch a.status.Plugin() {
	case names.TaintToleration:
		return a.taint()
	case names.NodeAffinity:
		return a.selector()
	case names.NodePorts:
		return a.port()
	case names.NodeUnschedulable:
		return "the node is cordoned"
	case names.NodeResourcesFit:
		return a.room(empty)
	}
	return joined(a.status.Reasons(), "; ", plain)
}

// taint names the first of the taints that the pod does not tolerate. The order is by text, not
// the node's own, because nodes of one class may list their taints differently.
func (a answer) taint() string {
	var texts []string
	for _, t := range a.info.Node().Spec.Taints {
		if filtered(t) && !v1helper.TolerationsTolerateTaint(a.pod.Spec.Tolerations, &t) {
			texts = append(texts, t.ToString())
		}
	}
	if len(texts) == 0 {
		return "a taint is not tolerated"
	}
	return fmt.Sprintf("taint %s is not tolerated", slices.Min(texts))
}

// filtered says whether a taint keeps pods away; PreferNoSchedule only weighs.
func filtered(t corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
}

// selector names the first entry of the pod's node selector that the node lacks. Values of labels
// that differ on every node are left out: they would name a node.
func (a answer) selector() string {
	have := a.info.Node().Labels
	for _, want := range sortedPairs(a.pod.Spec.NodeSelector) {
		if value, ok := have[want.key]; ok && value == want.value {
			continue
		}
		if perNode(want.key) {
			return fmt.Sprintf("node selector %s does not match", want.key)
		}
		return fmt.Sprintf("node selector %s=%s does not match", want.key, want.value)
	}
	return "node affinity does not match"
}

// port names the lowest host port of the pod that another one holds.
func (a answer) port() string {
	ports := hostPorts(a.pod)
	slices.SortFunc(ports, func(x, y corev1.ContainerPort) int { return cmp.Compare(x.HostPort, y.HostPort) })
	for _, p := range ports {
		if a.info.UsedPorts.CheckConflict(p.HostIP, string(p.Protocol), p.HostPort) {
			return fmt.Sprintf("port %d is taken", p.HostPort)
		}
	}
	return "a host port is taken"
}

// room names the resources that are short.
func (a answer) room(empty bool) string {
	text := joined(a.status.Reasons(), " and ", func(reason string) string {
		if name, ok := strings.CutPrefix(reason, "Insufficient "); ok {
			if name == string(gpu) {
				name = "gpu"
			}
			return "not enough " + name
		}
		return strings.ToLower(reason) // "Too many pods"
	})
	if empty {
		text += ", even on an empty node"
	}
	return text
}

// plainReasons are the predicates' own reasons, which speak of "node(s)" because kube-scheduler
// counts them, in words for one pod and one node.
var plainReasons = map[string]string{
	interpodaffinity.ErrReasonExistingAntiAffinityRulesNotMatch: "the anti-affinity of another pod keeps this one away",
	interpodaffinity.ErrReasonAffinityRulesNotMatch:             "pod affinity does not match",
	interpodaffinity.ErrReasonAntiAffinityRulesNotMatch:         "pod anti-affinity does not allow it beside the pods there",
	podtopologyspread.ErrReasonConstraintsNotMatch:              "topology spread does not allow one more there",
	podtopologyspread.ErrReasonNodeLabelNotMatch:                "a label that topology spread needs is missing",
	nodevolumelimits.ErrReasonMaxVolumeCountExceeded:            "too many volumes are attached",
	volumerestrictions.ErrReasonDiskConflict:                    "a disk is in use by another pod",
	volumerestrictions.ErrReasonReadWriteOncePodConflict:        "a volume claim is in use by another pod",
	volumezone.ErrReasonConflict:                                "a volume is in another zone",
	string(volumebinding.ErrReasonBindConflict):                 "no volume is available for a claim",
	string(volumebinding.ErrReasonNodeConflict):                 "a volume cannot be used there",
	volumebinding.ErrReasonNotEnoughSpace:                       "not enough storage for a claim",
	volumebinding.ErrReasonPVNotExist:                           "a claim is bound to a volume that does not exist",
	"pod has unbound immediate PersistentVolumeClaims":          "a volume claim is not bound yet",
}

func plain(reason string) string {
	if text, ok := plainReasons[reason]; ok {
		return text
	}
	return strings.TrimPrefix(strings.TrimPrefix(reason, "node(s) "), "node ")
}

// joined translates reasons and puts them in a fixed order, each once.
func joined(reasons []string, separator string, translate func(string) string) string {
	if len(reasons) == 0 {
		return "refused without a reason"
	}
	texts := make([]string, 0, len(reasons))
	for _, r := range reasons {
		texts = append(texts, translate(r))
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), separator)
}
