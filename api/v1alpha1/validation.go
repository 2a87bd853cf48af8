package v1alpha1

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate checks a configuration to which defaults have been applied, and returns
// every finding. The Detail of each says what is wrong and what to write instead.
func Validate(c *CapacityManagerConfiguration) field.ErrorList {
	v := &validator{config: c}
	v.typeMeta()
	v.names()
	v.scheduling(field.NewPath("scheduling"))
	v.limits(field.NewPath("limits"))
	v.nodeGroups(field.NewPath("nodeGroups"))
	v.scaling(c.Defaults.Scaling, field.NewPath("defaults", "scaling"))
	v.noWarmDefault(field.NewPath("defaults", "scaling", "minGPUs"))
	queues := field.NewPath("queues")
	for _, name := range slices.Sorted(maps.Keys(c.Queues)) {
		path := child(queues, name)
		v.objectName(name, path)
		v.scaling(c.Queues[name].Scaling, path.Child("scaling"))
		v.hold(c.Queues[name].Hold, path.Child("hold"))
	}
	v.rayTLS(field.NewPath("ray", "tls"))
	v.webhook(field.NewPath("webhook"))
	v.aws(field.NewPath("aws"))
	v.positive(c.ObserveInterval, field.NewPath("observeInterval"))
	return v.errs
}

// validator collects findings; its methods are the rules.
//
// +kubebuilder:object:generate=false
type validator struct {
	config *CapacityManagerConfiguration
	errs   field.ErrorList
}

func (v *validator) invalid(path *field.Path, value any, format string, args ...any) {
	v.errs = append(v.errs, field.Invalid(path, value, fmt.Sprintf(format, args...)))
}

func (v *validator) required(path *field.Path, remedy string) {
	v.errs = append(v.errs, field.Required(path, "required; "+remedy))
}

func (v *validator) scheduling(path *field.Path) {
	s := v.config.Scheduling
	v.positive(s.DecisionBudget, path.Child("decisionBudget"))
	if d := s.ConsolidateAbove; d != nil && *d <= 0 {
		v.invalid(path.Child("consolidateAbove"), d.String(), "must be above zero; leave it out where nothing is to be moved to save money")
	}
	if n := s.MaxVictims; n != nil && *n < 1 {
		v.invalid(path.Child("maxVictims"), *n, "must be at least 1: with none, no queue ever gets back what it is entitled to")
	}
}

func (v *validator) typeMeta() {
	v.constant(field.NewPath("apiVersion"), v.config.APIVersion, ConfigurationAPIVersion)
	v.constant(field.NewPath("kind"), v.config.Kind, ConfigurationKind)
}

func (v *validator) constant(path *field.Path, got, want string) {
	switch got {
	case want:
	case "":
		v.required(path, "write "+want)
	default:
		v.invalid(path, got, "must be %s, not %q", want, got)
	}
}

func (v *validator) names() {
	schedulers := field.NewPath("schedulerNames")
	if len(v.config.SchedulerNames) == 0 {
		v.required(schedulers, "leave it out for "+strings.Join(DefaultSchedulerNames(), ", ")+", or name at least one")
	}
	for i, name := range v.config.SchedulerNames {
		v.objectName(name, schedulers.Index(i))
		// kube-scheduler and capmgr would place the same pods on the same room.
		if name == "default-scheduler" {
			v.invalid(schedulers.Index(i), name, "default-scheduler is kube-scheduler's own name; use another")
		}
		if first := slices.Index(v.config.SchedulerNames, name); first < i {
			v.duplicate(schedulers.Index(i), name, schedulers.Index(first))
		}
	}
	if queue := v.config.DefaultQueue; queue != "" {
		v.objectName(queue, field.NewPath("defaultQueue"))
	}
	election := field.NewPath("leaderElection")
	v.objectName(v.config.LeaderElection.Namespace, election.Child("namespace"))
	v.objectName(v.config.LeaderElection.Name, election.Child("name"))
}

func (v *validator) limits(path *field.Path) {
	limits := v.config.Limits
	v.notNegative(limits.MaxNodes, path.Child("maxNodes"))
	v.notNegative(limits.MaxNewNodesPerHour, path.Child("maxNewNodesPerHour"))

	var nodes int64
	var cost Dollars
	for _, g := range v.config.NodeGroups {
		nodes += int64(g.MinNodes)
		if g.HourlyPrice != nil {
			cost += Dollars(g.MinNodes) * *g.HourlyPrice
		}
	}
	if limits.MaxNodes != nil && *limits.MaxNodes >= 0 && nodes > int64(*limits.MaxNodes) {
		v.invalid(path.Child("maxNodes"), *limits.MaxNodes,
			"%d is below the %d minNodes of all node groups; raise it or lower them", *limits.MaxNodes, nodes)
	}
	if limits.MaxHourlyCost != nil && cost > *limits.MaxHourlyCost {
		v.invalid(path.Child("maxHourlyCost"), *limits.MaxHourlyCost,
			"%s is below the %s that the minNodes of all node groups cost; raise it or lower them",
			limits.MaxHourlyCost, cost)
	}
}

func (v *validator) aws(path *field.Path) {
	aws := v.config.AWS
	if aws.Endpoint == "" {
		return
	}
	u, err := url.Parse(aws.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		v.invalid(path.Child("endpoint"), aws.Endpoint,
			"must be an absolute http or https URL such as https://aws.example.com, not %q", aws.Endpoint)
	}
}

// objectName checks the name of a Kubernetes object.
func (v *validator) objectName(name string, path *field.Path) {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		v.invalid(path, name,
			"%q cannot be the name of an object; use lower case letters, digits, '-' and '.', at most 253", name)
	}
}

func (v *validator) duplicate(path *field.Path, value string, first *field.Path) {
	err := field.Duplicate(path, value)
	err.Detail = fmt.Sprintf("%q is already at %s; remove one of them", value, first)
	v.errs = append(v.errs, err)
}

func (v *validator) notNegative(n *int32, path *field.Path) {
	if n != nil && *n < 0 {
		v.invalid(path, *n, "must be 0 or more, not %d; leave it out for no bound", *n)
	}
}

func (v *validator) positive(d *metav1.Duration, path *field.Path) {
	if d != nil && d.Duration <= 0 {
		v.invalid(path, d.Duration.String(), "must be longer than 0s, not %s; leave it out for the default", d.Duration)
	}
}
