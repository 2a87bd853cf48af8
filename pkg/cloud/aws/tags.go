package aws

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// Tags on each instance that this manager launched.
const (
	intentTag  = "capmgr.io/intent"  // the CapacityRequest that it was bought for
	managedTag = "capmgr.io/managed" // "true"
	clusterTag = "capmgr.io/cluster" // the cluster's name

	tagValueMax = 256
)

// tagInstances marks what a launch returned, in one call, for a recovery that has lost the answer.
// The machines exist and are paid for whatever becomes of it.
func (p *Provider) tagInstances(ctx context.Context, r cloud.LaunchRequest, ids []string) {
	if len(ids) == 0 {
		return
	}
	in := &ec2.CreateTagsInput{Resources: slices.Clone(ids), Tags: []ec2types.Tag{newTag(managedTag, "true")}}
	if r.Intent != "" {
		in.Tags = append(in.Tags, newTag(intentTag, r.Intent))
	}
	if p.opts.ClusterName != "" {
		in.Tags = append(in.Tags, newTag(clusterTag, p.opts.ClusterName))
	}
	_, err := call(ctx, p.mutations, tagTimeout, func(ctx context.Context) (*ec2.CreateTagsOutput, error) {
		return p.api.tags.CreateTags(ctx, in, untilVisible)
	})
	if err != nil && p.opts.OnTagFailure != nil {
		p.opts.OnTagFailure(r.Group.Name, in.Resources, err)
	}
}

func newTag(key, value string) ec2types.Tag { return ec2types.Tag{Key: &key, Value: &value} }
