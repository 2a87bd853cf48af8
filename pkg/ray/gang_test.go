package ray

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func cluster(annotation string, autoscaled bool, groups ...rayv1.WorkerGroupSpec) *rayv1.RayCluster {
	rc := &rayv1.RayCluster{Spec: rayv1.RayClusterSpec{WorkerGroupSpecs: groups}}
	rc.ObjectMeta = metav1.ObjectMeta{Name: "c"}
	if annotation != "" {
		rc.Annotations = map[string]string{v1alpha1.MinReplicasAnnotation: annotation}
	}
	if autoscaled {
		rc.Spec.EnableInTreeAutoscaling = ptr.To(true)
	}
	return rc
}

func group(replicas, floor, ceiling *int32, hosts int32) rayv1.WorkerGroupSpec {
	return rayv1.WorkerGroupSpec{GroupName: "w", Replicas: replicas, MinReplicas: floor, MaxReplicas: ceiling, NumOfHosts: hosts}
}

func TestGroups(t *testing.T) {
	type counts struct{ Min, Want int }
	n := func(v int32) *int32 { return &v }
	cases := map[string]struct {
		reason string
		in     *rayv1.RayCluster
		want   counts
	}{
		"FixedCluster":      {"minReplicas 0 without autoscaling: all replicas start together", cluster("", false, group(n(4), n(0), n(10), 1)), counts{4, 4}},
		"Minimum":           {"minReplicas says how few are enough", cluster("", false, group(n(4), n(2), n(10), 1)), counts{2, 4}},
		"Autoscaled":        {"with Ray's autoscaler, minReplicas 0 means no minimum", cluster("", true, group(n(3), n(0), n(10), 1)), counts{0, 3}},
		"AutoscaledMinimum": {"with Ray's autoscaler a set minimum holds", cluster("", true, group(n(3), n(1), n(10), 1)), counts{1, 3}},
		"Clamped":           {"KubeRay clamps replicas to the bounds", cluster("", false, group(n(9), n(1), n(5), 1)), counts{1, 5}},
		"RaisedToMinimum":   {"replicas below minReplicas are raised, not refused", cluster("", false, group(n(1), n(3), n(5), 1)), counts{3, 3}},
		"MultiHost":         {"a replica of several hosts is that many pods", cluster("", false, group(n(2), n(1), n(5), 4)), counts{4, 8}},
		"Annotation":        {"the annotation overrides minReplicas", cluster("w=1", false, group(n(4), n(2), n(5), 1)), counts{1, 4}},
		"AnnotationAbove":   {"the annotation never asks for more than the spec", cluster("w=9", false, group(n(4), n(2), n(5), 1)), counts{4, 4}},
		"NilFields":         {"unset bounds read as the CRD's defaults", cluster("", false, group(n(2), nil, nil, 0)), counts{2, 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			groups, err := Groups(c.in, func(*corev1.Pod) snapshot.Resources { return snapshot.Resources{MilliCPU: 1} })
			if err != nil {
				t.Fatal(err)
			}
			if len(groups) != 2 || groups[0].Name != HeadGroup || groups[0].Min != 1 {
				t.Fatalf("the head comes first: %+v", groups)
			}
			if diff := cmp.Diff(c.want, counts{groups[1].Min, groups[1].Want}); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", c.reason, diff)
			}
		})
	}
}

func TestGroupsSuspendedGroup(t *testing.T) {
	w := group(ptr.To[int32](4), ptr.To[int32](2), nil, 1)
	w.Suspend = ptr.To(true)
	groups, err := Groups(cluster("", false, w), func(*corev1.Pod) snapshot.Resources { return snapshot.Resources{} })
	if err != nil || groups[1].Min != 0 || groups[1].Want != 0 {
		t.Errorf("a suspended group (RayJob's DeleteWorkers) needs no pods: %+v, %v", groups, err)
	}
}

func TestGroupsBadAnnotation(t *testing.T) {
	for _, text := range []string{"w", "w=", "=1", "w=-1", "w=1,w=2", "other=1", "w=1,"} {
		_, err := Groups(cluster(text, false, group(ptr.To[int32](4), nil, nil, 1)), func(*corev1.Pod) snapshot.Resources { return snapshot.Resources{} })
		if err == nil || !strings.Contains(err.Error(), v1alpha1.MinReplicasAnnotation) {
			t.Errorf("%q: want an error that names the annotation, got %v", text, err)
		}
	}
}

func FuzzMinReplicas(f *testing.F) {
	f.Add("w=1,x=2")
	f.Add("=,=")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseCounts(text)
		for name, n := range m {
			if err == nil && (name == "" || n < 0) {
				t.Errorf("%q gave %q=%d", text, name, n)
			}
		}
	})
}
