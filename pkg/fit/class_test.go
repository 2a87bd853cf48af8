package fit

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodClass(t *testing.T) {
	seconds := int64(30)
	exists := corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists}
	cases := map[string]struct {
		reason string
		a, b   []podOption
		same   bool
		alone  bool // of b
	}{
		"NameLabelsNamespaceBinding": {
			reason: "nothing of these is read by a predicate of an ordinary pod",
			b: []podOption{labelled("a", "b"), inNamespace("other"), func(p *corev1.Pod) {
				p.Name, p.Spec.NodeName, p.Spec.Priority = "q", "n", new(int32)
			}},
			same: true,
		},
		"RequestsSpelling": {
			reason: "equal amounts are equal",
			a:      []podOption{asks("cpu", "1", "memory", "1Gi")},
			b:      []podOption{asks("cpu", "1000m", "memory", "1024Mi", "nvidia.com/gpu", "0")},
			same:   true,
		},
		"RequestsAmount": {reason: "resources are compared with the empty node", b: []podOption{asks("cpu", "2")}},
		"InitContainer": {
			reason: "initialization can ask for more than running",
			b: []podOption{func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: resourceList("cpu", "3")}}}
			}},
		},
		"SmallInitContainer": {
			reason: "initialization that asks for less changes nothing",
			b: []podOption{func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: resourceList("cpu", "100m")}}}
			}},
			same: true,
		},
		"Overhead":          {reason: "overhead counts", b: []podOption{func(p *corev1.Pod) { p.Spec.Overhead = resourceList("cpu", "250m") }}},
		"SelectorValue":     {reason: "selectors", a: []podOption{selects("a", "1")}, b: []podOption{selects("a", "2")}},
		"TolerationOrder":   {reason: "a set", a: []podOption{tolerates(exists), tolerates(corev1.Toleration{Key: "b"})}, b: []podOption{tolerates(corev1.Toleration{Key: "b", Operator: corev1.TolerationOpEqual}), tolerates(exists), tolerates(exists)}, same: true},
		"TolerationSeconds": {reason: "they matter only once it runs", a: []podOption{tolerates(exists)}, b: []podOption{tolerates(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds})}, same: true},
		"TolerationEffect":  {reason: "narrower", a: []podOption{tolerates(exists)}, b: []podOption{tolerates(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})}},
		"AffinityOrder": {
			reason: "terms and values are sets",
			a:      []podOption{onNodesWith(term("a", corev1.NodeSelectorOpIn, "1", "2"), term("b", corev1.NodeSelectorOpExists))},
			b:      []podOption{onNodesWith(term("b", corev1.NodeSelectorOpExists), term("a", corev1.NodeSelectorOpIn, "2", "1"))},
			same:   true,
		},
		"AffinityBorders": {
			reason: "values cannot be moved over their borders",
			a:      []podOption{onNodesWith(term("a", corev1.NodeSelectorOpIn, "1", "2"))},
			b:      []podOption{onNodesWith(term("a", corev1.NodeSelectorOpIn, `1" "2`))},
		},
		"AffinityWithoutTerms": {reason: "required without terms matches no node", b: []podOption{onNodesWith()}},
		"PreferredAffinity": {
			reason: "preferences refuse nothing",
			b: []podOption{func(p *corev1.Pod) {
				affinity(p).NodeAffinity = &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: term("a", corev1.NodeSelectorOpExists)}}}
				affinity(p).PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: podTerm("a", "b", "zone")}}}
			}},
			same: true,
		},
		"SpreadAnyway":   {reason: "it only weighs", b: []podOption{spread("a", "b", "zone", corev1.ScheduleAnyway)}, same: true},
		"Spread":         {reason: "it counts other pods", b: []podOption{spread("a", "b", "zone", corev1.DoNotSchedule)}, alone: true},
		"PodAffinity":    {reason: "it looks at other pods", b: []podOption{beside("a", "b", "zone")}, alone: true},
		"AntiAffinity":   {reason: "it looks at other pods", b: []podOption{repelling("a", "b", "zone")}, alone: true},
		"HostPort":       {reason: "others may hold it", b: []podOption{hostPort(80)}, alone: true},
		"HostPortOther":  {reason: "the port is in the class", a: []podOption{hostPort(80)}, b: []podOption{hostPort(81)}, alone: true},
		"Claim":          {reason: "volumes have places", b: []podOption{claim("data")}, alone: true},
		"UnknownVolume":  {reason: "a kind that is not known to be harmless is looked at", b: []podOption{volume(corev1.VolumeSource{})}, alone: true},
		"CSIVolume":      {reason: "a driver may limit volumes per node", b: []podOption{volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d"}})}, alone: true},
		"EmptyDir":       {reason: "it is the pod's own", b: []podOption{volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}})}, same: true},
		"Uncounted":      {reason: "the caller does not account ephemeral storage of other pods", b: []podOption{asks("cpu", "1", "memory", "1Gi", "ephemeral-storage", "1Gi")}, alone: true},
		"Hostname":       {reason: "the node's class does not have it", b: []podOption{selects(corev1.LabelHostname, "n")}, alone: true},
		"HostnameNotIn":  {reason: "nor its absence", b: []podOption{onNodesWith(term(corev1.LabelHostname, corev1.NodeSelectorOpNotIn, "n"))}, alone: true},
		"NodeField":      {reason: "DaemonSet pods name their node", b: []podOption{onNodesWith(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}}})}, alone: true},
		"AloneLabels":    {reason: "an alone pod's labels are read by its own terms", a: []podOption{repelling("a", "b", "zone")}, b: []podOption{repelling("a", "b", "zone"), labelled("a", "b")}, alone: true},
		"AloneNamespace": {reason: "terms reach the pod's own namespace", a: []podOption{repelling("a", "b", "zone")}, b: []podOption{repelling("a", "b", "zone"), inNamespace("other")}, alone: true},
		"AloneSame":      {reason: "replicas share a class even then", a: []podOption{repelling("a", "b", "zone")}, b: []podOption{repelling("a", "b", "zone")}, same: true, alone: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := newPod("p", tc.a...), newPod("p", tc.b...)
			if got := a.Class == b.Class; got != tc.same {
				t.Errorf("\n%s\nclasses equal: got %t, want %t", tc.reason, got, tc.same)
			}
			if b.Alone != tc.alone {
				t.Errorf("\n%s\nalone: got %t, want %t", tc.reason, b.Alone, tc.alone)
			}
		})
	}
}

func TestNodeClass(t *testing.T) {
	base := func(options ...nodeOption) []nodeOption { return options }
	cases := map[string]struct {
		reason string
		a, b   []nodeOption
		same   bool
	}{
		"PerNodeLabels": {
			reason: "nodes of one group share a class",
			a:      base(label("alpha.eksctl.io/instance-id", "i-1"), label("nvidia.com/gfd.timestamp", "1")),
			b:      base(label("alpha.eksctl.io/instance-id", "i-2"), label("nvidia.com/gfd.timestamp", "2")),
			same:   true,
		},
		"NotRead": {
			reason: "no predicate reads annotations, images or conditions",
			b: base(func(n *corev1.Node) {
				n.Annotations = map[string]string{"a": "b"}
				n.Status.Images = []corev1.ContainerImage{{Names: []string{"i"}}}
				n.Status.Conditions = nil
				n.Status.Capacity = nil
			}),
			same: true,
		},
		"Zone":        {reason: "pods select on it", b: base(inZone("b"))},
		"TaintValue":  {reason: "taints", a: base(taint("a", "1", corev1.TaintEffectNoSchedule)), b: base(taint("a", "2", corev1.TaintEffectNoSchedule))},
		"TaintOrder":  {reason: "a set", a: base(taint("a", "", corev1.TaintEffectNoSchedule), taint("b", "", corev1.TaintEffectNoSchedule)), b: base(taint("b", "", corev1.TaintEffectNoSchedule), taint("a", "", corev1.TaintEffectNoSchedule)), same: true},
		"TaintPrefer": {reason: "it only weighs", b: base(taint("a", "", corev1.TaintEffectPreferNoSchedule)), same: true},
		"TaintSince":  {reason: "when it was added does not matter", a: base(taint("a", "", corev1.TaintEffectNoExecute)), b: base(taint("a", "", corev1.TaintEffectNoExecute), func(n *corev1.Node) { n.Spec.Taints[0].TimeAdded = &metav1.Time{} }), same: true},
		"Cordon":      {reason: "a cordon refuses", b: base(func(n *corev1.Node) { n.Spec.Unschedulable = true })},
		"Memory":      {reason: "the empty node's size", b: base(allocatable("memory", "31Gi"))},
		"Extended":    {reason: "any resource", b: base(allocatable("vpc.amazonaws.com/efa", "1"))},
		"ZeroIsNone":  {reason: "a device plugin that is gone leaves a zero behind", b: base(allocatable("vpc.amazonaws.com/efa", "0")), same: true},
		"Spelling":    {reason: "equal amounts are equal", b: base(func(n *corev1.Node) { n.Status.Allocatable["cpu"] = apiresource.MustParse("8000m") }), same: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := newNode("a", tc.a...), newNode("b", tc.b...)
			if got := a.Class == b.Class; got != tc.same {
				t.Errorf("\n%s\nclasses equal: got %t, want %t", tc.reason, got, tc.same)
			}
		})
	}
}
