package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/test/fakeaws"
	"github.com/capmgr/capmgr/test/stack"
)

var (
	//go:embed config.yaml
	configuration []byte
	//go:embed queue.yaml
	queue string
)

const (
	workers = 20
	members = workers + 1
	// mostTimesBare is how many times longer than a bare loop of bind calls capmgr may take, which
	// sees, decides and checks besides.
	mostTimesBare = 3
)

// bindGang measures how long a gang waits once nothing is missing any more: from the moment at which
// the last of its nodes is seen with its GPU to the moment at which its last pod is seen bound, both
// by the same observer's watches. What the same number of binds costs a client that just sends them
// is measured in every round beside it, on the same API server.
func bindGang(ctx context.Context, b *bench) (_ []measure, err error) {
	g := &gangBench{bench: b}
	config := filepath.Join(b.dir, "config.yaml")
	if err := os.WriteFile(config, configuration, 0o600); err != nil {
		return nil, err
	}
	b.say("bringing the control plane up")
	g.s, err = stack.Start(ctx, stack.Options{Dir: filepath.Join(b.dir, "stack"), Config: config, AWS: cloud()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.s.Stop()) }()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	if err := g.prepare(ctx, watch); err != nil {
		return nil, err
	}
	var capmgr, bare, ratio []float64
	for round := range b.rounds {
		loop, err := g.bareLoop(ctx, round)
		if err != nil {
			return nil, fmt.Errorf("round %d: bare loop: %w", round+1, err)
		}
		bound, err := g.gang(ctx, round)
		if err != nil {
			return nil, fmt.Errorf("round %d: gang: %w", round+1, err)
		}
		b.say("round %d of %d: capmgr %.1f ms, bare loop %.1f ms", round+1, b.rounds, milli(bound), milli(loop))
		capmgr, bare = append(capmgr, milli(bound)), append(bare, milli(loop))
		ratio = append(ratio, bound.Seconds()/loop.Seconds())
	}
	return []measure{
		over("capmgr: last GPU to all bound", "ms", 0, capmgr),
		over(fmt.Sprintf("bare loop: %d bind calls", members), "ms", 0, bare),
		over("ratio", "×", mostTimesBare, ratio),
	}, nil
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type gangBench struct {
	*bench
	s        *stack.Stack
	seen     *stack.Recorder
	unpaced  kubernetes.Interface
	bareNode string
}

// cloud has one group, whose instances advertise their GPUs one after the other within a second.
func cloud() *fakeaws.Config {
	return &fakeaws.Config{
		Region: "us-east-1", ClusterName: "bench", Seed: 3,
		Delays: fakeaws.Delays{
			Launch: fakeaws.For(200 * time.Millisecond), Ready: fakeaws.For(time.Second), GPU: fakeaws.For(2 * time.Second),
			Spread: fakeaws.For(500 * time.Millisecond), Terminate: fakeaws.For(200 * time.Millisecond),
		},
		Groups: []fakeaws.GroupConfig{{
			Name: "g5-xlarge", InstanceType: "g5.xlarge", Zone: "us-east-1a", Max: 64,
			Tags: map[string]string{v1alpha1.ManagedTag: "true", v1alpha1.ClusterTag: "bench"},
		}},
	}
}

func (g *gangBench) prepare(ctx, watch context.Context) error {
	if err := g.s.ApplyText(ctx, queue); err != nil {
		return err
	}
	g.bareNode = "cpu-1"
	if err := g.s.AddNode(ctx, g.bareNode, "64", "256Gi", 0); err != nil {
		return err
	}
	unpaced := rest.CopyConfig(g.s.Config)
	unpaced.QPS = -1
	var err error
	if g.unpaced, err = kubernetes.NewForConfig(unpaced); err != nil {
		return err
	}
	if g.seen, err = g.s.Record(watch); err != nil {
		return err
	}
	g.say("starting capmgr")
	return g.s.StartManager(ctx)
}

// bareLoop binds as many pods as the gang has, one call after the other, and nothing else.
func (g *gangBench) bareLoop(ctx context.Context, round int) (time.Duration, error) {
	pods := g.unpaced.CoreV1().Pods("default")
	var names []string
	for k := range members {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bare-%d-%d", round, k), Labels: map[string]string{"bench": "bare"}},
			// A scheduler that there is not: nobody else binds them.
			Spec: corev1.PodSpec{SchedulerName: "bench", Containers: []corev1.Container{box("work", "100m", "64Mi", 0)}},
		}
		if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			return 0, err
		}
		names = append(names, p.Name)
	}
	started := time.Now()
	for _, name := range names {
		err := pods.Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: g.bareNode},
		}, metav1.CreateOptions{})
		if err != nil {
			return 0, err
		}
	}
	took := time.Since(started)
	now := int64(0)
	err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "bench=bare"})
	if err != nil {
		return 0, err
	}
	return took, until(ctx, 30*time.Second, "the bare pods to be gone", func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "bench=bare"})
		return err == nil && len(list.Items) == 0, err
	})
}

// gang lets a gang come, have its nodes bought, run, and go again with its nodes.
func (g *gangBench) gang(ctx context.Context, round int) (time.Duration, error) {
	rc := rayCluster(fmt.Sprintf("gang-%d", round))
	if err := g.s.Client.Create(ctx, rc); err != nil {
		return 0, err
	}
	err := until(ctx, 2*time.Minute, "the gang to be bound", func(context.Context) (bool, error) {
		return len(g.seen.Bound(rc.Name)) == members, nil
	})
	if err != nil {
		return 0, err
	}
	first, last := stack.Span(g.seen.Bound(rc.Name))
	usable := g.seen.LastUsable()
	if first.Before(usable) {
		return 0, fmt.Errorf("a pod was bound %s before the last GPU was there", usable.Sub(first))
	}
	if err := g.s.Client.Delete(ctx, rc); err != nil {
		return 0, err
	}
	return last.Sub(usable), until(ctx, 2*time.Minute, "the nodes to be given back", func(ctx context.Context) (bool, error) {
		nodes := &corev1.NodeList{}
		err := g.s.Client.List(ctx, nodes)
		pods := &corev1.PodList{}
		if err == nil {
			err = g.s.Client.List(ctx, pods, client.InNamespace("default"))
		}
		return len(nodes.Items) == 1 && len(pods.Items) == 0, err
	})
}

// until polls often enough not to matter beside the rounds, and is no part of what is measured.
func until(ctx context.Context, most time.Duration, what string, done func(context.Context) (bool, error)) error {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("waited %s for %s in vain", most, what)
		case <-tick.C:
		}
	}
}

func rayCluster(name string) *rayv1.RayCluster {
	n := int32(workers)
	return &rayv1.RayCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{v1alpha1.QueueLabel: "bench"}},
		Spec: rayv1.RayClusterSpec{
			RayVersion: "2.52.0",
			HeadGroupSpec: rayv1.HeadGroupSpec{RayStartParams: map[string]string{},
				Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{box("ray-head", "1", "2Gi", 0)}}}},
			WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{
				GroupName: "gpu", Replicas: &n, MinReplicas: &n, MaxReplicas: &n, RayStartParams: map[string]string{},
				Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{box("ray-worker", "2", "8Gi", 1)}}}}},
		},
	}
}

func box(name, cpu, memory string, gpus int64) corev1.Container {
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	if gpus > 0 {
		room[v1alpha1.GPUResource] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	return corev1.Container{Name: name, Image: "rayproject/ray:2.52.0", Resources: corev1.ResourceRequirements{Requests: room, Limits: room}}
}
