package fakeaws

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	nodeclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// KubeNodes keeps nodes in a cluster whose nodes KWOK plays. It tries again, with growing pauses, for
// as long as the API server does not answer; only what the API server calls invalid is given up.
type KubeNodes struct {
	nodes nodeclient.NodeInterface
	clock Clock
	log   *slog.Logger
	// Pauses between tries grow from first to longest. A try itself lasts at most timeout, because a
	// stopped API server may leave connections open that nobody answers on.
	first, longest, timeout time.Duration
}

// NewKubeNodes returns Nodes for the cluster that client talks to.
func NewKubeNodes(client kubernetes.Interface, clock Clock, log *slog.Logger) *KubeNodes {
	return &KubeNodes{
		nodes: client.CoreV1().Nodes(), clock: clock, log: log,
		first: 100 * time.Millisecond, longest: 3 * time.Second, timeout: 10 * time.Second,
	}
}

// Join implements Nodes. A node of the same name that stands for another instance is a leftover of an
// earlier server and is replaced.
func (k *KubeNodes) Join(ctx context.Context, instance Instance) error {
	node := newNode(instance)
	return k.retry(ctx, "create node "+node.Name, func(ctx context.Context) error {
		_, err := k.nodes.Create(ctx, node, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		present, err := k.nodes.Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil || present.Spec.ProviderID == node.Spec.ProviderID {
			return err
		}
		if err := k.delete(ctx, present); err != nil {
			return err
		}
		_, err = k.nodes.Create(ctx, node, metav1.CreateOptions{})
		return err
	})
}

// AdvertiseGPUs implements Nodes. A node that somebody has deleted meanwhile stays deleted, as a
// running kubelet would leave it.
func (k *KubeNodes) AdvertiseGPUs(ctx context.Context, instance Instance) error {
	return k.retry(ctx, "advertise GPUs of node "+instance.NodeName, func(ctx context.Context) error {
		if err := k.patchGPUs(ctx, instance); err != nil {
			return ignoreNotFound(err)
		}
		// The taint goes last: it promises that the GPUs are there.
		return ignoreNotFound(k.dropStartupTaint(ctx, instance))
	})
}

// Leave implements Nodes. It does not touch a node that stands for another instance.
func (k *KubeNodes) Leave(ctx context.Context, instance Instance) error {
	return k.retry(ctx, "delete node "+instance.NodeName, func(ctx context.Context) error {
		present, err := k.nodes.Get(ctx, instance.NodeName, metav1.GetOptions{})
		if err != nil || present.Spec.ProviderID != instance.ProviderID() {
			return ignoreNotFound(err)
		}
		return k.delete(ctx, present)
	})
}

// delete removes exactly this node, not one that took its name since it was read.
func (k *KubeNodes) delete(ctx context.Context, node *corev1.Node) error {
	return ignoreNotFound(k.nodes.Delete(ctx, node.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &node.UID}}))
}

func (k *KubeNodes) patchGPUs(ctx context.Context, instance Instance) error {
	if instance.Node.Shape.GPUs == 0 {
		return nil
	}
	gpus := map[string]string{gpuResource: fmt.Sprint(instance.Node.Shape.GPUs)}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": gpus, "allocatable": gpus}})
	if err != nil {
		return err
	}
	_, err = k.nodes.Patch(ctx, instance.NodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

func (k *KubeNodes) dropStartupTaint(ctx context.Context, instance Instance) error {
	startup := instance.Node.StartupTaint
	if startup == nil {
		return nil
	}
	node, err := k.nodes.Get(ctx, instance.NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	kept := []corev1.Taint{}
	for _, t := range node.Spec.Taints {
		if !t.MatchTaint(startup) {
			kept = append(kept, t)
		}
	}
	if len(kept) == len(node.Spec.Taints) {
		return nil
	}
	// The whole list is written, so nobody may have changed it since it was read: the version makes
	// that a conflict, and a conflict is tried again.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": kept},
	})
	if err != nil {
		return err
	}
	_, err = k.nodes.Patch(ctx, instance.NodeName, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// retry runs try until it succeeds, cannot succeed, or ctx ends.
func (k *KubeNodes) retry(ctx context.Context, what string, try func(context.Context) error) error {
	wait := k.first
	for {
		err := k.once(ctx, try)
		if err == nil {
			return nil
		}
		if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		k.log.Debug("Trying again", "step", what, "after", wait, "error", err)
		if ended := pause(ctx, k.clock, wait); ended != nil {
			return fmt.Errorf("%s: %w", what, ended)
		}
		wait = min(2*wait, k.longest)
	}
}

func (k *KubeNodes) once(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	return try(ctx)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
