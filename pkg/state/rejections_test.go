package state_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// kubelets play those of three nodes: a1 and a2 are of group g5-a, b1 is of none.
type kubelets struct {
	*state.Mirror
	now  time.Time
	pods int
}

func newKubelets() *kubelets {
	k := &kubelets{Mirror: newMirror(), now: noon}
	var instances []cloud.Instance
	for _, name := range []string{"a1", "a2", "b1"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if name != "b1" {
			n.Spec.ProviderID = "aws:///us-east-1a/i-" + name
			instances = append(instances, cloud.Instance{ID: "i-" + name, ProviderID: n.Spec.ProviderID, InService: true})
		}
		k.Nodes().OnAdd(n, false)
	}
	k.SetGroups([]cloud.Group{market("g5-a", "us-east-1a", instances...)})
	k.Snapshot(k.now)
	return k
}

// worker is a pod on a node.
func (k *kubelets) worker(node string) *corev1.Pod {
	k.pods++
	name := fmt.Sprint("p", k.pods)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{SchedulerName: "capmgr", NodeName: node, Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}}}}}
	p.Status.Phase = corev1.PodPending
	return p
}

// fails ends a pod that was bound as things are when nothing of it was ever started.
func (k *kubelets) fails(p *corev1.Pod, change ...func(*corev1.Pod)) {
	k.Pods().OnAdd(p, false)
	failed := p.DeepCopy()
	failed.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu"}
	for _, c := range change {
		c(failed)
	}
	k.Pods().OnUpdate(p, failed)
	k.Pods().OnUpdate(failed, failed) // said again
	k.Pods().OnDelete(failed)
}

// rejects fails a pod at once on each of the nodes.
func (k *kubelets) rejects(nodes ...string) {
	for _, n := range nodes {
		k.fails(k.worker(n))
	}
	k.Snapshot(k.now)
}

// away is how long the class of worker is kept off each node from now on, and from what is bought of g5-a.
func (k *kubelets) away() map[string]time.Duration {
	s := k.Snapshot(k.now)
	class, _ := fit.PodClass(k.worker(""))
	out := map[string]time.Duration{}
	for _, n := range s.Nodes {
		if r := n.Rejected(class); r != nil {
			out[n.Name] = r.Until.Sub(k.now)
		}
	}
	if r := s.NodeGroup("g5-a").Rejected(class); r != nil {
		out["g5-a"] = r.Until.Sub(k.now)
	}
	return out
}

func TestWhatAKubeletRejectsIsKeptOffItsNode(t *testing.T) {
	type waits = map[string]time.Duration
	cases := map[string]struct {
		reason string
		story  func(k *kubelets)
		want   waits
	}{
		"Once": {"off that node, for a moment", func(k *kubelets) { k.rejects("b1") }, waits{"b1": 15 * time.Second}},
		"Over": {"then it is tried again", func(k *kubelets) {
			k.rejects("b1")
			k.now = k.now.Add(15 * time.Second)
		}, waits{}},
		"Together": {"a gang that fails in one go has failed once", func(k *kubelets) { k.rejects("b1", "b1", "b1") }, waits{"b1": 15 * time.Second}},
		"Again": {"each further time for twice as long", func(k *kubelets) {
			for range 4 {
				k.rejects("b1")
				k.now = k.now.Add(k.away()["b1"])
			}
			k.rejects("b1")
		}, waits{"b1": 4 * time.Minute}},
		"ForEver": {"up to a most", func(k *kubelets) {
			for range 50 {
				k.rejects("b1")
				k.now = k.now.Add(k.away()["b1"])
			}
			k.rejects("b1")
		}, waits{"b1": 15 * time.Minute}},
		"Forgotten": {"after a while of peace the next time is the first", func(k *kubelets) {
			k.rejects("b1")
			k.now = k.now.Add(16 * time.Minute)
			k.away()
			k.rejects("b1")
		}, waits{"b1": 15 * time.Second}},
		"Ran": {"a pod that was started and failed says nothing of its node", func(k *kubelets) {
			k.fails(k.worker("b1"), func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main"}} })
		}, waits{}},
		"Collected": {"nor does one that is ended because its node is gone", func(k *kubelets) {
			k.fails(k.worker("b1"), func(p *corev1.Pod) { p.Status.Reason = "" })
		}, waits{}},
		"Foreign": {"another scheduler's pods are its own matter", func(k *kubelets) {
			p := k.worker("b1")
			p.Spec.SchedulerName = "default-scheduler"
			k.fails(p)
		}, waits{}},
		"Before": {"what had failed when the process began is old", func(k *kubelets) {
			p := k.worker("b1")
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu"}
			k.Pods().OnAdd(p, true)
		}, waits{}},
		"OneOfAGroup": {"one node of a group may be broken", func(k *kubelets) {
			k.rejects("a1")
			k.now = k.now.Add(15 * time.Second)
			k.rejects("a1")
		}, waits{"a1": 30 * time.Second}},
		"TwoOfAGroup": {"of two, nothing more is bought", func(k *kubelets) { k.rejects("a1", "a2") },
			waits{"a1": 15 * time.Second, "a2": 15 * time.Second, "g5-a": 5 * time.Minute}},
		"ItRunsThere": {"a group that runs such pods is not at fault", func(k *kubelets) {
			p := k.worker("a1")
			p.Status.Phase = corev1.PodRunning
			k.Pods().OnAdd(p, false)
			k.rejects("a1", "a2")
		}, waits{"a1": 15 * time.Second, "a2": 15 * time.Second}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			k := newKubelets()
			tc.story(k)
			if diff := cmp.Diff(tc.want, k.away(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestOnlyTheNodeThatRejectsIsMadeAgain(t *testing.T) {
	k := newKubelets()
	before := k.Snapshot(k.now)
	k.rejects("b1")
	during := k.Snapshot(k.now)
	if b := during.Node("b1"); b.Class == before.Node("b1").Class || len(b.Rejects) != 1 || b.Rejects[0].Reason != "OutOfcpu" {
		t.Errorf("a node that rejects is of another class, and says why: %q, %v", b.Class, b.Rejects)
	}
	after := k.Snapshot(k.now.Add(15 * time.Second))
	if after.Node("b1").Class != before.Node("b1").Class {
		t.Error("when that is over, it is like the others again")
	}
	for _, s := range []*snapshot.Snapshot{during, after} {
		if s.Node("a1") != before.Node("a1") {
			t.Error("a1 has not changed")
		}
	}
}
