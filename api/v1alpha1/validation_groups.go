package v1alpha1

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxGroupName keeps a group's name usable as the value of a label.
	maxGroupName = validation.LabelValueMaxLength
	// maxASGName is the longest name that EC2 Auto Scaling gives a group.
	maxASGName = 255
	// maxGroupNodes is more than any Kubernetes cluster holds today; it keeps sums of
	// nodes and of prices far from overflow.
	maxGroupNodes = 100_000
)

func (v *validator) nodeGroups(path *field.Path) {
	names, asgs := map[string]*field.Path{}, map[string]*field.Path{}
	for i := range v.config.NodeGroups {
		g, at := &v.config.NodeGroups[i], path.Index(i)
		v.groupName(g.Name, at.Child("name"), names)
		v.provider(g, at, asgs)
		v.delegate(i, at)
		v.size(g, at)
		v.shape(g, at)
		v.positive(g.IdleAfter, at.Child("idleAfter"))
		v.positive(g.ExpectedBootTime, at.Child("expectedBootTime"))
		v.positive(g.ProvisionTimeout, at.Child("provisionTimeout"))
		v.patience(g, at)
	}
}

func (v *validator) groupName(name string, path *field.Path, seen map[string]*field.Path) {
	if name == "" {
		v.required(path, "queues and bounds refer to the group by it")
		return
	}
	if len(name) > maxGroupName || len(validation.IsDNS1123Subdomain(name)) > 0 {
		v.invalid(path, name,
			"%q cannot be the name of a node group; use lower case letters, digits, '-' and '.', at most %d", name, maxGroupName)
	}
	if first, dup := seen[name]; dup {
		v.duplicate(path, name, first)
		return
	}
	seen[name] = path
}

const providers = "aws, provisioning-request, signal"

func (v *validator) provider(g *NodeGroup, path *field.Path, seen map[string]*field.Path) {
	switch g.Provider {
	case ProviderAWS:
	case ProviderProvisioningRequest, ProviderSignal:
		return
	case "":
		v.required(path.Child("provider"), "known providers: "+providers)
		return
	default:
		v.invalid(path.Child("provider"), g.Provider, "unknown provider %q; known providers: %s", g.Provider, providers)
		return
	}
	at := path.Child("aws", "autoScalingGroup")
	switch {
	case g.AWS == nil || g.AWS.AutoScalingGroup == "":
		v.required(at, "name the EC2 Auto Scaling group that the nodes come from")
	case len(g.AWS.AutoScalingGroup) > maxASGName:
		v.invalid(at, g.AWS.AutoScalingGroup, "must be at most %d characters", maxASGName)
	case seen[g.AWS.AutoScalingGroup] != nil:
		// Two groups with one desired count would undo each other's decisions.
		v.duplicate(at, g.AWS.AutoScalingGroup, seen[g.AWS.AutoScalingGroup])
	default:
		seen[g.AWS.AutoScalingGroup] = at
	}
}

func (v *validator) size(g *NodeGroup, path *field.Path) {
	if g.MinNodes < 0 {
		v.invalid(path.Child("minNodes"), g.MinNodes, "must be 0 or more, not %d", g.MinNodes)
	}
	switch {
	case g.MaxNodes == nil:
		v.required(path.Child("maxNodes"), "write the most nodes that the group may ever have")
	case *g.MaxNodes < 0:
		v.invalid(path.Child("maxNodes"), *g.MaxNodes, "must be 0 or more, not %d; 0 buys nothing", *g.MaxNodes)
	case *g.MaxNodes > maxGroupNodes:
		v.invalid(path.Child("maxNodes"), *g.MaxNodes, "must be at most %d, not %d", maxGroupNodes, *g.MaxNodes)
	case g.MinNodes > *g.MaxNodes:
		v.invalid(path.Child("minNodes"), g.MinNodes, "must be at most maxNodes, %d; it is %d", *g.MaxNodes, g.MinNodes)
	}
}

// patience refuses a group that would be given up before it is expected to be up.
func (v *validator) patience(g *NodeGroup, path *field.Path) {
	if g.ExpectedBootTime == nil || g.ProvisionTimeout == nil {
		return
	}
	if boot, timeout := g.ExpectedBootTime.Duration, g.ProvisionTimeout.Duration; 0 < timeout && timeout <= boot {
		v.invalid(path.Child("provisionTimeout"), timeout.String(),
			"must be longer than expectedBootTime, %s; it is %s", boot, timeout)
	}
}

// shape checks what the nodes promise to look like.
func (v *validator) shape(g *NodeGroup, path *field.Path) {
	for _, key := range sortedKeys(g.Labels) {
		at := path.Child("labels").Key(key)
		v.messages(at, key, validation.IsQualifiedName(key))
		v.messages(at, g.Labels[key], validation.IsValidLabelValue(g.Labels[key]))
	}
	for i, taint := range g.Taints {
		v.taint(taint, path.Child("taints").Index(i))
	}
	for i, key := range g.StartupTaints {
		at := path.Child("startupTaints").Index(i)
		v.messages(at, key, validation.IsQualifiedName(key))
		if first := slices.Index(g.StartupTaints, key); first < i {
			v.duplicate(at, key, path.Child("startupTaints").Index(first))
		}
	}
}

var taintEffects = []string{
	string(corev1.TaintEffectNoSchedule), string(corev1.TaintEffectPreferNoSchedule), string(corev1.TaintEffectNoExecute),
}

func (v *validator) taint(taint corev1.Taint, path *field.Path) {
	v.messages(path.Child("key"), taint.Key, validation.IsQualifiedName(taint.Key))
	v.messages(path.Child("value"), taint.Value, validation.IsValidLabelValue(taint.Value))
	if !slices.Contains(taintEffects, string(taint.Effect)) {
		v.invalid(path.Child("effect"), taint.Effect, "must be one of %s, not %q",
			strings.Join(taintEffects, ", "), taint.Effect)
	}
}

// messages reports what a check of the Kubernetes library has found.
func (v *validator) messages(path *field.Path, value string, messages []string) {
	for _, message := range messages {
		v.invalid(path, value, "%q is refused: %s", value, message)
	}
}
