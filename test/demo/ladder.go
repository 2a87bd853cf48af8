package main

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/test/fakeaws"
)

var (
	//go:embed manifests/climb.yaml
	climbManifest string
	//go:embed manifests/frugal.yaml
	frugalManifest string
)

// ladder lets the cloud be short: it has none of the first kind of machine, one of two of the second, and
// the third. Each rung is tried whole, and what came of a failed one is given back.
func (d *story) ladder(ctx context.Context) error {
	d.t.doing("the cloud runs out of g5.xlarge, and has a single g5.2xlarge left")
	var faults []string
	for _, f := range []fakeaws.Fault{
		{Kind: fakeaws.InsufficientCapacity, InstanceType: "g5.xlarge"},
		{Kind: fakeaws.InsufficientCapacity, InstanceType: "g5.2xlarge", Allow: 1},
	} {
		id, err := d.s.AWS.Inject(ctx, f)
		if err != nil {
			return err
		}
		faults = append(faults, id)
	}
	calls, err := d.s.AWS.Calls(ctx, 0)
	if err != nil {
		return err
	}
	before := len(calls)
	asked := time.Now()
	if err := d.s.ApplyText(ctx, climbManifest); err != nil {
		return err
	}
	d.t.doing("climb asks for two GPUs, and goes down its queue's ladder")
	if err := d.awaitReady(ctx, "climb", 90*time.Second); err != nil {
		return err
	}
	d.t.figure("from apply to running", seconds(time.Since(asked)))
	out, _, _, err := d.s.Capmgr(ctx, "explain", "raycluster/climb")
	if err != nil {
		return err
	}
	d.quote("$ capmgr explain raycluster/climb", out)
	if err := d.checkTrail(ctx); err != nil {
		return err
	}
	if err := d.checkReturn(ctx, before); err != nil {
		return err
	}
	for _, id := range faults {
		if err := d.s.AWS.Clear(ctx, id); err != nil {
			return err
		}
	}
	return d.remove(ctx, "climb")
}

// checkTrail reads the three attempts off their CapacityRequests.
func (d *story) checkTrail(ctx context.Context) error {
	list := &v1alpha1.CapacityRequestList{}
	if err := d.s.Client.List(ctx, list); err != nil {
		return err
	}
	trail := map[int32]string{}
	for _, r := range list.Items {
		if r.Spec.Gang.Name != "climb" {
			continue
		}
		came := "Provisioned"
		if c := apimeta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionFailed); c != nil {
			came = c.Reason
		}
		trail[r.Spec.Attempt] = fmt.Sprintf("%d %s: %s", r.Spec.TotalNodes(), r.Spec.GroupNames(), came)
	}
	want := []string{"2 g5-xlarge: InsufficientCapacity", "2 g5-2xlarge: PartialFill", "1 g5-12xlarge: Provisioned"}
	got := []string{trail[1], trail[2], trail[3]}
	return expect(len(trail) == 3 && slices.Equal(want, got), strings.Join(want, ", "), "%v", trail)
}

// checkReturn finds the one machine of the second rung in the record, and when it went.
func (d *story) checkReturn(ctx context.Context, since int) error {
	calls, err := d.s.AWS.Calls(ctx, 0)
	if err != nil {
		return err
	}
	came := map[string]time.Time{}
	for _, c := range calls[since:] {
		for _, id := range c.InstanceIDs {
			switch {
			case c.Operation == "LaunchInstances" && strings.Contains(fmt.Sprint(c.Params), "g5-2xlarge"):
				came[id] = c.Time
			case c.Operation == "TerminateInstanceInAutoScalingGroup" && !came[id].IsZero():
				took := c.Time.Sub(came[id])
				d.t.figure("the one g5-2xlarge that came was given back after", seconds(took))
				return expect(took < time.Minute, "the partial fill to be given back within a minute", "%s", took)
			}
		}
	}
	return expect(false, "one instance of g5-2xlarge launched and terminated by name", "launches %v", came)
}

// money asks for more than a queue may cost per hour.
func (d *story) money(ctx context.Context) error {
	launches, err := d.launches(ctx)
	if err != nil {
		return err
	}
	if err := d.s.ApplyText(ctx, frugalManifest); err != nil {
		return err
	}
	if err := d.awaitVerdict(ctx, "frugal", plan.BudgetExceeded, 10*time.Second); err != nil {
		return err
	}
	out, _, _, err := d.s.Capmgr(ctx, "explain", "raycluster/frugal")
	if err != nil {
		return err
	}
	d.quote("$ capmgr explain raycluster/frugal", out)
	if err := expect(strings.Contains(out, "$1.50/h"), "explain to name the $1.50 per hour that team-e may cost", "%s", out); err != nil {
		return err
	}
	now, err := d.launches(ctx)
	if err != nil {
		return err
	}
	if err := expect(now == launches, fmt.Sprintf("still %d launches", launches), "%d", now); err != nil {
		return err
	}
	return d.remove(ctx, "frugal")
}

// remove deletes a RayCluster and waits until whatever was bought for it is gone.
func (d *story) remove(ctx context.Context, cluster string) error {
	d.t.doing(cluster + " is deleted, and its nodes leave")
	if err := d.s.Client.Delete(ctx, &rayv1.RayCluster{ObjectMeta: meta(cluster)}); err != nil {
		return fmt.Errorf("delete %s: %w", cluster, err)
	}
	return d.awaitNoInstances(ctx)
}
