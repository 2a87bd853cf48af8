package fakeaws

import (
	"context"
	"fmt"
)

// refusal is why instances were not launched.
type refusal struct{ code, message string }

// launch starts up to n instances of g, one by one, until something refuses. What it started stays.
func (w *world) launch(g *group, n int, by, token string) ([]*instance, *refusal) {
	var started []*instance
	for len(started) < n {
		if f := w.faults.refuseLaunch(g, w.clock.Now()); f != nil {
			code, message := f.launchRefusal(g)
			a := w.newActivity(g, by, "Launching a new EC2 instance.  Status Reason: %s", message)
			a.message = message + " Launching EC2 instance failed."
			a.finish(w.clock.Now(), "Failed")
			return started, &refusal{code: code, message: message}
		}
		started = append(started, w.newInstance(g, by, token))
	}
	return started, nil
}

// newInstance creates an instance and lets it boot.
func (w *world) newInstance(g *group, by, token string) *instance {
	w.launched++
	g.launched++
	shape, _ := ShapeOf(g.cfg.InstanceType)
	i := &instance{
		Instance: Instance{
			// Each seed has its own million ids, so that a second server's instances are not
			// taken for the first one's.
			ID:    fmt.Sprintf("i-%017x", w.cfg.Seed<<20+w.launched),
			Group: g.cfg.Name, NodeName: fmt.Sprintf("%s-%d", g.cfg.Name, g.launched),
			InstanceType: g.cfg.InstanceType, Zone: g.cfg.Zone, CapacityType: g.cfg.CapacityType,
			State: Pending, Protected: g.cfg.ProtectNewInstances, LaunchedBy: by, ClientToken: token,
			Launched: w.clock.Now(), PricePerHour: shape.Price(g.cfg.CapacityType),
			Node: NodeSpec{
				Region: w.cfg.Region, Nodegroup: g.cfg.EKSNodegroup, Shape: shape, Labels: g.wantsLabels(),
				Taints: g.cfg.Taints, StartupTaint: g.cfg.StartupTaint,
			},
		},
		group:     g,
		privateIP: fmt.Sprintf("10.0.%d.%d", w.launched>>8&0xff, w.launched&0xff),
		tags:      map[string]string{"aws:autoscaling:groupName": g.cfg.Name},
	}
	for k, t := range g.tags {
		if t.propagate {
			i.tags[k] = t.value
		}
	}
	i.boot, i.stopBoot = context.WithCancel(w.ctx)
	i.launch = w.newActivity(g, by, "Launching a new EC2 instance: %s", i.ID)
	i.launch.status = "PreInService"
	g.members = append(g.members, i)
	w.instances[i.ID] = i
	w.history = append(w.history, i)
	w.startBoot(i)
	return i
}

// launchRequest is what a client token stands for.
type launchRequest struct {
	group    string
	capacity int
	zone     string
	zoneID   string
	subnet   string
	retry    string
}

// launchRecord is the answer that a client token gets again.
type launchRecord struct {
	request launchRequest
	ids     []string
	refusal *refusal
}

// launchInstances is the synchronous launch: what starts belongs to the group at once, what is refused
// is told and, unless the caller asks for it, not tried again.
func (w *world) launchInstances(token string, req launchRequest) (*launchRecord, error) {
	g, err := w.group(req.group)
	if err != nil {
		return nil, err
	}
	if known := w.tokens[token]; known != nil {
		if known.request != req {
			return nil, refuse("IdempotentParameterMismatch", "The client token %s was used before with other parameters.", token)
		}
		return known, nil
	}
	if err := g.checkLaunch(req); err != nil {
		return nil, err
	}
	started, why := w.launch(g, req.capacity, "LaunchInstances", token)
	record := &launchRecord{request: req, refusal: why}
	for _, i := range started {
		record.ids = append(record.ids, i.ID)
	}
	w.tokens[token] = record
	g.desired += len(started)
	if why != nil && req.retry == retryWithGroup {
		g.desired += req.capacity - len(started)
		w.retryLater(g)
	}
	return record, nil
}

const (
	retryNone      = "none"
	retryWithGroup = "retry-with-group-configuration"
)

func (g *group) checkLaunch(req launchRequest) error {
	switch {
	case req.capacity < 1 || req.capacity > 100:
		return invalid("RequestedCapacity must be between 1 and 100, not %d", req.capacity)
	case req.zone != "" && req.zone != g.cfg.Zone:
		return invalid("The Availability Zone %s is not one of the group's", req.zone)
	case req.zoneID != "" && req.zoneID != g.zoneID():
		return invalid("The Availability Zone ID %s is not one of the group's", req.zoneID)
	case req.subnet != "" && req.subnet != g.subnet():
		return invalid("The subnet %s is not one of the group's", req.subnet)
	case req.retry != "" && req.retry != retryNone && req.retry != retryWithGroup:
		return invalid("RetryStrategy must be %s or %s, not %s", retryNone, retryWithGroup, req.retry)
	case g.desired+req.capacity > g.max:
		return invalid("Launching %d instances would raise the desired capacity from %d above the max size %d of the AutoScalingGroup %s",
			req.capacity, g.desired, g.max, g.cfg.Name)
	}
	return nil
}
