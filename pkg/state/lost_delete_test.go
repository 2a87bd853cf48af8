package state_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// Incident lost-delete: the watch was broken while something was deleted. What comes back of it is a
// tombstone, or a change from the old object to another one of the same name. In both cases the old one
// counts no more, and nothing is left of it when the other one goes too.
func TestADeletionThatTheWatchMissed(t *testing.T) {
	meta := func(uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ml", Name: "x", UID: types.UID(uid), ResourceVersion: uid}
	}
	cases := map[string]struct {
		handler func(*state.Mirror) cache.ResourceEventHandler
		object  func(uid string) any
		seen    func(*snapshot.Snapshot) (uids []string)
	}{
		"WaitingPod": {(*state.Mirror).Pods, func(uid string) any {
			return &corev1.Pod{ObjectMeta: meta(uid), Spec: corev1.PodSpec{SchedulerName: "kai-scheduler"}}
		}, gangsOf},
		"BoundPod": {(*state.Mirror).Pods, func(uid string) any {
			return &corev1.Pod{ObjectMeta: meta(uid), Spec: corev1.PodSpec{NodeName: "n"}}
		}, func(s *snapshot.Snapshot) (uids []string) {
			for _, p := range s.Nodes[0].Pods {
				uids = append(uids, p.UID)
			}
			return uids
		}},
		"RayCluster": {(*state.Mirror).RayClusters, func(uid string) any {
			return &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "x", UID: types.UID(uid), Labels: map[string]string{v1alpha1.QueueLabel: "q"}}}
		}, gangsOf},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for after, lost := range map[string]struct {
				tell func(h cache.ResourceEventHandler)
				want []string
			}{
				"Tombstone": {func(h cache.ResourceEventHandler) {
					h.OnDelete(cache.DeletedFinalStateUnknown{Key: "ml/x", Obj: c.object("1")})
				}, nil},
				"SameName": {func(h cache.ResourceEventHandler) { h.OnUpdate(c.object("1"), c.object("2")) }, []string{"2"}},
				"SameNameGone": {func(h cache.ResourceEventHandler) {
					h.OnUpdate(c.object("1"), c.object("2"))
					h.OnDelete(c.object("2"))
				}, nil},
			} {
				m := newMirror()
				m.Nodes().OnAdd(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n"}}, true)
				h := c.handler(m)
				h.OnAdd(c.object("1"), true)
				if diff := cmp.Diff([]string{"1"}, c.seen(m.Snapshot(noon))); diff != "" {
					t.Fatalf("before (-want +got):\n%s", diff)
				}
				lost.tell(h)
				if diff := cmp.Diff(lost.want, c.seen(m.Snapshot(noon))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", after, diff)
				}
			}
		})
	}
}

func gangsOf(s *snapshot.Snapshot) (uids []string) {
	for _, g := range s.Gangs {
		uids = append(uids, g.UID)
	}
	return uids
}
