package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// holdNodes makes other autoscalers keep the nodes that have come for a purchase: a gang's first nodes
// stand idle until the last is usable, and Karpenter removes idle nodes within seconds. Nodes whose
// purchase is over are let go.
func (e *Executor) holdNodes(ctx context.Context) {
	held := e.Mirror.Intents()
	want := map[string]string{}
	for _, a := range e.Mirror.Asks() {
		for _, node := range a.Came {
			want[node] = keyOf(a.Request)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(merged(held, want))) {
		if held[node] == want[node] {
			continue
		}
		e.once("hold "+node, func() {
			if err := e.hold(ctx, node, want[node]); err != nil && ctx.Err() == nil {
				e.Log.Info("Could not say whether a node is held; trying again", "node", node, "request", want[node], "reason", err.Error())
			}
		})
	}
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

// hold says on a node whom it is held for, or, with "", that it is not.
func (e *Executor) hold(ctx context.Context, name, request string) error {
	nodes := e.Kube.CoreV1().Nodes()
	n, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read node %s: %w", name, err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": n.ResourceVersion, "annotations": holdAnnotations(n, request)}})
	if err != nil {
		return fmt.Errorf("encode annotations of node %s: %w", name, err)
	}
	_, err = nodes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) { // changed since: the next decision tries again
		return fmt.Errorf("annotate node %s: %w", name, err)
	}
	return nil
}

// holdAnnotations are the changes that hold a node or let it go. What somebody else has put there is
// not capmgr's to take off.
func holdAnnotations(n *corev1.Node, request string) map[string]any {
	own := strings.FieldsFunc(n.Annotations[v1alpha1.HoldsAnnotation], func(r rune) bool { return r == ',' })
	if request == "" {
		change := map[string]any{v1alpha1.IntentAnnotation: nil, v1alpha1.HoldsAnnotation: nil}
		for _, key := range own {
			change[key] = nil
		}
		return change
	}
	change := map[string]any{v1alpha1.IntentAnnotation: request}
	for _, key := range []string{v1alpha1.ScaleDownDisabledAnnotation, v1alpha1.DoNotDisruptAnnotation} {
		if _, there := n.Annotations[key]; !there {
			change[key] = "true"
			own = append(own, key)
		}
	}
	change[v1alpha1.HoldsAnnotation] = strings.Join(own, ",")
	return change
}
