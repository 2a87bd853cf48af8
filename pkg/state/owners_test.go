package state_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// apps is the metadata of an object of the group apps, in labels by pairs.
func apps(name string, owner metav1.Object, kind string, labels ...string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: meta(name, owner, kind)}
	o.Labels = map[string]string{}
	for k := 0; k < len(labels); k += 2 {
		o.Labels[labels[k]] = labels[k+1]
	}
	for k := range o.OwnerReferences {
		o.OwnerReferences[k].APIVersion = "apps/v1"
	}
	return o
}

// replica is a pod that such an object has created.
func (w *rayWorld) replica(name string, owner metav1.Object, kind string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: apps(name, owner, kind).ObjectMeta, Spec: template("2").Spec}
	for _, f := range change {
		f(p)
	}
	w.Pods().OnAdd(p, false)
	return p
}

func TestReplicasAreGangsThatGoByTheirTopOwner(t *testing.T) {
	w := newRayWorld(t)
	d := apps("web", nil, "", v1alpha1.QueueLabel, "q")
	set := apps("web-1", d, state.Deployment)
	w.replica("a", set, state.ReplicaSet)
	w.expect("no ReplicaSet")
	w.Owners(state.ReplicaSet).OnAdd(set, false)
	w.expect("no Deployment")
	w.Owners(state.Deployment).OnAdd(d, false)
	w.replica("b", set, state.ReplicaSet)
	w.expect("each is a gang of its own, in the Deployment's queue", "Pod/a q: pod[a]", "Pod/b q: pod[b]")
	g := w.Snapshot(w.now).Gangs[0]
	want := snapshot.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "ml", Name: "web", UID: "web-uid"}
	if diff := cmp.Diff(want, g.Top); diff != "" || g.TellsTop || g.Priority != v1alpha1.PriorityInference || !g.NonPreemptible || g.Groups[0].Min != 1 {
		t.Errorf("it serves: priority %d, non-preemptible %v, min %d, top (-want +got):\n%s", g.Priority, g.NonPreemptible, g.Groups[0].Min, diff)
	}

	moved := apps("web", nil, "", v1alpha1.QueueLabel, "r", v1alpha1.PriorityClassLabel, "train", v1alpha1.PreemptibilityLabel, "non-preemptible")
	w.Owners(state.Deployment).OnUpdate(d, moved)
	w.expect("its label takes them along", "Pod/a r: pod[a]", "Pod/b r: pod[b]")
	if g := w.Snapshot(w.now).Gangs[0]; g.Priority != v1alpha1.PriorityTrain || !g.NonPreemptible {
		t.Errorf("its labels say so: priority %d, non-preemptible %v", g.Priority, g.NonPreemptible)
	}
	w.Owners(state.Deployment).OnDelete(moved)
	w.expect("pods of an owner that is gone are about to go")
	w.Owners(state.ReplicaSet).OnUpdate(set, apps("web-1", nil, ""))
	w.expect("unless it left them behind", "Pod/a : pod[a]", "Pod/b : pod[b]")
}

func TestStatefulSetsTrain(t *testing.T) {
	w := newRayWorld(t)
	s := apps("db", nil, "", v1alpha1.QueueLabel, "q")
	w.Owners(state.StatefulSet).OnAdd(s, false)
	w.replica("db-0", s, state.StatefulSet)
	if g := w.only(); g.Queue != "q" || g.Priority != v1alpha1.PriorityTrain || g.NonPreemptible || g.Top.Kind != "StatefulSet" {
		t.Errorf("got queue %q, priority %d, top %+v", g.Queue, g.Priority, g.Top)
	}
}

func TestWhoseLabelsWin(t *testing.T) {
	labelled := func(queue, class string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Labels = map[string]string{v1alpha1.QueueLabel: queue, v1alpha1.PriorityClassLabel: class}
		}
	}
	named := func(p *corev1.Pod) { p.Spec.PriorityClassName = "build" }
	cases := map[string]struct {
		reason   string
		labels   []string
		pod      func(*corev1.Pod)
		queue    string
		priority int32
	}{
		"Owner":   {"what is said at the top wins", []string{v1alpha1.QueueLabel, "top", v1alpha1.PriorityClassLabel, "build-preemptible"}, labelled("own", "build"), "top", v1alpha1.PriorityBuildPreemptible},
		"Pod":     {"where nothing is said there, the pod's word counts", nil, labelled("own", "build"), "own", v1alpha1.PriorityBuild},
		"Spec":    {"also where it is in its spec", []string{v1alpha1.QueueLabel, "top"}, named, "top", v1alpha1.PriorityBuild},
		"Nothing": {"a Deployment serves", nil, func(*corev1.Pod) {}, "", v1alpha1.PriorityInference},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newRayWorld(t)
			d := apps("web", nil, "", tc.labels...)
			set := apps("web-1", d, state.Deployment)
			w.Owners(state.Deployment).OnAdd(d, false)
			w.Owners(state.ReplicaSet).OnAdd(set, false)
			w.replica("a", set, state.ReplicaSet, tc.pod)
			if g := w.only(); g.Queue != tc.queue || g.Priority != tc.priority {
				t.Errorf("%s: got queue %q and priority %d, want %q and %d", tc.reason, g.Queue, g.Priority, tc.queue, tc.priority)
			}
		})
	}
}

func TestOtherOwnersOfPods(t *testing.T) {
	w := newRayWorld(t)
	alone := apps("alone", nil, "", v1alpha1.QueueLabel, "q")
	w.Owners(state.ReplicaSet).OnAdd(alone, false)
	w.replica("a", alone, state.ReplicaSet)
	stranger := apps("stranger", nil, "")
	w.replica("b", stranger, state.StatefulSet, func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "apps.kruise.io/v1beta1" })
	w.replica("c", stranger, "CloneSet")
	w.expect("pods of a ReplicaSet without a Deployment, and of controllers that nobody knows, go by their own labels",
		"Pod/a : pod[a]", "Pod/b : pod[b]", "Pod/c : pod[c]")

	d := apps("web", nil, "")
	d.Namespace = "elsewhere"
	set := apps("web-1", d, state.Deployment)
	w.Owners(state.Deployment).OnAdd(d, false)
	w.Owners(state.ReplicaSet).OnAdd(set, false)
	w.replica("d", set, state.ReplicaSet)
	w.expect("nobody has an owner in another namespace", "Pod/a : pod[a]", "Pod/b : pod[b]", "Pod/c : pod[c]")
}

// A Deployment's status changes with each of its pods, and its label hardly ever.
func TestOwnersMakeNothingElseAgain(t *testing.T) {
	w := newRayWorld(t)
	var sets []*metav1.PartialObjectMetadata
	for _, name := range []string{"one", "two"} {
		d := apps(name, nil, "", v1alpha1.QueueLabel, "q")
		set := apps(name+"-1", d, state.Deployment)
		w.Owners(state.Deployment).OnAdd(d, false)
		w.Owners(state.ReplicaSet).OnAdd(set, false)
		w.replica(name+"-pod", set, state.ReplicaSet)
		sets = append(sets, set)
	}
	before := w.Snapshot(w.now)
	again := sets[0].DeepCopy()
	again.ResourceVersion, again.Labels["app"] = "7", "one"
	w.Owners(state.ReplicaSet).OnUpdate(sets[0], again)
	if s := w.Snapshot(w.now); s.Rev != before.Rev {
		t.Error("a change that concerns no pod is news")
	}
	w.Owners(state.Deployment).OnAdd(apps("one", nil, "", v1alpha1.QueueLabel, "r"), false)
	s := w.Snapshot(w.now)
	if s.Gangs[0].Queue != "r" || s.Gangs[0] == before.Gangs[0] || s.Gangs[1] != before.Gangs[1] {
		t.Errorf("its own pods alone are made again: %v", w.gangs())
	}
}
