package aws

import (
	"fmt"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// foreignTag marks a group that Cluster Autoscaler sizes. It counts instances and writes absolute
// desired counts, so two managers of one group kill each other's machines.
const foreignTag = "k8s.io/cluster-autoscaler/enabled"

// usable refuses groups that do not exist or whose machines are not this manager's to count.
func (p *Provider) usable(g cloud.GroupConfig, asg *astypes.AutoScalingGroup) error {
	switch {
	case asg == nil:
		return reject("auto scaling group %q does not exist in %s: create it, or correct aws.autoScalingGroup", g.CloudName, p.opts.Region)
	case value(asg.Status) != "":
		return reject("auto scaling group %q is being deleted (%s): take it out of the configuration", g.CloudName, *asg.Status)
	case !g.AllowForeign && hasTag(asg, foreignTag):
		return reject("auto scaling group %q is tagged %s: remove the tag, or allow sharing it for this group", g.CloudName, foreignTag)
	case asg.LaunchConfigurationName != nil:
		return reject("auto scaling group %q uses a launch configuration, which LaunchInstances does not take: give it a launch template", g.CloudName)
	}
	return nil
}

// reject builds an error on which a person has to act.
func reject(format string, args ...any) error {
	return fmt.Errorf("%w: %w", cloud.ErrRejected, fmt.Errorf(format, args...))
}

func hasTag(asg *astypes.AutoScalingGroup, key string) bool {
	_, ok := tag(asg, key)
	return ok
}

func tag(asg *astypes.AutoScalingGroup, key string) (string, bool) {
	for _, t := range asg.Tags {
		if value(t.Key) == key {
			return value(t.Value), true
		}
	}
	return "", false
}
