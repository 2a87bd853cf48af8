package aws

import (
	"context"
	"strconv"
	"time"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// template is what a launch template version says of its machines.
type template struct {
	version      string // its number, also when it was asked for by alias
	instanceType string
	capacityType string
}

// A numbered version never changes; an alias moves whenever somebody publishes a version.
const (
	numberedTemplateTTL = time.Hour
	aliasedTemplateTTL  = time.Minute
)

// fromTemplate completes a recipe from the group's launch template. The template is read only for
// what is still missing: its type, its market, or the number behind $Latest and $Default.
func (p *Provider) fromTemplate(ctx context.Context, group string, spec *astypes.LaunchTemplateSpecification, r recipe) (recipe, error) {
	id, version := value(spec.LaunchTemplateId), value(spec.Version)
	if id == "" {
		id = value(spec.LaunchTemplateName)
	}
	if version == "" {
		version = "$Default"
	}
	if _, err := strconv.Atoi(version); err != nil || r.instanceType == "" || r.capacityType == "" {
		t, err := p.template(ctx, spec, id, version)
		if err != nil {
			return recipe{}, err
		}
		version = t.version
		if r.instanceType == "" {
			r.instanceType = t.instanceType
		}
		if r.capacityType == "" {
			r.capacityType = t.capacityType
		}
	}
	if r.instanceType == "" {
		return recipe{}, reject("auto scaling group %q: launch template %s:%s names no instance type: set one", group, id, version)
	}
	r.version = id + ":" + version
	return r, nil
}

func (p *Provider) template(ctx context.Context, spec *astypes.LaunchTemplateSpecification, id, version string) (template, error) {
	ttl := numberedTemplateTTL
	if _, err := strconv.Atoi(version); err != nil {
		ttl = aliasedTemplateTTL
	}
	return p.templates.get(id+":"+version, ttl, func() (template, error) {
		in := &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: spec.LaunchTemplateId, Versions: []string{version}}
		if spec.LaunchTemplateId == nil { // AWS takes the one or the other
			in.LaunchTemplateName = spec.LaunchTemplateName
		}
		out, err := call(ctx, p.describes, describeTimeout, func(ctx context.Context) (*ec2.DescribeLaunchTemplateVersionsOutput, error) {
			return p.api.templates.DescribeLaunchTemplateVersions(ctx, in)
		})
		if err != nil {
			return template{}, err
		}
		if len(out.LaunchTemplateVersions) == 0 {
			return template{}, reject("launch template %s has no version %s: correct the auto scaling group", id, version)
		}
		return readTemplate(out.LaunchTemplateVersions[0]), nil
	})
}

func readTemplate(v ec2types.LaunchTemplateVersion) template {
	t := template{version: strconv.FormatInt(value(v.VersionNumber), 10), capacityType: onDemand}
	if data := v.LaunchTemplateData; data != nil {
		t.instanceType = string(data.InstanceType)
		if m := data.InstanceMarketOptions; m != nil && m.MarketType == ec2types.MarketTypeSpot {
			t.capacityType = spot
		}
	}
	return t
}
