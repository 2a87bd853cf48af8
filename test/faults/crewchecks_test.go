package faults

import (
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// grantsOf are the grants of a gang: the drawn number, and where somebody must go, who works.
func (w *crewWorld) grantsOf(g *snapshot.Gang) []scaling.Grant {
	drawn := w.grants[g.Name]
	out := scaling.Grant{Gang: g.ID, Group: "w", Replicas: drawn.replicas}
	if drawn.must { // for work that can wait for what they do
		out.Grace = scaling.PreemptGrace
		for _, p := range g.Members {
			if p.Group == "w" && p.Node != "" && !p.Terminating && len(out.Leave) < 1 {
				out.Leave = append(out.Leave, p.UID)
			}
		}
	}
	return []scaling.Grant{out}
}

// written holds a write of capmgr's against what must hold. The caller holds the lock.
func (w *crewWorld) written(old, now *rayv1.RayCluster) {
	a, b := old.Spec.WorkerGroupSpecs[0], now.Spec.WorkerGroupSpecs[0]
	if *a.Replicas == *b.Replicas && *a.MaxReplicas == *b.MaxReplicas && slices.Equal(a.ScaleStrategy.WorkersToDelete, b.ScaleStrategy.WorkersToDelete) {
		return
	}
	name := now.Name
	w.writes = append(w.writes, write{time.Now(), name})
	w.note("capmgr writes %s: replicas %d to %d, ceiling %d to %d, list %v to %v", name, *a.Replicas, *b.Replicas, *a.MaxReplicas, *b.MaxReplicas, a.ScaleStrategy.WorkersToDelete, b.ScaleStrategy.WorkersToDelete)
	own := w.bounds(name)
	if *b.MaxReplicas < *own.MinReplicas || *b.MaxReplicas > *own.MaxReplicas {
		w.violate("%s: the ceiling %d is outside of %d to %d", name, *b.MaxReplicas, *own.MinReplicas, *own.MaxReplicas)
	}
	if *a.Replicas != *b.Replicas && (*b.Replicas < *own.MinReplicas || *b.Replicas > *own.MaxReplicas) {
		w.violate("%s: %d replicas are outside of %d to %d", name, *b.Replicas, *own.MinReplicas, *own.MaxReplicas)
	}
	if *a.Replicas != *b.Replicas && autoscaledCluster(now) {
		w.violate("%s: capmgr wrote the replicas of Ray's autoscaler", name)
	}
	if c := ray.ReadContention(old.Annotations); c.Open(time.Now()) {
		w.violate("%s: written while somebody else does, until %s", name, c.Until)
	}
	if record, err := ray.ReadRecord(old.Annotations); err == nil && *a.Replicas != *b.Replicas {
		for _, pod := range record["w"].Named {
			listed := slices.Contains(a.ScaleStrategy.WorkersToDelete, pod) // else somebody took the name out
			if listed && slices.ContainsFunc(w.pods, func(p *corev1.Pod) bool { return p.Name == pod }) {
				w.violate("%s: changed while %s, which capmgr named, is still there", name, pod)
			}
		}
	}
	if w.stubborn && !autoscaledCluster(now) && *a.Replicas != *b.Replicas && *b.Replicas != *w.manifest[name].Replicas {
		if w.contests[name]++; w.contests[name] > contestsAllowed {
			w.violate("%s: capmgr fights with the tool that writes its manifest", name)
		}
	}
	w.named(old, now)
}

// contestsAllowed is how often capmgr writes against a stubborn tool while its grants stay as they
// are: once, once over theirs, and once more after the pause.
const contestsAllowed = 3

// named holds who was added to the list against what must hold.
func (w *crewWorld) named(old, now *rayv1.RayCluster) {
	a, b := old.Spec.WorkerGroupSpecs[0], now.Spec.WorkerGroupSpecs[0]
	replicas := map[string]bool{}
	running, before, least := 0, 0, int(*a.MinReplicas)*int(max(1, a.NumOfHosts))
	var added []*corev1.Pod
	for _, pod := range b.ScaleStrategy.WorkersToDelete {
		if slices.Contains(a.ScaleStrategy.WorkersToDelete, pod) {
			continue
		}
		k := slices.IndexFunc(w.pods, func(p *corev1.Pod) bool { return p.Name == pod })
		if k < 0 {
			w.violate("%s: %s was named and is not there", now.Name, pod)
			continue
		}
		p := w.pods[k]
		if !metav1.IsControlledBy(p, now) || p.Labels[ray.GroupLabel] != "w" {
			w.violate("%s: %s was named and is not of this cluster and group", now.Name, pod)
		}
		added = append(added, p)
		unit := p.Labels[ray.ReplicaLabel]
		if unit == "" {
			unit = p.Name
		}
		replicas[unit] = true
	}
	if lowered := int(*a.Replicas - *b.Replicas); lowered > 0 && lowered != len(replicas) {
		w.violate("%s: lowered by %d and named %d replicas", now.Name, lowered, len(replicas))
	}
	for _, p := range w.pods {
		isNamed := slices.Contains(b.ScaleStrategy.WorkersToDelete, p.Name)
		if metav1.IsControlledBy(p, now) && p.Labels[ray.GroupLabel] == "w" && p.Spec.NodeName != "" && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning {
			before++
			if !isNamed {
				running++
			}
		}
	}
	if len(added) > 0 && running < least && before >= least {
		w.violate("%s: %d workers stay of a minimum of %d", now.Name, running, least)
	}
	w.fair(now, added)
}

// settledFor is for how long a state must have lasted to be everybody's knowledge: what a head says is
// up to three seconds old, and who leaves has half a minute.
const settledFor = 45 * time.Second

// fair holds that nobody who works leaves while a worker idles that everybody knew of, unless the
// decision named him.
func (w *crewWorld) fair(rc *rayv1.RayCluster, added []*corev1.Pod) {
	d := w.grants[rc.Name]
	if time.Now().Before(w.silent[rc.Name].Add(settledFor)) || d.must || time.Since(d.musts) < settledFor {
		return
	}
	for _, p := range added {
		n := w.nodes[p.Name]
		if n == nil || !n.busy || time.Since(n.since) < settledFor {
			continue
		}
		for _, o := range w.pods {
			idle := w.nodes[o.Name]
			if idle == nil || o.Labels[ray.ClusterLabel] != rc.Name || o.Labels[ray.GroupLabel] != "w" || o.DeletionTimestamp != nil || slices.Contains(added, o) || rc.Spec.WorkerGroupSpecs[0].NumOfHosts > 1 {
				continue
			}
			askedBefore := n.draining && n.asked.Before(idle.since.Add(settledFor)) // which nobody can take back
			if !idle.busy && !idle.draining && time.Since(idle.since) > settledFor && !askedBefore {
				w.violate("%s: %s works and was named, %s has idled for %s", rc.Name, p.Name, o.Name, time.Since(idle.since))
			}
		}
	}
}

// watchOver holds the world itself against what must hold.
func (w *crewWorld) watchOver() {
	for _, p := range w.pods {
		n := w.nodes[p.Name]
		// A new life of the manager learns from the head alone who drains, and until when.
		if n != nil && n.asked.After(w.silent[p.Labels[ray.ClusterLabel]]) && n.busy && p.DeletionTimestamp != nil && p.DeletionTimestamp.Time.Equal(time.Now()) && n.draining && !n.drained.IsZero() && time.Now().Before(n.drained.Add(-time.Second)) &&
			slices.Contains(w.clusters[p.Labels[ray.ClusterLabel]].Spec.WorkerGroupSpecs[0].ScaleStrategy.WorkersToDelete, p.Name) {
			w.violate("%s was ended %s before its time was up", p.Name, time.Until(n.drained))
		}
	}
}

// atRest holds the end against what must hold: nothing is written any more, and what the users asked for
// is what there is, because all of it is granted.
func (w *crewWorld) atRest() {
	if len(w.broken) > 0 {
		return
	}
	for _, x := range w.writes {
		if time.Since(x.at) < crewQuiet {
			w.violate("capmgr still writes %s, %s before the end", x.cluster, time.Since(x.at))
		}
	}
	for _, name := range sorted(w.clusters) {
		rc := w.clusters[name]
		g := rc.Spec.WorkerGroupSpecs[0]
		workers, err := ray.WorkersOf(rc)
		if err != nil {
			w.violate("%s: %v", name, err)
			continue
		}
		if len(workers[0].Named) > 0 {
			w.violate("%s: capmgr's names are left over: %v", name, workers[0].Named)
		}
		if own := w.bounds(name); *g.MaxReplicas != *own.MaxReplicas {
			w.violate("%s: the ceiling is %d, the user's own %d", name, *g.MaxReplicas, *own.MaxReplicas)
		}
		wish := w.wishes[name]
		if autoscaledCluster(rc) || rc.Annotations[v1alpha1.ElasticAnnotation] != "" {
			continue
		}
		if wish >= 0 && *g.Replicas != min(max(wish, *g.MinReplicas), *g.MaxReplicas) {
			w.violate("%s: %d replicas, and its user asked for %d", name, *g.Replicas, wish)
		}
		if have := w.count(rc, false); have != int(*g.Replicas*max(1, g.NumOfHosts)) {
			w.violate("%s: %d workers for %d replicas", name, have, *g.Replicas)
		}
	}
}

// count counts the workers of a cluster, with those on their way out or without.
func (w *crewWorld) count(rc *rayv1.RayCluster, leaving bool) (n int) {
	for _, p := range w.pods {
		if metav1.IsControlledBy(p, rc) && p.Labels[ray.GroupLabel] == "w" && (leaving || p.DeletionTimestamp == nil) {
			n++
		}
	}
	return n
}
