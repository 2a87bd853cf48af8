package fakeaws

import "time"

// defaultRetry is how long a group that is short of instances waits before it tries again.
const defaultRetry = time.Minute

// setDesired writes the wanted size. As with the real service nothing says which instance a lower
// number will cost.
func (w *world) setDesired(g *group, desired int, by string) error {
	if desired > g.max {
		return invalid("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", desired, g.max)
	}
	if desired < g.min {
		return invalid("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", desired, g.min)
	}
	g.desired = desired
	w.reconcile(g, by)
	return nil
}

// reconcile brings the group to its desired size, as far as it can now.
func (w *world) reconcile(g *group, by string) {
	members := g.alive()
	if missing := g.desired - len(members); missing > 0 && !g.suspended["Launch"] {
		if _, refused := w.launch(g, missing, by, ""); refused != nil {
			w.retryLater(g)
		}
	}
	if surplus := len(members) - g.desired; surplus > 0 && !g.suspended["Terminate"] {
		for _, i := range w.victims(members, surplus) {
			w.terminate(i, by)
		}
	}
}

// victims picks n instances at random. Only scale-in protection keeps one out, not its work.
func (w *world) victims(members []*instance, n int) []*instance {
	var candidates []*instance
	for _, i := range members {
		if !i.Protected {
			candidates = append(candidates, i)
		}
	}
	w.rng.Shuffle(len(candidates), func(a, b int) { candidates[a], candidates[b] = candidates[b], candidates[a] })
	return candidates[:min(n, len(candidates))]
}

// retryLater lets a group that is short of instances try again, so that a refused one may still arrive
// long after its caller has given up.
func (w *world) retryLater(g *group) {
	if g.retryPending {
		return
	}
	g.retryPending = true
	every := g.delays.Retry.of()
	if every <= 0 {
		every = defaultRetry
	}
	w.clock.AfterFunc(every, func() {
		w.locked(func() {
			g.retryPending = false
			w.reconcile(g, byShortage)
		})
	})
}
