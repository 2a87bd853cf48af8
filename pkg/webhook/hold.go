package webhook

import (
	"context"
	"encoding/json"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"gomodules.xyz/jsonpatch/v2"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Holder suspends RayJobs that are to wait for their turn without pods.
type Holder struct {
	// Holds says whether jobs of a queue with such annotations are to wait.
	Holds func(queue string, annotations map[string]string) bool
}

// RayJobs is the handler for RayJobs.
func (h *Holder) RayJobs() admission.Handler {
	ask := handler(func(_ context.Context, _ string, j *rayv1.RayJob) ([]jsonpatch.Operation, error) {
		return h.hold(j), nil
	})
	return admission.HandlerFunc(func(ctx context.Context, r admission.Request) admission.Response {
		out := ask.Handle(ctx, r)
		j := &rayv1.RayJob{}
		if json.Unmarshal(r.Object.Raw, j) == nil && h.holds(j) && !j.Spec.ShutdownAfterJobFinishes {
			return out.WithWarnings("capmgr does not hold this RayJob: KubeRay suspends only jobs with shutdownAfterJobFinishes: true")
		}
		return out
	})
}

func (h *Holder) holds(j *rayv1.RayJob) bool {
	queue := ray.Queue(j.Labels)
	return queue != "" && len(j.Spec.ClusterSelector) == 0 && h.Holds(queue, j.Annotations)
}

// hold suspends a job that is to wait. One that its user made suspended waits if he said so.
func (h *Holder) hold(j *rayv1.RayJob) (patch []jsonpatch.Operation) {
	if !h.holds(j) || !j.Spec.ShutdownAfterJobFinishes || j.Spec.Suspend && j.Annotations[v1alpha1.HoldAnnotation] != v1alpha1.HoldSuspend {
		return nil
	}
	if j.Annotations == nil {
		patch = append(patch, jsonpatch.NewOperation("add", "/metadata/annotations", map[string]string{}))
	}
	return append(patch,
		jsonpatch.NewOperation("add", "/metadata/annotations/capmgr.io~1suspension", string(snapshot.SuspendedUntilGranted)),
		jsonpatch.NewOperation("add", "/spec/suspend", true))
}
