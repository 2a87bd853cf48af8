package fakeaws

import (
	"context"
	"time"
)

// startBoot schedules an instance's way to a node with GPUs. The times are fixed now; a step that the
// API server holds up delays the next one only because steps keep their order.
func (w *world) startBoot(i *instance) {
	now := w.clock.Now()
	d := i.group.delays
	if f := w.faults.strikeInstance(BootDelays, i.group, now); f != nil {
		d = f.Delays.over(d)
	}
	i.neverJoins = w.faults.strikeInstance(NeverJoins, i.group, now) != nil
	i.noGPUs = w.faults.strikeInstance(NoGPUs, i.group, now) != nil
	launch := d.Launch.of() + w.jitter(d)
	ready := launch + d.Ready.of() + w.jitter(d)
	gpu := ready + d.GPU.of() + w.jitter(d)
	w.during(i, launch, w.inService)
	w.during(i, ready, w.join)
	w.during(i, gpu, w.advertise)
}

func (w *world) jitter(d Delays) time.Duration {
	spread := d.Spread.of()
	if spread <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int63n(int64(spread)))
}

// during runs f after d, unless the instance is being terminated by then.
func (w *world) during(i *instance, d time.Duration, f func(*instance)) {
	i.stops = append(i.stops, w.clock.AfterFunc(d, func() {
		w.locked(func() {
			if i.Alive() {
				f(i)
			}
		})
	}))
}

func (w *world) stopTimers(i *instance) {
	for _, stop := range i.stops {
		stop()
	}
	i.stops = nil
}

func (w *world) inService(i *instance) {
	now := w.clock.Now()
	i.State, i.InServiceAt = InService, &now
	i.launch.finish(now, "Successful")
}

func (w *world) join(i *instance) {
	if i.neverJoins {
		return
	}
	i.joining = true
	w.step(i.boot, i, "join", func(ctx context.Context, n Nodes, view Instance) error { return n.Join(ctx, view) },
		func(now time.Time) { i.ReadyAt = &now })
}

func (w *world) advertise(i *instance) {
	if i.neverJoins || i.noGPUs || (i.Node.Shape.GPUs == 0 && i.Node.StartupTaint == nil) {
		return
	}
	w.step(i.boot, i, "advertise GPUs", func(ctx context.Context, n Nodes, view Instance) error { return n.AdvertiseGPUs(ctx, view) },
		func(now time.Time) { i.GPUAt = &now })
}

// step runs a node operation in the background, after the instance's earlier ones, and notes when it
// succeeded. Without Kubernetes the operation takes no time.
func (w *world) step(ctx context.Context, i *instance, what string, run func(context.Context, Nodes, Instance) error, done func(time.Time)) {
	if w.nodes == nil {
		done(w.clock.Now())
		return
	}
	previous, finished := i.last, make(chan struct{})
	i.last = finished
	view := i.Instance
	w.steps.Go(func() {
		defer close(finished)
		if previous != nil {
			<-previous
		}
		if err := run(ctx, w.nodes, view); err != nil {
			w.log.Info("Node step ended without success", "step", what, "node", view.NodeName, "instance", view.ID, "error", err)
			return
		}
		w.locked(func() { done(w.clock.Now()) })
	})
}
