package main

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/plan"
)

var (
	//go:embed manifests/one-gpu.yaml
	oneGPUManifest string
	//go:embed manifests/chat.yaml
	chatManifest string
	//go:embed manifests/priority.yaml
	priorityManifest string
	//go:embed manifests/build-pod.yaml
	buildPodManifest string
)

// inference is NVIDIA's flow: training holds the only GPU, inference of the same queue takes it
// whole, and training comes back when inference is gone.
func (d *story) inference(ctx context.Context) error {
	d.t.doing("finetune takes the only GPU")
	if err := d.s.AddNode(ctx, "gpu-1", "8", "32Gi", 1); err != nil {
		return err
	}
	if err := d.s.ApplyText(ctx, oneGPUManifest); err != nil {
		return err
	}
	if err := d.awaitReady(ctx, "finetune", 60*time.Second); err != nil {
		return err
	}
	d.t.doing("RayService chat arrives with priority inference")
	arrived := time.Now()
	if err := d.s.ApplyText(ctx, chatManifest); err != nil {
		return err
	}
	chat, err := d.awaitServing(ctx)
	if err != nil {
		return err
	}
	d.t.figure("from apply to the last pod of chat bound", seconds(time.Since(arrived)))
	if err := d.awaitVerdict(ctx, "finetune", plan.BoundReached, 10*time.Second); err != nil {
		return err
	}
	out, _, _, err := d.s.Capmgr(ctx, "explain", "raycluster/finetune")
	if err != nil {
		return err
	}
	d.quote("$ capmgr explain raycluster/finetune", out)
	if err := d.wholeOrAbsent(ctx, "finetune", false); err != nil {
		return err
	}
	d.t.doing("chat is deleted")
	gone := time.Now()
	if err := d.s.Client.Delete(ctx, &rayv1.RayService{ObjectMeta: meta("chat")}); err != nil {
		return fmt.Errorf("delete chat: %w", err)
	}
	if err := await(ctx, 90*time.Second, "finetune to run again", func(ctx context.Context) (bool, string, error) {
		err := d.wholeOrAbsent(ctx, "finetune", true)
		if wrong, ok := err.(*mismatch); ok { //nolint:errorlint // made three lines above
			return false, wrong.seen, nil
		}
		return err == nil, "", err
	}); err != nil {
		return err
	}
	d.t.figure("from deleting chat to finetune bound again", seconds(time.Since(gone)))
	d.t.figure("chat ran as", chat)
	return d.s.Client.Delete(ctx, &rayv1.RayCluster{ObjectMeta: meta("finetune")})
}

// awaitServing waits until both pods of the service's RayCluster are bound, and returns its name.
func (d *story) awaitServing(ctx context.Context) (name string, err error) {
	err = await(ctx, 60*time.Second, "the 2 pods of chat to be bound", func(ctx context.Context) (bool, string, error) {
		list := &rayv1.RayClusterList{}
		if err := d.s.Client.List(ctx, list, client.InNamespace("default"), client.MatchingLabels{"ray.io/originated-from-cr-name": "chat"}); err != nil {
			return false, "", err
		}
		if len(list.Items) != 1 {
			return false, fmt.Sprintf("%d RayClusters of chat", len(list.Items)), nil
		}
		name = list.Items[0].Name
		pods, err := d.pods(ctx, name)
		bound := 0
		for _, p := range pods {
			if p.Spec.NodeName != "" {
				bound++
			}
		}
		return bound == 2, fmt.Sprintf("%d of %d bound", bound, len(pods)), err
	})
	return name, err
}

// wholeOrAbsent checks that a gang of two runs whole, or has no bound pod at all.
func (d *story) wholeOrAbsent(ctx context.Context, cluster string, whole bool) error {
	pods, err := d.pods(ctx, cluster)
	if err != nil {
		return err
	}
	bound := 0
	for _, p := range pods {
		if p.Spec.NodeName != "" && p.DeletionTimestamp == nil {
			bound++
		}
	}
	if whole {
		return expect(bound == 2, cluster+" whole again", "%d of %d pods bound", bound, len(pods))
	}
	return expect(bound == 0, cluster+" evicted whole", "%d of %d pods still bound", bound, len(pods))
}

// priority is KAI's example: in-queue preemption at the queue's limit, with a GPU to spare.
func (d *story) priority(ctx context.Context) error {
	d.t.doing("train-pod takes all that the queue allows")
	if err := d.s.AddNode(ctx, "gpu-2", "8", "32Gi", 1); err != nil {
		return err
	}
	if err := d.s.ApplyText(ctx, priorityManifest); err != nil {
		return err
	}
	if err := d.awaitBound(ctx, "train-pod"); err != nil {
		return err
	}
	d.t.doing("build-pod arrives")
	arrived := time.Now()
	if err := d.s.ApplyText(ctx, buildPodManifest); err != nil {
		return err
	}
	if err := d.awaitBound(ctx, "build-pod"); err != nil {
		return err
	}
	d.t.figure("from apply to build-pod bound", seconds(time.Since(arrived)))
	if err := await(ctx, 10*time.Second, "train-pod gone", func(ctx context.Context) (bool, string, error) {
		err := d.s.Client.Get(ctx, key("train-pod"), &corev1.Pod{})
		if apierrors.IsNotFound(err) {
			return true, "", nil
		}
		return false, "it is still there", err
	}); err != nil {
		return err
	}
	return await(ctx, 5*time.Second, "a Preempted event on train-pod", func(ctx context.Context) (bool, string, error) {
		list := &corev1.EventList{}
		err := d.s.Client.List(ctx, list, client.InNamespace("default"))
		for _, e := range list.Items {
			if e.InvolvedObject.Name == "train-pod" && e.Reason == "Preempted" {
				return true, "", nil
			}
		}
		return false, fmt.Sprintf("%d events about others", len(list.Items)), err
	})
}

func (d *story) awaitBound(ctx context.Context, pod string) error {
	return await(ctx, 30*time.Second, pod+" bound", func(ctx context.Context) (bool, string, error) {
		p := &corev1.Pod{}
		err := d.s.Client.Get(ctx, key(pod), p)
		reason := plan.Reason("none")
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				reason = plan.Reason(c.Reason)
			}
		}
		return p.Spec.NodeName != "", "not bound; its reason is " + string(reason), err
	})
}
