package state_test

import (
	"fmt"
	"testing"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/state"
)

// torn is what a fresh process finds: a RayCluster that asks for some workers, of which some are bound.
func torn(m *state.Mirror, workers, bound int32, minimum string, more ...string) {
	rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "train", UID: "train"}}
	for _, name := range append([]string{"w"}, more...) {
		rc.Spec.WorkerGroupSpecs = append(rc.Spec.WorkerGroupSpecs, rayv1.WorkerGroupSpec{GroupName: name, Replicas: &workers})
	}
	m.RayClusters().OnAdd(rc, true)
	member := func(group string, k int32, node string) {
		yes := true
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprint(group, k), UID: types.UID(fmt.Sprint(group, k)), Labels: map[string]string{ray.GroupLabel: group},
			OwnerReferences: []metav1.OwnerReference{{Kind: "RayCluster", Name: "train", UID: "train", Controller: &yes}}},
			Spec: corev1.PodSpec{SchedulerName: "kai-scheduler", NodeName: node}}
		if node != "" && minimum != "" {
			p.Annotations = map[string]string{v1alpha1.BoundMinimumAnnotation: minimum}
		}
		m.Pods().OnAdd(p, true)
	}
	member(ray.HeadGroup, 0, "n")
	for _, g := range rc.Spec.WorkerGroupSpecs {
		for k := range workers {
			node := ""
			if k < bound && g.GroupName == "w" {
				node = "n"
			}
			member(g.GroupName, k, node)
		}
	}
}

func TestAGangInPartAfterARestart(t *testing.T) {
	cases := map[string]struct {
		reason         string
		workers, bound int32
		minimum        string
		more           []string
		short          bool
		least          map[string]int
	}{
		"HalfBound":   {"the predecessor died while it bound", 4, 2, "headgroup=1,w=4", nil, true, map[string]int{"w": 4}},
		"Grown":       {"it runs with all that it was bound with; the spec asks for more by now", 4, 2, "headgroup=1,w=2", nil, false, map[string]int{"w": 2}},
		"GrownAndCut": {"it grew, and has fewer than it started with", 4, 1, "headgroup=1,w=2", nil, true, map[string]int{"w": 2}},
		"Shrunk":      {"the spec asks for less than it was bound with", 2, 2, "headgroup=1,w=4", nil, false, map[string]int{"w": 2}},
		"NewGroup":    {"a group was added to the spec while it ran", 2, 2, "headgroup=1,w=2", []string{"x"}, false, map[string]int{"w": 2, "x": 0}},
		"Foreign":     {"somebody else bound it; nobody knows what it needed", 4, 2, "", nil, false, map[string]int{"w": 4}},
		"Nonsense":    {"somebody wrote on the pods", 4, 2, "w=many", nil, false, map[string]int{"w": 4}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := newMirror()
			torn(m, c.workers, c.bound, c.minimum, c.more...)
			g := m.Snapshot(noon).Gangs[0]
			if !g.ShortSince.Equal(noon) && c.short || !g.ShortSince.IsZero() && !c.short {
				t.Errorf("%s: short since %v", c.reason, g.ShortSince)
			}
			for _, grp := range g.Groups {
				if want, ok := c.least[grp.Name]; ok && grp.Min != want {
					t.Errorf("%s: group %s needs %d, want %d", c.reason, grp.Name, grp.Min, want)
				}
			}
			if later := m.Snapshot(noon.Add(time.Minute)).Gangs[0]; later.ShortSince != g.ShortSince {
				t.Errorf("%s: short since %v, and a minute later since %v", c.reason, g.ShortSince, later.ShortSince)
			}
		})
	}
}
