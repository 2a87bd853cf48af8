package fakeaws

import (
	"context"
	"time"
)

// terminate begins to shut an instance down. It does not look at the group's size.
func (w *world) terminate(i *instance, by string) *activity {
	now := w.clock.Now()
	i.State, i.TerminatingAt, i.TerminatedBy = Terminating, &now, by
	w.stopTimers(i)
	i.stopBoot()
	i.launch.finish(now, "Cancelled")
	i.terminate = w.newActivity(i.group, by, "Terminating EC2 instance: %s", i.ID)
	i.stops = append(i.stops, w.clock.AfterFunc(i.group.delays.Terminate.of(), func() {
		w.locked(func() { w.terminated(i) })
	}))
	return i.terminate
}

// terminated takes the instance from its group and its node from the cluster.
func (w *world) terminated(i *instance) {
	now := w.clock.Now()
	i.State, i.TerminatedAt = Terminated, &now
	i.terminate.finish(now, "Successful")
	kept := i.group.members[:0:0]
	for _, m := range i.group.members {
		if m != i {
			kept = append(kept, m)
		}
	}
	i.group.members = kept
	if i.joining {
		w.step(w.ctx, i, "leave", func(ctx context.Context, n Nodes, view Instance) error { return n.Leave(ctx, view) }, func(time.Time) {})
	}
}

// terminateRequest names instances to terminate; group may be empty for a single one.
type terminateRequest struct {
	group     string
	ids       []string
	decrement bool
}

// terminateInGroup terminates all of the named instances, or refuses and touches none.
func (w *world) terminateInGroup(req terminateRequest) ([]*activity, error) {
	victims, err := w.findVictims(req)
	if err != nil {
		return nil, err
	}
	g := victims[0].group
	if req.decrement && g.desired-len(victims) < g.min {
		return nil, invalid("Currently, desiredSize equals %d and minSize %d. Terminating %d instances without replacement will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
			g.desired, g.min, len(victims))
	}
	var out []*activity
	for _, i := range victims {
		out = append(out, w.terminate(i, "TerminateInstanceInAutoScalingGroup"))
	}
	if req.decrement {
		g.desired -= len(victims)
	}
	w.reconcile(g, byReplacement)
	return out, nil
}

func (w *world) findVictims(req terminateRequest) ([]*instance, error) {
	var out []*instance
	seen := map[string]bool{}
	for _, id := range req.ids {
		i := w.instances[id]
		if i == nil || i.State == Terminated || (req.group != "" && i.Group != req.group) {
			return nil, invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
		}
		// A second request for the same instance must not lower the desired capacity again.
		if i.State == Terminating {
			return nil, refuse("ScalingActivityInProgress", "Activity for the termination of instance %s is in progress.", id)
		}
		if seen[id] {
			return nil, invalid("The instance ID %s is given twice", id)
		}
		seen[id] = true
		out = append(out, i)
	}
	if len(out) == 0 {
		return nil, invalid("At least one instance ID must be given")
	}
	return out, nil
}

// interrupt gives a spot instance notice; after it the instance is taken away and the group replaces it.
func (w *world) interrupt(id string, notice time.Duration) error {
	i, err := w.aliveInstance(id)
	if err != nil {
		return err
	}
	if i.CapacityType != Spot {
		return invalid("Instance %s is %s; only spot instances are interrupted", id, i.CapacityType)
	}
	w.during(i, notice, func(i *instance) { w.takeAway(i, bySpotInterruption) })
	return nil
}

// fail breaks an instance's hardware, which no notice announces.
func (w *world) fail(id string) error {
	i, err := w.aliveInstance(id)
	if err != nil {
		return err
	}
	w.takeAway(i, byHardwareFailure)
	return nil
}

func (w *world) takeAway(i *instance, by string) {
	w.terminate(i, by)
	w.reconcile(i.group, byReplacement)
}

func (w *world) aliveInstance(id string) (*instance, error) {
	i := w.instances[id]
	if i == nil || !i.Alive() {
		return nil, invalid("no running instance %s", id)
	}
	return i, nil
}
