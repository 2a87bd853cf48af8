package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/test/stack"
)

const (
	thousandGangs, thousandEach = 50, 20
	thousandNodes               = 200
	// mostOfBare is how many times longer than a bare loop of binds it may take until all are bound.
	mostOfBare = 1.25
)

// thousandQueue lets everything run that waits for it.
const thousandQueue = `
apiVersion: scheduling.run.ai/v2
kind: Queue
metadata: {name: thousand-%d}
spec:
  resources: {gpu: {quota: -1, limit: -1}, cpu: {quota: -1, limit: -1}, memory: {quota: -1, limit: -1}}
`

// bindThousand measures how long it takes until 1,000 pods in gangs of 20 are bound to 200 nodes of 8 GPUs,
// from the moment at which the queue that they wait for is created to the moment at which an observer's
// watch has shown the last of them bound; beside a client that just sends 1,000 binds, one after the other,
// to the same API server.
func bindThousand(ctx context.Context, b *bench) (_ []measure, err error) {
	t := &thousand{bench: b}
	config := filepath.Join(b.dir, "config.yaml")
	if err := os.WriteFile(config, []byte("apiVersion: config.capmgr.io/v1alpha1\nkind: CapacityManagerConfiguration\n"), 0o600); err != nil {
		return nil, err
	}
	b.say("bringing the control plane up, with %d nodes", thousandNodes)
	t.s, err = stack.Start(ctx, stack.Options{Dir: filepath.Join(b.dir, "stack"), Config: config, WithoutKubeRay: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.s.Stop()) }()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	if err := t.prepare(ctx, watch); err != nil {
		return nil, err
	}
	var capmgr, bare, ratio []float64
	for round := range b.rounds {
		loop, err := t.bareLoop(ctx, round)
		if err != nil {
			return nil, fmt.Errorf("round %d: bare loop: %w", round+1, err)
		}
		took, err := t.gangs(ctx, round)
		if err != nil {
			return nil, fmt.Errorf("round %d: gangs: %w", round+1, err)
		}
		b.say("round %d of %d: capmgr %.2f s, bare loop %.2f s", round+1, b.rounds, took.Seconds(), loop.Seconds())
		capmgr, bare = append(capmgr, milli(took)), append(bare, milli(loop))
		ratio = append(ratio, took.Seconds()/loop.Seconds())
	}
	return []measure{
		over("capmgr: queue created to all bound", "ms", 0, capmgr),
		over(fmt.Sprintf("bare loop: %d bind calls", thousandGangs*thousandEach), "ms", 0, bare),
		over("ratio", "×", mostOfBare, ratio),
	}, nil
}

type thousand struct {
	*bench
	s       *stack.Stack
	seen    *stack.Recorder
	unpaced kubernetes.Interface
}

func (t *thousand) prepare(ctx, watch context.Context) error {
	for k := range thousandNodes {
		if err := t.s.AddNode(ctx, fmt.Sprintf("gpu-%03d", k), "64", "256Gi", 8); err != nil {
			return err
		}
	}
	unpaced := rest.CopyConfig(t.s.Config)
	unpaced.QPS = -1
	var err error
	if t.unpaced, err = kubernetes.NewForConfig(unpaced); err != nil {
		return err
	}
	if t.seen, err = t.s.Record(watch); err != nil {
		return err
	}
	t.say("starting capmgr")
	return t.s.StartManager(ctx)
}

// bareLoop binds as many pods, one call after the other, and nothing else. They look like the gangs' pods.
func (t *thousand) bareLoop(ctx context.Context, round int) (time.Duration, error) {
	name := func(k int) string { return fmt.Sprintf("bare-%d-%04d", round, k) }
	n := thousandGangs * thousandEach
	if err := t.each(n, func(k int) error {
		_, err := t.unpaced.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name(k), Labels: map[string]string{"bench": "thousand"}},
			Spec:       thousandSpec("bench"),
		}, metav1.CreateOptions{})
		return err
	}); err != nil {
		return 0, err
	}
	started := time.Now()
	for k := range n {
		err := t.unpaced.CoreV1().Pods("default").Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: name(k)}, Target: corev1.ObjectReference{Kind: "Node", Name: fmt.Sprintf("gpu-%03d", k/8)},
		}, metav1.CreateOptions{})
		if err != nil {
			return 0, err
		}
	}
	took := time.Since(started)
	return took, t.clear(ctx)
}

// gangs lets Jobs wait for a queue that does not exist, creates it, and waits until all are bound.
func (t *thousand) gangs(ctx context.Context, round int) (time.Duration, error) {
	queue := fmt.Sprintf("thousand-%d", round)
	if err := t.each(thousandGangs, func(k int) error {
		_, err := t.unpaced.BatchV1().Jobs("default").Create(ctx, &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%02d", queue, k), Labels: map[string]string{v1alpha1.QueueLabel: queue},
				Annotations: map[string]string{v1alpha1.BatchMinMemberAnnotation: fmt.Sprint(thousandEach)}},
			Spec: batchv1.JobSpec{Parallelism: ptr.To[int32](thousandEach), Completions: ptr.To[int32](thousandEach),
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"bench": "thousand"}}, Spec: thousandSpec("capmgr")}},
		}, metav1.CreateOptions{})
		return err
	}); err != nil {
		return 0, err
	}
	n := thousandGangs * thousandEach
	if err := until(ctx, 3*time.Minute, "all pods to exist", func(ctx context.Context) (bool, error) {
		pods, err := t.unpaced.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "bench=thousand", ResourceVersion: "0"})
		return err == nil && len(pods.Items) == n, err
	}); err != nil {
		return 0, err
	}
	started := time.Now()
	if err := t.s.ApplyText(ctx, fmt.Sprintf(thousandQueue, round)); err != nil {
		return 0, err
	}
	if err := until(ctx, 2*time.Minute, "all pods to be bound", func(context.Context) (bool, error) {
		return len(t.seen.BoundNamed(queue+"-")) == n, nil
	}); err != nil {
		return 0, err
	}
	_, last := stack.Span(t.seen.BoundNamed(queue + "-"))
	return last.Sub(started), t.clear(ctx)
}

// clear removes all Jobs and pods of a round.
func (t *thousand) clear(ctx context.Context) error {
	now, away := int64(0), metav1.DeletePropagationBackground
	if err := t.unpaced.BatchV1().Jobs("default").DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &away}, metav1.ListOptions{}); err != nil {
		return err
	}
	gone := metav1.ListOptions{LabelSelector: "bench=thousand"}
	return until(ctx, 3*time.Minute, "the pods to be gone", func(ctx context.Context) (bool, error) {
		if err := t.unpaced.CoreV1().Pods("default").DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, gone); err != nil {
			return false, err
		}
		pods, err := t.unpaced.CoreV1().Pods("default").List(ctx, gone)
		return err == nil && len(pods.Items) == 0, err
	})
}

// each does something n times, a few at once.
func (t *thousand) each(n int, do func(k int) error) error {
	var group errgroup.Group
	group.SetLimit(16)
	for k := range n {
		group.Go(func() error { return do(k) })
	}
	return group.Wait()
}

func thousandSpec(scheduler string) corev1.PodSpec {
	return corev1.PodSpec{SchedulerName: scheduler, RestartPolicy: corev1.RestartPolicyNever,
		Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		Containers:  []corev1.Container{box("work", "1", "1Gi", 1)}}
}
