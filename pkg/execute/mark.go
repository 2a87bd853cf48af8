package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
)

// mark puts on the pods of a request, before anything is asked for, what tells another autoscaler
// whose nodes they will use. Those that are bound or gone need none.
func (e *Executor) mark(ctx context.Context, r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest) error {
	d := e.delegate(n.NodeGroup)
	if d == nil {
		return nil
	}
	annotations := d.Annotations(e.launchRequest(r, n))
	for _, ref := range n.Pods {
		pod := e.Mirror.Pod(ref.UID)
		if len(annotations) == 0 || pod == nil || carries(pod.Annotations, annotations) {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": ref.UID, "annotations": annotations}})
		if err != nil {
			return fmt.Errorf("encode annotations of pod %s: %w", ref.Name, err)
		}
		_, err = e.Kube.CoreV1().Pods(r.Namespace).Patch(ctx, ref.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err): // another pod by now, or none
		case refused([]error{err}):
			return fmt.Errorf("annotate pod %s/%s: %w: %w", r.Namespace, ref.Name, cloud.ErrRejected, err)
		default:
			return fmt.Errorf("annotate pod %s/%s: %w: %w", r.Namespace, ref.Name, cloud.ErrUnknownOutcome, err)
		}
	}
	return nil
}

// unmark takes off what mark put on pods that still wait, unless a later request has put its own there.
func (e *Executor) unmark(ctx context.Context, d cloud.Delegate, r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest) error {
	annotations := d.Annotations(e.launchRequest(r, n))
	for _, ref := range n.Pods {
		pod := e.Mirror.Pod(ref.UID)
		if len(annotations) == 0 || pod == nil || !carries(pod.Annotations, annotations) {
			continue
		}
		var ops []map[string]string
		for _, key := range slices.Sorted(maps.Keys(annotations)) {
			path := "/metadata/annotations/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
			ops = append(ops, map[string]string{"op": "test", "path": path, "value": annotations[key]}, map[string]string{"op": "remove", "path": path})
		}
		patch, err := json.Marshal(ops)
		if err != nil {
			return fmt.Errorf("encode annotations of pod %s: %w", ref.Name, err)
		}
		_, err = e.Kube.CoreV1().Pods(r.Namespace).Patch(ctx, ref.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) { // invalid: the test did not hold
			return fmt.Errorf("take the annotations off pod %s/%s: %w", r.Namespace, ref.Name, err)
		}
	}
	return nil
}

func carries(has, want map[string]string) bool {
	for key, value := range want {
		if got, there := has[key]; !there || got != value {
			return false
		}
	}
	return true
}
