package state

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// shipped are the priority classes that count even where their objects are missing.
var shipped = map[string]int32{
	v1alpha1.PriorityClassTrain:            v1alpha1.PriorityTrain,
	v1alpha1.PriorityClassBuildPreemptible: v1alpha1.PriorityBuildPreemptible,
	v1alpha1.PriorityClassBuild:            v1alpha1.PriorityBuild,
	v1alpha1.PriorityClassInference:        v1alpha1.PriorityInference,
}

// rank gives a gang its priority: from the label on its owner, else from its pod, else by kind: what
// serves is inference, everything else trains.
func (b *builder) rank(g *snapshot.Gang, labels map[string]string, pod *corev1.Pod) {
	name := cmp.Or(labels[v1alpha1.RayPriorityClassLabel], labels[v1alpha1.PriorityClassLabel])
	if name == "" && pod != nil {
		name = cmp.Or(pod.Labels[v1alpha1.PriorityClassLabel], pod.Spec.PriorityClassName)
		if ref := metav1.GetControllerOf(pod); name == "" && ref != nil && ref.Kind == "ReplicaSet" {
			name = v1alpha1.PriorityClassInference
		}
	}
	name = cmp.Or(name, v1alpha1.PriorityClassTrain)
	value, known := shipped[name]
	if c := b.m.classes[name]; c != nil {
		value, known = c.Value, true
		g.NeverEvicts = c.PreemptionPolicy != nil && *c.PreemptionPolicy == corev1.PreemptNever
	}
	if !known && g.Invalid == "" {
		g.Invalid = "the priority class " + name + " does not exist"
	}
	g.Priority = value
	g.NonPreemptible = value >= v1alpha1.NonPreemptiblePriority
	override := labels[v1alpha1.PreemptibilityLabel]
	if override == "" && pod != nil {
		override = pod.Labels[v1alpha1.PreemptibilityLabel]
	}
	switch override {
	case "preemptible":
		g.NonPreemptible = false
	case "non-preemptible":
		g.NonPreemptible = true
	}
}

// resumeMemory is how long room is held for the pods of a gang that was let go on.
const resumeMemory = 2 * time.Minute

// stalenessGrace is how long a gang may run below its minimum when nothing else is said.
const stalenessGrace = time.Minute

// grace reads the annotation with which an owner sets another grace period; nonsense is ignored.
func grace(annotations map[string]string) time.Duration {
	d, err := time.ParseDuration(annotations[v1alpha1.StalenessGraceAnnotation])
	if err != nil {
		return 0
	}
	return d
}

// expectedRuntime reads from annotations how long a gang's owner expects it to run; nonsense is ignored.
func expectedRuntime(annotations map[string]string) time.Duration {
	d, err := time.ParseDuration(annotations[v1alpha1.ExpectedRuntimeAnnotation])
	if err != nil {
		return 0
	}
	return max(0, d)
}

// ends says when a running gang is expected to end: so long after it had its minimum.
func ends(g *snapshot.Gang) {
	if g.Runtime == 0 {
		return
	}
	var starts []time.Time
	for _, p := range g.Members {
		switch {
		case p.Node == "" || p.Terminating:
		case p.Started.IsZero():
			return // bound a moment ago
		default:
			starts = append(starts, p.Started)
		}
	}
	if len(starts) == 0 {
		return
	}
	slices.SortFunc(starts, time.Time.Compare)
	g.Ends = starts[max(min(g.MinMember(), len(starts)), 1)-1].Add(g.Runtime)
}

// complete adds what the mirror remembers of a gang: back-offs, evictions and resumptions, and since when
// it is short of members.
func (b *builder) complete(g *snapshot.Gang) {
	g.Queue = cmp.Or(g.Queue, b.m.config.DefaultQueue)
	g.Grace = cmp.Or(g.Grace, stalenessGrace)
	ends(g)
	id := string(g.ID)
	if until, ok := b.m.held[id]; ok && b.s.Now.Before(until) {
		g.HeldUntil = until
	}
	if at, ok := b.m.resumed[id]; ok && b.s.Now.Sub(at) < resumeMemory {
		g.ResumedAt = at
	}
	b.evictions(g)
	b.minimum(g)
}

// forgetGang drops the memory of a gang that is gone.
func (m *Mirror) forgetGang(id string) {
	delete(m.held, id)
	delete(m.evicted, id)
	delete(m.resumed, id)
	delete(m.short, id)
	delete(m.running, id)
}
