package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/test/stack"
)

// comeUp checks the stage: queues, three empty node groups, one CPU node, and capmgr running under
// its own account.
func (d *story) comeUp(ctx, watch context.Context) (err error) {
	d.t.doing("capmgr under its own service account")
	if d.recorder, err = d.s.Record(watch); err != nil {
		return err
	}
	if err := d.s.AddNode(ctx, "cpu-1", "16", "64Gi", 0); err != nil {
		return err
	}
	if err := d.s.StartManager(ctx); err != nil {
		return err
	}
	for _, name := range []string{"department-1", "team-a"} {
		if err := d.s.Client.Get(ctx, client.ObjectKey{Name: name}, &queuev2.Queue{}); err != nil {
			return fmt.Errorf("read queue %s: %w", name, err)
		}
	}
	groups, err := d.s.AWS.Groups(ctx)
	if err != nil {
		return err
	}
	var shown []string
	empty := true
	for _, g := range groups {
		shown = append(shown, fmt.Sprintf("%s (%s): %d nodes", g.Name, g.InstanceType, g.Instances))
		empty = empty && g.Instances == 0
	}
	d.t.figure("node groups", strings.Join(shown, ", "))
	return expect(len(groups) == 3 && empty, "three node groups without nodes", "%v", shown)
}

// sample runs KubeRay's own KAI sample, unmodified.
func (d *story) sample(ctx context.Context) error {
	d.t.doing("applying ray-cluster.kai-scheduler.yaml as it was downloaded")
	if _, err := d.s.Kubectl(ctx, nil, "apply", "--server-side", "--force-conflicts", "-f", d.s.SamplePath("ray-cluster.kai-scheduler.yaml")); err != nil {
		return err
	}
	if err := d.awaitReady(ctx, "raycluster-sample", 60*time.Second); err != nil {
		return err
	}
	binds := d.recorder.Bound("raycluster-sample")
	first, last := stack.Span(binds)
	d.t.figure("pods bound", fmt.Sprintf("%d, from the first to the last %s", len(binds), last.Sub(first).Round(time.Millisecond)))
	return d.boundAtOnce(ctx, "raycluster-sample", 3)
}

// boundAtOnce checks capmgr's own account of the decision: one event for the whole gang.
func (d *story) boundAtOnce(ctx context.Context, cluster string, pods int) error {
	want := fmt.Sprintf("one Scheduled event that binds %d pods in one decision", pods)
	return await(ctx, 10*time.Second, want, func(ctx context.Context) (bool, string, error) {
		events, err := d.events(ctx, cluster)
		if err != nil {
			return false, "", err
		}
		var scheduled []string
		for _, e := range events {
			if e.Reason == "Scheduled" {
				scheduled = append(scheduled, e.Message)
			}
		}
		ok := len(scheduled) == 1 && strings.HasPrefix(scheduled[0], fmt.Sprintf("Bound %d pods in one decision", pods))
		return ok, fmt.Sprintf("%d: %v", len(scheduled), scheduled), nil
	})
}

// train is the main story: no GPU exists, nodes are bought for the gang, it runs whole.
func (d *story) train(ctx context.Context) error {
	created := time.Now()
	if err := d.s.ApplyText(ctx, trainManifest); err != nil {
		return err
	}
	d.t.doing("waiting for the first verdict")
	if err := d.awaitVerdict(ctx, "train", plan.WaitingForNodes, 10*time.Second); err != nil {
		return err
	}
	d.t.figure("from apply to the first verdict", seconds(time.Since(created)))
	out, _, _, err := d.s.Capmgr(ctx, "explain", "raycluster/train")
	if err != nil {
		return err
	}
	d.quote("$ capmgr explain raycluster/train", out)

	d.t.doing("instances boot; nothing of the gang may be bound before the last GPU is there")
	request, err := d.awaitRequest(ctx, "train")
	if err != nil {
		return err
	}
	d.t.figure("CapacityRequest", fmt.Sprintf("%s: %d of %s at $%s/h", request.Name, request.Spec.TotalNodes(), request.Spec.GroupNames(), request.Spec.HourlyCost))
	if err := d.awaitReady(ctx, "train", 90*time.Second); err != nil {
		return err
	}
	return d.checkTrain(ctx)
}

func (d *story) checkTrain(ctx context.Context) error {
	instances, err := d.s.AWS.Instances(ctx)
	if err != nil {
		return err
	}
	var launched, usable time.Time
	dollars := 0.0
	for _, i := range instances {
		if launched.IsZero() || i.Launched.Before(launched) {
			launched = i.Launched
		}
		if i.GPUAt != nil && i.GPUAt.After(usable) {
			usable = *i.GPUAt
		}
		dollars += i.PricePerHour
	}
	binds := d.recorder.Bound("train")
	first, last := stack.Span(binds)
	d.t.figure("from launch to usable", seconds(usable.Sub(launched)))
	d.t.figure("from the last GPU advertised to all bound", seconds(last.Sub(d.recorder.LastUsable())))
	d.t.figure("now running", fmt.Sprintf("%d instances, $%.3f/h", len(instances), dollars))
	if err := expect(len(instances) == 4, "4 instances launched through the AWS API", "%d", len(instances)); err != nil {
		return err
	}
	if err := expect(len(binds) == 5, "5 pods bound", "%d", len(binds)); err != nil {
		return err
	}
	if err := expect(!first.Before(usable), "nothing bound before the last GPU was advertised",
		"the first bind %s before it", usable.Sub(first)); err != nil {
		return err
	}
	return d.boundAtOnce(ctx, "train", 5)
}

// tooBig asks for more than its queue's limit.
func (d *story) tooBig(ctx context.Context) error {
	launches, err := d.launches(ctx)
	if err != nil {
		return err
	}
	if err := d.s.ApplyText(ctx, tooBigManifest); err != nil {
		return err
	}
	created := time.Now()
	if err := d.awaitVerdict(ctx, "too-big", plan.ExceedsLimit, 5*time.Second); err != nil {
		return err
	}
	took := time.Since(created)
	d.t.figure("from apply to its verdict", seconds(took))
	if err := expect(took < time.Second, "a verdict within a second", "%s", took); err != nil {
		return err
	}
	out, _, _, err := d.s.Capmgr(ctx, "explain", "raycluster/too-big")
	if err != nil {
		return err
	}
	d.quote("$ capmgr explain raycluster/too-big", out)
	if err := expect(strings.Contains(out, "6 GPUs") && strings.Contains(out, "4 GPUs"), "explain to name the 6 GPUs asked and the 4 allowed", "%s", out); err != nil {
		return err
	}
	if err := await(ctx, 5*time.Second, "an ExceedsLimit event on the RayCluster", func(ctx context.Context) (bool, string, error) {
		events, err := d.events(ctx, "too-big")
		return slices.ContainsFunc(events, func(e corev1.Event) bool { return e.Reason == string(plan.ExceedsLimit) }), fmt.Sprintf("%d other events", len(events)), err
	}); err != nil {
		return err
	}
	d.t.doing("waiting for its pods, to see that none is marked for other autoscalers")
	if err := await(ctx, 20*time.Second, "KubeRay to make the 7 pods", func(ctx context.Context) (bool, string, error) {
		pods, err := d.pods(ctx, "too-big")
		return len(pods) == 7, fmt.Sprintf("%d", len(pods)), err
	}); err != nil {
		return err
	}
	return d.stillUnbought(ctx, launches)
}

// stillUnbought checks that nothing was ever bought for too-big and that none of its pods carries
// the condition that would make another autoscaler buy.
func (d *story) stillUnbought(ctx context.Context, launches int) error {
	now, err := d.launches(ctx)
	if err != nil {
		return err
	}
	if err := expect(now == launches, fmt.Sprintf("still %d launches", launches), "%d", now); err != nil {
		return err
	}
	requests := &v1alpha1.CapacityRequestList{}
	if err := d.s.Client.List(ctx, requests); err != nil {
		return err
	}
	for _, r := range requests.Items {
		if err := expect(r.Spec.Gang.Name != "too-big", "no CapacityRequest for too-big", "%s", r.Name); err != nil {
			return err
		}
	}
	pods, err := d.pods(ctx, "too-big")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if err := expect(!d.recorder.Unschedulable(p.Namespace, p.Name), "no pod of too-big marked Unschedulable", "%s", p.Name); err != nil {
			return err
		}
	}
	return nil
}

// giveBack deletes train and watches its nodes leave.
func (d *story) giveBack(ctx context.Context) error {
	launches, err := d.launches(ctx)
	if err != nil {
		return err
	}
	deleted := time.Now()
	if err := d.s.Client.Delete(ctx, &rayv1.RayCluster{ObjectMeta: meta("train")}); err != nil {
		return fmt.Errorf("delete train: %w", err)
	}
	d.t.doing("idle nodes wait for idleAfter (15 s), then leave by name")
	if err := d.awaitNoInstances(ctx); err != nil {
		return err
	}
	d.t.figure("from delete to the last instance gone", seconds(time.Since(deleted)))
	if err := d.onlyNamed(ctx); err != nil {
		return err
	}
	return d.stillUnbought(ctx, launches)
}

func (d *story) awaitNoInstances(ctx context.Context) error {
	return await(ctx, 90*time.Second, "all node groups back at zero", func(ctx context.Context) (bool, string, error) {
		groups, err := d.s.AWS.Groups(ctx)
		left := 0
		for _, g := range groups {
			left += g.Instances + g.Desired
		}
		return err == nil && left == 0, fmt.Sprintf("instances and desired counts of %d", left), err
	})
}

// onlyNamed reads the whole record of the fake AWS: instances end by name only.
func (d *story) onlyNamed(ctx context.Context) error {
	calls, err := d.s.AWS.Calls(ctx, 0)
	if err != nil {
		return err
	}
	ended := 0
	for _, c := range calls {
		switch c.Operation {
		case "SetDesiredCapacity", "UpdateAutoScalingGroup":
			return expect(false, "no absolute write of a desired count", "%s %v", c.Operation, c.Params)
		case "TerminateInstanceInAutoScalingGroup":
			ended += len(c.InstanceIDs)
		}
	}
	d.t.figure("instances terminated by name", fmt.Sprintf("%d of 4", ended))
	return expect(ended == 4, "4 instances terminated by name", "%d", ended)
}

// launches counts the launch calls that AWS has seen.
func (d *story) launches(ctx context.Context) (n int, err error) {
	calls, err := d.s.AWS.Calls(ctx, 0)
	for _, c := range calls {
		if c.Operation == "LaunchInstances" {
			n++
		}
	}
	return n, err
}

func (d *story) awaitReady(ctx context.Context, cluster string, most time.Duration) error {
	return await(ctx, most, "RayCluster "+cluster+" to be ready", func(ctx context.Context) (bool, string, error) {
		rc := &rayv1.RayCluster{}
		err := d.s.Client.Get(ctx, key(cluster), rc)
		state := rc.Status.State //nolint:staticcheck // deprecated, and what RayJob and RayService still wait for
		return state == rayv1.Ready, fmt.Sprintf("state %q; verdict %s", state, rc.Annotations[v1alpha1.VerdictAnnotation]), err
	})
}

func (d *story) awaitVerdict(ctx context.Context, cluster string, want plan.Reason, most time.Duration) error {
	return await(ctx, most, fmt.Sprintf("the verdict %s on %s", want, cluster), func(ctx context.Context) (bool, string, error) {
		rc := &rayv1.RayCluster{}
		if err := d.s.Client.Get(ctx, key(cluster), rc); err != nil {
			return false, "", err
		}
		text := rc.Annotations[v1alpha1.VerdictAnnotation]
		if text == "" {
			return false, "no verdict", nil
		}
		v, err := plan.ParseVerdict(text)
		return v.Reason == want, text, err
	})
}

func (d *story) awaitRequest(ctx context.Context, gang string) (*v1alpha1.CapacityRequest, error) {
	var found *v1alpha1.CapacityRequest
	err := await(ctx, 10*time.Second, "a CapacityRequest for "+gang, func(ctx context.Context) (bool, string, error) {
		list := &v1alpha1.CapacityRequestList{}
		if err := d.s.Client.List(ctx, list); err != nil {
			return false, "", err
		}
		for k := range list.Items {
			if list.Items[k].Spec.Gang.Name == gang {
				found = &list.Items[k]
			}
		}
		return found != nil, fmt.Sprintf("%d for others", len(list.Items)), nil
	})
	return found, err
}

func (d *story) events(ctx context.Context, cluster string) ([]corev1.Event, error) {
	list := &corev1.EventList{}
	if err := d.s.Client.List(ctx, list, client.InNamespace("default")); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.Kind != "RayCluster" || e.InvolvedObject.Name != cluster || e.Source.Component != "capmgr"
	}), nil
}

func (d *story) pods(ctx context.Context, cluster string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := d.s.Client.List(ctx, list, client.MatchingLabels{"ray.io/cluster": cluster})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return list.Items, err
}
