// Package signal has nodes made by whoever makes them for pods that wait: a stock Cluster Autoscaler,
// or Karpenter. Both look for one thing, the condition PodScheduled with status False and the reason
// Unschedulable, and for nothing else.
//
// So there is nobody to ask, and nothing to write here. A purchase from such a group is its
// CapacityRequest: for as long as it is open, pkg/execute marks the pods that it names, and no others.
// This package says what there is to say of such a group, and when the pods that were marked are not
// any more those to be marked.
package signal

import (
	"context"
	"fmt"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// Provider implements cloud.Delegate. It is safe for concurrent use.
type Provider struct{}

// Observe returns what the configuration promises of the groups: there is no cloud to read.
func (Provider) Observe(_ context.Context, groups []cloud.GroupConfig) ([]cloud.Group, error) {
	return cloud.Promised(groups), nil
}

// Launch has nothing to do: the pods of an open request are marked.
func (Provider) Launch(context.Context, cloud.LaunchRequest) ([]string, error) { return nil, nil }

// Follow gives up when a pod is gone: another one in its place has not been asked for, and a new
// request marks it.
func (Provider) Follow(_ context.Context, r cloud.LaunchRequest, gone []cloud.Pod) error {
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("ask for %d nodes of %s: pod %s/%s is gone: %w", r.Count, r.Group.Name, gone[0].Namespace, gone[0].Name, cloud.ErrStale)
}

// Withdraw has nothing to do: the pods of a request that is over are not marked.
func (Provider) Withdraw(context.Context, cloud.LaunchRequest) error { return nil }

// Annotations are none: the condition is all that is looked at.
func (Provider) Annotations(cloud.LaunchRequest) map[string]string { return nil }

// Terminate refuses: whoever made the nodes removes them.
func (Provider) Terminate(_ context.Context, g cloud.GroupConfig, instances []string) error {
	return fmt.Errorf("terminate %v of %s: another autoscaler removes its nodes: %w", instances, g.Name, cloud.ErrRejected)
}
