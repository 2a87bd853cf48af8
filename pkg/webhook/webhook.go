// Package webhook answers the API server's questions about objects of Ray's that are being made: it
// stamps scheduler and queue on pods that KubeRay makes, from the object that controls them, and
// suspends jobs that are to wait for their turn.
//
// It is a convenience, not a guard. The API server goes on without it when it does not answer, so what
// it stamps is looked up again by whoever decides: a gang's queue is its owner's, whatever a pod says.
package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"gomodules.xyz/jsonpatch/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
)

// Paths at which the API server asks.
const (
	PodsPath    = "/pods"
	JobsPath    = "/jobs"
	RayJobsPath = "/rayjobs"
)

// Lookup reads an object of Ray's by kind, namespace and name; nil when there is none.
type Lookup func(ctx context.Context, kind, namespace, name string) (*metav1.PartialObjectMetadata, error)

// Stamper answers for pods that a RayCluster controls, and for Jobs that a RayJob controls.
type Stamper struct {
	Lookup    Lookup
	Scheduler string // that is stamped
}

// Pods is the handler for pods.
func (s *Stamper) Pods() admission.Handler {
	return handler(func(ctx context.Context, namespace string, p *corev1.Pod) ([]jsonpatch.Operation, error) {
		queue, err := s.queueOf(ctx, namespace, p, "RayCluster")
		if queue == "" || err != nil {
			return nil, err
		}
		return s.stamp("", &p.ObjectMeta, &p.Spec, queue), nil
	})
}

// Jobs is the handler for Jobs: the pod that submits a RayJob's job is made from such a one's template.
func (s *Stamper) Jobs() admission.Handler {
	return handler(func(ctx context.Context, namespace string, j *batchv1.Job) ([]jsonpatch.Operation, error) {
		queue, err := s.queueOf(ctx, namespace, j, "RayJob")
		if queue == "" || err != nil {
			return nil, err
		}
		return s.stamp("/spec/template", &j.Spec.Template.ObjectMeta, &j.Spec.Template.Spec, queue), nil
	})
}

// queueOf is the queue of the object that controls another, when that object exists with the UID that
// is named; "" when there is none, or it names no queue.
func (s *Stamper) queueOf(ctx context.Context, namespace string, o metav1.Object, kind string) (string, error) {
	ref := metav1.GetControllerOf(o)
	if ref == nil || ref.Kind != kind || !ofRay(ref.APIVersion) {
		return "", nil
	}
	owner, err := s.Lookup(ctx, kind, namespace, ref.Name)
	if err != nil {
		return "", fmt.Errorf("look up %s %s/%s: %w", kind, namespace, ref.Name, err)
	}
	if owner == nil || owner.UID != ref.UID {
		return "", nil
	}
	return ray.Queue(owner.Labels), nil
}

func ofRay(apiVersion string) bool {
	return apiVersion == "ray.io/v1" || apiVersion == "ray.io/v1alpha1"
}

// stamp names scheduler and queue on a pod, unless somebody has chosen another scheduler for it.
func (s *Stamper) stamp(at string, m *metav1.ObjectMeta, spec *corev1.PodSpec, queue string) (patch []jsonpatch.Operation) {
	if spec.SchedulerName != "" && spec.SchedulerName != corev1.DefaultSchedulerName && spec.SchedulerName != s.Scheduler {
		return nil
	}
	if spec.SchedulerName != s.Scheduler {
		patch = append(patch, jsonpatch.NewOperation("add", at+"/spec/schedulerName", s.Scheduler))
	}
	if m.Labels[v1alpha1.QueueLabel] == queue {
		return patch
	}
	if m.Labels == nil {
		if at != "" { // a template's metadata may be missing as a whole
			patch = append(patch, jsonpatch.NewOperation("add", at+"/metadata", withoutLabels(m)))
		}
		patch = append(patch, jsonpatch.NewOperation("add", at+"/metadata/labels", map[string]string{}))
	}
	return append(patch, jsonpatch.NewOperation("add", at+"/metadata/labels/kai.scheduler~1queue", queue))
}

// withoutLabels is what a template without labels may have.
func withoutLabels(m *metav1.ObjectMeta) map[string]any {
	out := map[string]any{}
	if m.Name != "" {
		out["name"] = m.Name
	}
	if len(m.Annotations) > 0 {
		out["annotations"] = m.Annotations
	}
	return out
}

// handler makes a handler out of what to change about an object. It is changed by patch, in what is
// meant and nothing else: it may have fields that this program does not know.
func handler[T any](change func(ctx context.Context, namespace string, o *T) ([]jsonpatch.Operation, error)) admission.Handler {
	return admission.HandlerFunc(func(ctx context.Context, r admission.Request) admission.Response {
		o := new(T)
		if err := json.Unmarshal(r.Object.Raw, o); err != nil {
			return admission.Errored(http.StatusBadRequest, fmt.Errorf("read the object under review: %w", err))
		}
		patch, err := change(ctx, r.Namespace, o)
		switch {
		case err != nil:
			return admission.Errored(http.StatusInternalServerError, err)
		case len(patch) == 0:
			return admission.Allowed("")
		}
		return admission.Patched("", patch...)
	})
}
