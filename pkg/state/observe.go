package state

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
)

// Observer reads the node groups from the cloud into a mirror, at an interval and on demand.
type Observer struct {
	Mirror    *Mirror
	Providers map[v1alpha1.Provider]cloud.Provider
	Groups    []v1alpha1.NodeGroup
	Interval  time.Duration
	OnError   func(error) // told of every failed read; may be nil

	asked   atomic.Uint64 // calls of Observe so far
	begin   sync.Once
	reading chan struct{} // has a place for the one who reads
	served  uint64        // the last call that a finished read has an answer for
}

// GroupConfig is what a provider needs to know of a configured group.
func GroupConfig(g v1alpha1.NodeGroup) cloud.GroupConfig {
	c := cloud.GroupConfig{Name: g.Name, AllowForeign: g.AllowSharedASG}
	if g.AWS != nil {
		c.CloudName = g.AWS.AutoScalingGroup
	}
	if g.Delegated() {
		c.Delegation = delegation(g)
	}
	return c
}

// delegation is what another autoscaler has to be told of its group, and what it will deliver. The
// configuration has been checked: there is a capacity, of numbers that fit.
func delegation(g v1alpha1.NodeGroup) *cloud.Delegation {
	d := &cloud.Delegation{Selector: g.NodeSelector(), InstanceType: g.InstanceType, Zone: g.Zone,
		Shape: cloud.Shape{MilliCPU: g.Capacity.CPU.MilliValue(), Memory: g.Capacity.Memory.Value(),
			GPUs: g.Capacity.GPUs, Pods: g.Capacity.Pods, Labels: g.NodeSelector()}}
	if p := g.ProvisioningRequest; p != nil {
		d.Class, d.Parameters = p.ClassName, p.Parameters
	}
	return d
}

// Observe returns when all groups have been read after it was called. A provider that cannot be read leaves
// its groups as they were. Reads follow each other, so that none overwrites what a later one has seen, and
// one read answers all who were waiting when it began.
func (o *Observer) Observe(ctx context.Context) error {
	turn := o.asked.Add(1)
	o.begin.Do(func() { o.reading = make(chan struct{}, 1) })
	select {
	case o.reading <- struct{}{}:
		defer func() { <-o.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if o.served >= turn {
		return nil
	}
	upTo := o.asked.Load()
	if err := o.read(ctx); err != nil {
		return err
	}
	o.served = upTo
	return nil
}

func (o *Observer) read(ctx context.Context) error {
	byProvider := map[v1alpha1.Provider][]cloud.GroupConfig{}
	for _, g := range o.Groups {
		byProvider[g.Provider] = append(byProvider[g.Provider], GroupConfig(g))
	}
	names := make([]v1alpha1.Provider, 0, len(byProvider))
	for name := range byProvider {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		groups, err := o.Providers[name].Observe(ctx, byProvider[name])
		if err != nil {
			return fmt.Errorf("observe provider %s: %w", name, err)
		}
		o.Mirror.SetGroups(groups)
	}
	return nil
}

// Run observes until ctx ends.
func (o *Observer) Run(ctx context.Context) error {
	if len(o.Groups) == 0 {
		return nil
	}
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
	for {
		if err := o.Observe(ctx); err != nil && ctx.Err() == nil && o.OnError != nil {
			o.OnError(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
