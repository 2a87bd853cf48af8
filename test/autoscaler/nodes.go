package autoscaler

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// gpuResource is what comes later than the node.
const gpuResource = "nvidia.com/gpu"

// template is a node of the group as it will be.
func (g *group) template(name string) *corev1.Node {
	labels := maps.Clone(g.Labels)
	maps.Copy(labels, map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"})
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: slices.Clone(g.Taints)},
		Status:     corev1.NodeStatus{Capacity: g.Allocatable.DeepCopy(), Allocatable: g.Allocatable.DeepCopy()},
	}
}

// buy asks the cloud for nodes. Those that it has come one after the other.
func (a *Autoscaler) buy(ctx context.Context, w *world, g *group, count int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log.Info("Asking the cloud for nodes", "group", g.Name, "count", count)
	for range count {
		g.asked++
		if g.Stock == 0 {
			continue
		}
		g.Stock--
		g.serial++
		name := fmt.Sprintf("%s-%02d", g.Name, g.serial)
		g.coming[name] = true
		w.nodes = append(w.nodes, &place{node: g.template(name), group: g, free: g.Allocatable.DeepCopy()})
		after := time.Duration(len(g.coming)) * g.Boot
		a.booting.Go(func() {
			if err := a.boot(ctx, g, name, after); err != nil && ctx.Err() == nil {
				a.log.Warn("A node does not come", "node", name, "error", err)
			}
		})
	}
}

// boot makes a node that advertises its devices a while later.
func (a *Autoscaler) boot(ctx context.Context, g *group, name string, after time.Duration) error {
	if !sleep(ctx, after) {
		return ctx.Err()
	}
	n := g.template(name)
	gpus, has := n.Status.Allocatable[gpuResource]
	delete(n.Status.Capacity, gpuResource)
	delete(n.Status.Allocatable, gpuResource)
	if _, err := a.kube.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node %s: %w", name, err)
	}
	if !has || !sleep(ctx, g.GPU) {
		return ctx.Err()
	}
	devices := map[string]string{gpuResource: gpus.String()}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": devices, "allocatable": devices}})
	if err != nil {
		return err
	}
	if _, err := a.kube.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("advertise the devices of node %s: %w", name, err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// keeps are the annotations by which a node asks not to be removed.
var keeps = []string{"cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt"}

// removeIdle removes the nodes of its groups on which nothing has run for a while, and to which
// nothing is to come.
func (a *Autoscaler) removeIdle(ctx context.Context, w *world) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for _, p := range w.nodes {
		if p.group == nil || p.group.coming[p.node.Name] {
			continue
		}
		if len(p.pods) > 0 || slices.ContainsFunc(keeps, func(key string) bool { return p.node.Annotations[key] == "true" }) {
			delete(a.idle, p.node.Name)
			continue
		}
		if a.idle[p.node.Name].IsZero() {
			a.idle[p.node.Name] = now
		}
		if now.Sub(a.idle[p.node.Name]) < a.options.Idle {
			continue
		}
		if err := a.kube.CoreV1().Nodes().Delete(ctx, p.node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove idle node %s: %w", p.node.Name, err)
		}
		a.log.Info("Removed an idle node", "node", p.node.Name)
		a.removed = append(a.removed, p.node.Name)
		if p.group.Stock >= 0 {
			p.group.Stock++
		}
		delete(a.idle, p.node.Name)
	}
	return nil
}
