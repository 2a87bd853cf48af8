package fakeaws

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate reports everything that is wrong, each with the path of its field.
func (c Config) Validate() error {
	var errs field.ErrorList
	if c.Region == "" {
		errs = append(errs, field.Required(field.NewPath("region"), ""))
	}
	if c.ClusterName == "" {
		errs = append(errs, field.Required(field.NewPath("clusterName"), ""))
	}
	errs = append(errs, c.Delays.validate(field.NewPath("delays"))...)
	names := map[string]bool{}
	for i, g := range c.Groups {
		path := field.NewPath("groups").Index(i)
		if names[g.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), g.Name))
		}
		names[g.Name] = true
		errs = append(errs, g.validate(path, c.Region)...)
	}
	for i, f := range c.Faults {
		path := field.NewPath("faults").Index(i)
		errs = append(errs, f.validate(path)...)
		if f.Group != "" && !names[f.Group] {
			errs = append(errs, field.NotFound(path.Child("group"), f.Group))
		}
	}
	return errs.ToAggregate()
}

func (g GroupConfig) validate(path *field.Path, region string) field.ErrorList {
	var errs field.ErrorList
	// Nodes are named after the group, so the name must suit Kubernetes too.
	for _, problem := range validation.IsDNS1123Label(g.Name) {
		errs = append(errs, field.Invalid(path.Child("name"), g.Name, problem))
	}
	if _, ok := ShapeOf(g.InstanceType); !ok {
		errs = append(errs, field.NotSupported(path.Child("instanceType"), g.InstanceType, shapeNames()))
	}
	if len(g.Zone) != len(region)+1 || !strings.HasPrefix(g.Zone, region) {
		errs = append(errs, field.Invalid(path.Child("zone"), g.Zone, "must be a zone of "+region))
	}
	if g.Min < 0 || g.Max < g.Min {
		errs = append(errs, field.Invalid(path.Child("max"), g.Max, fmt.Sprintf("must be at least min (%d), and min at least 0", g.Min)))
	}
	if g.Desired != 0 && (g.Desired < g.Min || g.Desired > g.Max) {
		errs = append(errs, field.Invalid(path.Child("desired"), g.Desired, "must be between min and max"))
	}
	if g.CapacityType != "" && g.CapacityType != OnDemand && g.CapacityType != Spot {
		errs = append(errs, field.NotSupported(path.Child("capacityType"), g.CapacityType, []string{OnDemand, Spot}))
	}
	for i, t := range g.Taints {
		errs = append(errs, validateTaint(path.Child("taints").Index(i), t)...)
	}
	if g.StartupTaint != nil {
		errs = append(errs, validateTaint(path.Child("startupTaint"), *g.StartupTaint)...)
	}
	return append(errs, g.Delays.validate(path.Child("delays"))...)
}

func validateTaint(path *field.Path, t corev1.Taint) field.ErrorList {
	var errs field.ErrorList
	if t.Key == "" {
		errs = append(errs, field.Required(path.Child("key"), ""))
	}
	switch t.Effect {
	case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		errs = append(errs, field.NotSupported(path.Child("effect"), t.Effect, []corev1.TaintEffect{
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}))
	}
	return errs
}

func (d Delays) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, value := range map[string]*Duration{
		"launch": d.Launch, "ready": d.Ready, "gpu": d.GPU, "terminate": d.Terminate, "spread": d.Spread, "retry": d.Retry,
	} {
		errs = append(errs, value.validate(path.Child(name))...)
	}
	return errs
}

func (d *Duration) validate(path *field.Path) field.ErrorList {
	if d == nil || d.bad == "" {
		return nil
	}
	return field.ErrorList{field.Invalid(path, d.bad, "must be a duration like 90s, not negative")}
}
