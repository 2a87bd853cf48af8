package aws

import (
	"context"
	"slices"
	"strings"
	"time"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// machine is what EC2 adds to an auto scaling group's own list of instances.
type machine struct {
	launched time.Time
	intent   string
}

// idsPerCall is how many values a filter takes.
const idsPerCall = 200

// machines reads the instances of all groups. They are asked for by filter and not by id, because
// an id that EC2 does not know yet, or no longer, would fail the whole call.
func (p *Provider) machines(ctx context.Context, groups map[string]*astypes.AutoScalingGroup) (map[string]machine, error) {
	var ids []string
	for _, asg := range groups {
		for _, i := range asg.Instances {
			if counts(i.LifecycleState) {
				ids = append(ids, value(i.InstanceId))
			}
		}
	}
	slices.Sort(ids)
	found := make(map[string]machine, len(ids))
	name, limit := "instance-id", int32(1000)
	for some := range slices.Chunk(ids, idsPerCall) {
		pages := ec2.NewDescribeInstancesPaginator(p.api.instances, &ec2.DescribeInstancesInput{
			Filters: []ec2types.Filter{{Name: &name, Values: some}}, MaxResults: &limit,
		})
		for pages.HasMorePages() {
			page, err := call(ctx, p.describes, describeTimeout, func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
				return pages.NextPage(ctx)
			})
			if err != nil {
				return nil, err
			}
			for _, r := range page.Reservations {
				for _, i := range r.Instances {
					found[value(i.InstanceId)] = machine{launched: value(i.LaunchTime), intent: intentOf(i.Tags)}
				}
			}
		}
	}
	return found, nil
}

func intentOf(tags []ec2types.Tag) string {
	for _, t := range tags {
		if value(t.Key) == intentTag {
			return value(t.Value)
		}
	}
	return ""
}

// instancesOf lists a group's machines by id. One that EC2 does not show yet has only just been
// launched and gets the present as its age: taken for old, it would be given up while it boots.
func (p *Provider) instancesOf(asg *astypes.AutoScalingGroup, machines map[string]machine) []cloud.Instance {
	var out []cloud.Instance
	for _, i := range asg.Instances {
		if !counts(i.LifecycleState) {
			continue
		}
		id, zone := value(i.InstanceId), value(i.AvailabilityZone)
		m := machines[id]
		if m.launched.IsZero() {
			m.launched = p.opts.Now()
		}
		out = append(out, cloud.Instance{
			ID:          id,
			ProviderID:  "aws:///" + zone + "/" + id,
			Zone:        zone,
			InService:   i.LifecycleState == astypes.LifecycleStateInService,
			Terminating: leaving(i.LifecycleState),
			Launched:    m.launched,
			Intent:      m.intent,
		})
	}
	slices.SortFunc(out, func(a, b cloud.Instance) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// counts drops what is no capacity of the group: machines that are gone, and those of a warm pool,
// which are stopped or on their way there.
func counts(s astypes.LifecycleState) bool {
	return s != astypes.LifecycleStateTerminated && s != astypes.LifecycleStateDetached &&
		!strings.HasPrefix(string(s), "Warmed:")
}

// leaving says that the machine is lost as capacity. A detached one lives on, but elsewhere.
func leaving(s astypes.LifecycleState) bool {
	return strings.HasPrefix(string(s), string(astypes.LifecycleStateTerminating)) || s == astypes.LifecycleStateDetaching
}
