package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

// terminate gives named instances of one group back, in the background.
func (e *Executor) terminate(ctx context.Context, group string, steps []plan.TerminateNode) {
	for _, s := range steps {
		e.once("terminate "+s.Instance, func() {
			if err := e.terminateOne(ctx, group, s); err != nil && ctx.Err() == nil {
				e.Log.Error(err, "Could not give back a node", "instance", s.Instance, "node", s.Node, "nodeGroup", group)
			}
		})
	}
}

// terminateOne ends an instance, unless its node got work or it came to be a node at the last moment.
func (e *Executor) terminateOne(ctx context.Context, group string, s plan.TerminateNode) error {
	g := e.Mirror.GroupOf(group)
	if g == nil {
		return fmt.Errorf("terminate %s: node group %s is not configured any more", s.Instance, group)
	}
	if s.Node == "" && e.Mirror.NodeOf(s.Instance) != "" {
		return nil
	}
	ended, err := e.end(ctx, g, s.Instance, s.Node)
	if err != nil || !ended {
		return err
	}
	e.Log.Info("Gave back a node", "node", s.Node, "instance", s.Instance, "nodeGroup", group, "reason", s.Because)
	if s.Node != "" {
		e.Mirror.NoteReleased(group, e.Now())
		e.event(plan.Owner{APIVersion: "v1", Kind: "Node", Name: s.Node, UID: s.Node}, "Normal", "NodeReleased",
			fmt.Sprintf("Terminated instance %s: %s", s.Instance, s.Because))
	}
	if err := e.Observe(ctx); err != nil {
		return fmt.Errorf("observe after terminating %s: %w", s.Instance, err)
	}
	return nil
}

// end closes the node to new pods, looks again whether it is empty, and only then ends the instance. A
// pod that arrived before the taint cancels it: then ended is false. Without a node there is nothing to
// close.
func (e *Executor) end(ctx context.Context, g *v1alpha1.NodeGroup, instance, node string) (ended bool, err error) {
	if node != "" {
		e.Mirror.AssumeDraining(node, true)
		if err := e.taint(ctx, node); err != nil {
			// The answer may be what was lost: closed and forgotten, the node would be of no use to anyone.
			return false, e.reopen(ctx, node, fmt.Errorf("terminate %s: %w", instance, err))
		}
		if who, err := e.occupied(ctx, node); err != nil || who != "" {
			if err == nil {
				e.Log.Info("Kept a node that is wanted at the last moment", "node", node, "by", who)
			}
			return false, e.reopen(ctx, node, err)
		}
	}
	if err := e.Providers[g.Provider].Terminate(ctx, state.GroupConfig(*g), []string{instance}); err != nil {
		return false, e.reopen(ctx, node, fmt.Errorf("terminate %s of %s: %w", instance, g.Name, err))
	}
	return true, nil
}

// occupied says what keeps the node, read from the API server itself, or "": a pod, or a wish to be left
// alone, of the node or of a pod of its own.
func (e *Executor) occupied(ctx context.Context, node string) (string, error) {
	n, err := e.Kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read node %s: %w", node, err)
	case state.Protected(n) != "":
		return state.Protected(n), nil
	}
	pods, err := e.Kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return "", fmt.Errorf("list pods of node %s: %w", node, err)
	}
	for _, p := range pods.Items {
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if over || state.Resident(&p) && p.Annotations[v1alpha1.DoNotDisruptAnnotation] != "true" {
			continue
		}
		return "pod " + p.Namespace + "/" + p.Name, nil
	}
	return "", nil
}

// reopen takes the taint off again and returns the reason for it.
func (e *Executor) reopen(ctx context.Context, node string, because error) error {
	if node == "" {
		return because
	}
	for pace := again; ; {
		err := e.untaint(ctx, node)
		if err == nil {
			e.Mirror.AssumeDraining(node, false)
			return because
		}
		e.Log.Info("Opening a node again failed; trying again", "node", node, "reason", err.Error())
		if !sleep(ctx, pace.Step()) {
			return because // a successor opens what it finds closed
		}
	}
}

// ReopenDraining takes the draining taint off every node that carries it: at the start, no
// termination of ours is under way, so such a node was left by a predecessor.
func (e *Executor) ReopenDraining(ctx context.Context) error {
	for _, node := range e.Mirror.DrainingNodes() {
		if err := e.untaint(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

func (e *Executor) taint(ctx context.Context, node string) error {
	return e.changeTaints(ctx, node, func(taints []corev1.Taint) []corev1.Taint {
		return append(taints, corev1.Taint{Key: v1alpha1.DrainingTaint, Effect: corev1.TaintEffectNoSchedule})
	})
}

func (e *Executor) untaint(ctx context.Context, node string) error {
	return e.changeTaints(ctx, node, func(taints []corev1.Taint) []corev1.Taint { return taints })
}

// changeTaints replaces the list of taints under a resource version: the list is atomic, and other
// controllers write it too. change gets the list without capmgr's own taint.
func (e *Executor) changeTaints(ctx context.Context, node string, change func([]corev1.Taint) []corev1.Taint) error {
	nodes := e.Kube.CoreV1().Nodes()
	for range 5 {
		n, err := nodes.Get(ctx, node, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read node %s: %w", node, err)
		}
		others := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Key == v1alpha1.DrainingTaint })
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": n.ResourceVersion},
			"spec":     map[string]any{"taints": change(others)},
		})
		if err != nil {
			return fmt.Errorf("encode taints of node %s: %w", node, err)
		}
		_, err = nodes.Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("change taints of node %s: %w", node, err)
		}
	}
	return fmt.Errorf("change taints of node %s: others kept changing it", node)
}
