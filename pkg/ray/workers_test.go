package ray

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestTheWishIsTheUsers(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	type wish struct{ Replicas, Wish, Most, Ceiling int }
	cases := map[string]struct {
		reason      string
		group       rayv1.WorkerGroupSpec
		annotations map[string]string
		want        wish
	}{
		"Untouched":  {"nobody but the user wrote", group(n(4), n(1), n(8), 1), nil, wish{4, 4, 8, 8}},
		"Lowered":    {"what the spec has is capmgr's, the wish is remembered", group(n(2), n(1), n(8), 1), map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"replicas":2}}`, v1alpha1.DesiredReplicasAnnotation: "w=4"}, wish{2, 4, 8, 8}},
		"Reverted":   {"somebody wrote over it: that is the latest word", group(n(6), n(1), n(8), 1), map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"replicas":2}}`, v1alpha1.DesiredReplicasAnnotation: "w=4"}, wish{6, 6, 8, 8}},
		"Restored":   {"capmgr granted all, nothing is remembered", group(n(4), n(1), n(8), 1), map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"replicas":4}}`}, wish{4, 4, 8, 8}},
		"Forged":     {"a remembered wish without a record is the user's text, not capmgr's", group(n(2), n(1), n(8), 1), map[string]string{v1alpha1.DesiredReplicasAnnotation: "w=4"}, wish{2, 2, 8, 8}},
		"Governed":   {"the ceiling is capmgr's, the user's own is remembered", group(n(2), n(1), n(3), 1), map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"maxReplicas":3}}`, v1alpha1.DesiredMaxReplicasAnnotation: "w=8"}, wish{2, 2, 3, 8}},
		"OutOfRange": {"a wish is within the user's own bounds", group(n(9), n(1), n(5), 1), nil, wish{9, 5, 5, 5}},
		"Unset":      {"unset bounds read as the CRD's defaults", group(n(1), nil, nil, 0), nil, wish{1, 1, math.MaxInt32, math.MaxInt32}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			rc := cluster("", false, tc.group)
			rc.Annotations = tc.annotations
			got, err := WorkersOf(rc)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, wish{got[0].Replicas, got[0].Wish, got[0].Most, got[0].Ceiling}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestALoweredClusterKeepsItsMinimum(t *testing.T) {
	rc := cluster("", false, group(ptr.To[int32](2), ptr.To[int32](0), ptr.To[int32](8), 1))
	rc.Annotations = map[string]string{v1alpha1.WorkersAnnotation: `{"w":{"replicas":2}}`, v1alpha1.DesiredReplicasAnnotation: "w=4"}
	groups, err := Groups(rc, fit.Requests)
	if err != nil || groups[1].Min != 4 {
		t.Errorf("who asks for a fixed cluster of 4 expects 4, whatever the spec has by now: %+v, %v", groups, err)
	}
}

func TestBadRecordsAreNamed(t *testing.T) {
	for annotation, text := range map[string]string{
		v1alpha1.WorkersAnnotation: "{", v1alpha1.DesiredReplicasAnnotation: "w", v1alpha1.DesiredMaxReplicasAnnotation: "=1",
	} {
		rc := cluster("", false, group(ptr.To[int32](4), nil, nil, 1))
		rc.Annotations = map[string]string{annotation: text}
		if _, err := Groups(rc, fit.Requests); err == nil || !strings.Contains(err.Error(), annotation) {
			t.Errorf("%s: %q: want an error that names it, got %v", annotation, text, err)
		}
	}
}

func TestNamedAreThoseStillInTheList(t *testing.T) {
	rc := cluster("", false, group(ptr.To[int32](1), nil, nil, 1))
	rc.Spec.WorkerGroupSpecs[0].ScaleStrategy.WorkersToDelete = []string{"theirs", "ours"}
	rc.Annotations = map[string]string{v1alpha1.WorkersAnnotation: Record{"w": {Named: []string{"gone", "ours"}}}.String()}
	got, err := WorkersOf(rc)
	if err != nil || !cmp.Equal(got[0].Named, []string{"ours"}) || len(got[0].ToDelete) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSomebodyElseIsWrittenOverOnce(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var c Contention
	write := func(after time.Duration) { now = now.Add(after); c = c.Noticed("argocd", "replicas", now) }
	open := func(want time.Duration, why string) {
		t.Helper()
		if c.Open(now) != (want > 0) || c.Open(now.Add(want)) || want > 0 && !c.Open(now.Add(want-time.Second)) {
			t.Errorf("%s: %+v at %s, want a pause of %s", why, c, now, want)
		}
	}
	write(0)
	open(0, "the first may be a new wish")
	write(time.Minute)
	open(5*time.Minute, "the second is a contest")
	write(5 * time.Minute)
	open(0, "after the pause one write over theirs")
	write(time.Minute)
	open(10*time.Minute, "and they are at it still")
	c = ReadContention(map[string]string{v1alpha1.ContentionAnnotation: c.String()})
	open(10*time.Minute, "a restart forgets nothing")
	write(3 * time.Hour)
	open(0, "long ago is forgotten")
	for range 20 {
		write(time.Minute)
	}
	if c.Until.Sub(now) > time.Hour {
		t.Errorf("gives way for %s, want an hour at most", c.Until.Sub(now))
	}
}

func TestHosts(t *testing.T) {
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), "nvidia.com/gpu": resource.MustParse("2")}
	shape := func(cpus, gpus, memory int64) demand.Shape {
		return demand.Shape{Resources: snapshot.Resources{MilliCPU: 1000 * cpus, MilliGPU: 1000 * gpus, Memory: memory}}
	}
	custom := shape(4, 2, 8<<30)
	custom.Custom = []demand.Custom{{Name: "license", Milli: 1500}}
	custom.Accelerator = "A10G"
	cases := map[string]struct {
		reason string
		change func(*rayv1.WorkerGroupSpec)
		want   demand.Shape
	}{
		"Limits": {"the container's limits", func(*rayv1.WorkerGroupSpec) {}, shape(4, 2, 8<<30)},
		"Requests": {"a CPU request counts where there is no limit, a memory request does not", func(g *rayv1.WorkerGroupSpec) {
			r := &g.Template.Spec.Containers[0].Resources
			r.Requests, r.Limits = limits, nil
		}, shape(4, 0, 0)},
		"Params": {"start parameters win", func(g *rayv1.WorkerGroupSpec) { g.RayStartParams = map[string]string{"num-cpus": "1", "num-gpus": "0"} }, shape(1, 0, 8<<30)},
		"Custom": {"custom resources in the shell's quotes", func(g *rayv1.WorkerGroupSpec) {
			g.RayStartParams = map[string]string{"resources": `'"{\"license\": 1.5, \"accelerator_type:A10G\": 1}"'`}
		}, custom},
		"Resources": {"the group's own resources win over all", func(g *rayv1.WorkerGroupSpec) {
			g.Resources = map[string]string{"CPU": "3", "nvidia.com/gpu": "1", "memory": "1Gi"}
		}, shape(3, 1, 1<<30)},
		"Nonsense": {"what cannot be read counts for nothing", func(g *rayv1.WorkerGroupSpec) {
			g.RayStartParams = map[string]string{"num-cpus": "x", "num-gpus": "-1", "resources": "{"}
		}, shape(0, 0, 8<<30)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := group(ptr.To[int32](1), nil, nil, 1)
			g.Template.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: limits}}}
			tc.change(&g)
			got, _ := HostOf(cluster("", false, g), 0)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// What KubeRay adds to pods counts: a gang whose head is too large by a sidecar would never start.
func TestTemplatesHaveWhatKubeRayAdds(t *testing.T) {
	g := group(ptr.To[int32](1), nil, nil, 1)
	g.Template.Spec.Containers = []corev1.Container{{Name: "ray"}}
	rc := cluster("", true, g)
	rc.Spec.HeadGroupSpec.Template.Spec.Containers = []corev1.Container{{Name: "ray"}}
	groups, err := Groups(rc, fit.Requests)
	if err != nil {
		t.Fatal(err)
	}
	if got := groups[0].Request; got.MilliCPU != 500 || got.Memory != 512<<20 {
		t.Errorf("the head with its autoscaler asks for %s", got)
	}
	if got := groups[1].Request; got.MilliCPU != 200 || got.Memory != 256<<20 {
		t.Errorf("a worker that waits for the head asks for %s", got)
	}
	if l := groups[1].Template.Object.Labels; l[GroupLabel] != "w" || l[NodeTypeLabel] != "worker" || l[ClusterLabel] != "c" {
		t.Errorf("labels %v", l)
	}
}
