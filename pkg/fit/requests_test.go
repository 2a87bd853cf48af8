package fit

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func TestRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	wants := func(amounts ...string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: resourceList(amounts...)}
	}
	cases := map[string]struct {
		reason string
		spec   corev1.PodSpec
		status corev1.PodStatus
		want   snapshot.Resources
	}{
		"Nothing": {reason: "a pod may ask for nothing", spec: corev1.PodSpec{Containers: []corev1.Container{{}}}},
		"Sum": {
			reason: "containers run together",
			spec: corev1.PodSpec{Containers: []corev1.Container{
				{Resources: wants("cpu", "1500m", "memory", "1Gi", "nvidia.com/gpu", "2")}, {Resources: wants("cpu", "1")},
			}},
			want: snapshot.Resources{MilliCPU: 2500, Memory: 1 << 30, MilliGPU: 2000},
		},
		"KubeRayInit": {
			reason: "the container that waits for the head runs before the worker, not beside it",
			spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{Name: "wait-gcs-ready", Resources: wants("cpu", "200m", "memory", "256Mi")}},
				Containers:     []corev1.Container{{Resources: wants("cpu", "4", "memory", "16Gi", "nvidia.com/gpu", "1")}},
			},
			want: snapshot.Resources{MilliCPU: 4000, Memory: 16 << 30, MilliGPU: 1000},
		},
		"LargeInit": {
			reason: "initialization that asks for more is what must fit",
			spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{Resources: wants("cpu", "6", "memory", "1Gi")}},
				Containers:     []corev1.Container{{Resources: wants("cpu", "4", "memory", "2Gi")}},
			},
			want: snapshot.Resources{MilliCPU: 6000, Memory: 2 << 30},
		},
		"Sidecar": {
			reason: "a sidecar is an init container that stays",
			spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{RestartPolicy: &always, Resources: wants("cpu", "1")}, {Resources: wants("cpu", "2")}},
				Containers:     []corev1.Container{{Resources: wants("cpu", "1")}},
			},
			want: snapshot.Resources{MilliCPU: 3000},
		},
		"Overhead": {
			reason: "the runtime's share",
			spec:   corev1.PodSpec{Containers: []corev1.Container{{Resources: wants("cpu", "1")}}, Overhead: resourceList("cpu", "250m", "memory", "128Mi")},
			want:   snapshot.Resources{MilliCPU: 1250, Memory: 128 << 20},
		},
		"OtherDevices": {
			reason: "only NVIDIA's whole devices are counted as GPUs",
			spec:   corev1.PodSpec{Containers: []corev1.Container{{Resources: wants("amd.com/gpu", "1", "nvidia.com/mig-1g.5gb", "1")}}},
		},
		"PodLevel": {
			reason: "an amount for the pod as a whole replaces the sum",
			spec: corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: resourceList("cpu", "8")},
				Containers: []corev1.Container{{Resources: wants("cpu", "1", "memory", "1Gi")}},
			},
			want: snapshot.Resources{MilliCPU: 8000, Memory: 1 << 30},
		},
		"Resizing": {
			reason: "while it shrinks in place it still holds what it had",
			spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: wants("cpu", "1")}}},
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				Name: "c", Resources: &corev1.ResourceRequirements{Requests: resourceList("cpu", "3")}, AllocatedResources: resourceList("cpu", "3"),
			}}},
			want: snapshot.Resources{MilliCPU: 3000},
		},
		"Absurd": {
			reason: "sums of thousands of such pods must not wrap around",
			spec:   corev1.PodSpec{Containers: []corev1.Container{{Resources: wants("cpu", "9E", "memory", "9E", "nvidia.com/gpu", "9E")}, {Resources: wants("cpu", "9E", "memory", "9E")}}},
			want:   snapshot.Resources{MilliCPU: most, Memory: most, MilliGPU: most},
		},
		"Negative": {
			reason: "the API server refuses it; it must not make room either",
			spec:   corev1.PodSpec{Containers: []corev1.Container{{Resources: wants("cpu", "-1", "memory", "-1Gi")}}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Requests(&corev1.Pod{Spec: tc.spec, Status: tc.status}); got != tc.want {
				t.Errorf("\n%s\nRequests: got %+v, want %+v", tc.reason, got, tc.want)
			}
		})
	}
}
