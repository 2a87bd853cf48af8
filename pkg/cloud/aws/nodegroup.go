package aws

import (
	"context"
	"strings"
	"time"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// Tags that EKS puts on the auto scaling group of a managed node group.
const (
	nodegroupNameTag    = "eks:nodegroup-name"
	nodegroupClusterTag = "eks:cluster-name"
)

const nodegroupTTL = 5 * time.Minute

// nodegroup is what only EKS knows of a managed node group: it keeps labels and taints out of the
// launch template.
type nodegroup struct {
	name          string
	labels        map[string]string
	taints        []cloud.Taint
	instanceTypes []string
	capacityType  string // "" when this package has no word for it
	capacityLabel string // EKS's own word
	windows       bool
	ownImage      bool // a custom AMI: EKS does not set its kubelet's limits
}

// nodegroupOf returns nil for a group that EKS does not manage.
func (p *Provider) nodegroupOf(ctx context.Context, asg *astypes.AutoScalingGroup) (*nodegroup, error) {
	name, named := tag(asg, nodegroupNameTag)
	cluster, owned := tag(asg, nodegroupClusterTag)
	if !named || !owned {
		return nil, nil
	}
	ng, err := p.nodegroups.get(cluster+"/"+name, nodegroupTTL, func() (nodegroup, error) {
		out, err := call(ctx, p.describes, describeTimeout, func(ctx context.Context) (*eks.DescribeNodegroupOutput, error) {
			return p.api.nodegroups.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &cluster, NodegroupName: &name})
		})
		if err != nil {
			return nodegroup{}, err
		}
		if out.Nodegroup == nil {
			return nodegroup{}, reject("node group %s of cluster %s: EKS described nothing", name, cluster)
		}
		return readNodegroup(name, out.Nodegroup), nil
	})
	return &ng, err
}

func readNodegroup(name string, n *ekstypes.Nodegroup) nodegroup {
	ng := nodegroup{
		name:          name,
		labels:        n.Labels,
		instanceTypes: n.InstanceTypes,
		capacityLabel: string(n.CapacityType),
		windows:       strings.HasPrefix(string(n.AmiType), "WINDOWS"),
		ownImage:      n.AmiType == ekstypes.AMITypesCustom,
	}
	switch n.CapacityType {
	case ekstypes.CapacityTypesOnDemand:
		ng.capacityType = onDemand
	case ekstypes.CapacityTypesSpot:
		ng.capacityType = spot
	}
	for _, t := range n.Taints {
		ng.taints = append(ng.taints, cloud.Taint{Key: value(t.Key), Value: value(t.Value), Effect: taintEffect(t.Effect)})
	}
	return ng
}

// taintEffect translates EKS's spelling into that of nodes.
func taintEffect(e ekstypes.TaintEffect) string {
	switch e {
	case ekstypes.TaintEffectNoSchedule:
		return "NoSchedule"
	case ekstypes.TaintEffectPreferNoSchedule:
		return "PreferNoSchedule"
	case ekstypes.TaintEffectNoExecute:
		return "NoExecute"
	}
	return string(e)
}
