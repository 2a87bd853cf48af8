package v1alpha1

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxParameters and maxParameter are what a ProvisioningRequest takes.
	maxParameters, maxParameter = 100, 255
	// checkCapacity begins the name of the class that asks whether nodes that are there have room.
	checkCapacity = "check-capacity."
)

// More than any machine has: sums stay far from overflow.
var (
	maxCPU    = resource.MustParse("10k")
	maxMemory = resource.MustParse("1Pi")
)

const maxDevices, maxPods = 1024, 10_000

// delegate checks what only holds where another autoscaler makes the nodes, and that what only
// holds there is nowhere else.
func (v *validator) delegate(index int, path *field.Path) {
	g := &v.config.NodeGroups[index]
	v.onlyAt(g.AWS != nil, g, path.Child("aws"), ProviderAWS)
	v.onlyAt(g.ProvisioningRequest != nil, g, path.Child("provisioningRequest"), ProviderProvisioningRequest)
	v.onlyAt(g.Signal != nil, g, path.Child("signal"), ProviderSignal)
	if !g.Delegated() {
		v.onlyAt(g.Capacity != nil, g, path.Child("capacity"), ProviderProvisioningRequest, ProviderSignal)
		v.onlyAt(g.InstanceType != "", g, path.Child("instanceType"), ProviderProvisioningRequest, ProviderSignal)
		return
	}
	v.onlyAt(g.MinNodes > 0, g, path.Child("minNodes"), ProviderAWS)
	v.onlyAt(g.IdleAfter != nil, g, path.Child("idleAfter"), ProviderAWS)
	v.onlyAt(g.AllowSharedASG, g, path.Child("allowSharedASG"), ProviderAWS)
	if g.HourlyPrice == nil {
		v.required(path.Child("hourlyPrice"), "nobody but you can tell what a node costs; 0 lifts no other bound")
	}
	v.capacity(g.Capacity, path.Child("capacity"))
	if g.InstanceType != "" {
		v.messages(path.Child("instanceType"), g.InstanceType, validation.IsValidLabelValue(g.InstanceType))
	}
	switch g.Provider {
	case ProviderProvisioningRequest:
		at := path.Child("provisioningRequest")
		if g.ProvisioningRequest != nil {
			v.class(g.ProvisioningRequest, at)
		}
		v.selector(index, at.Child("nodeSelector"))
	case ProviderSignal:
		v.selector(index, path.Child("signal", "nodeSelector"))
	default:
	}
}

// onlyAt refuses a field that is set and means nothing at the group's provider. A provider that
// nobody knows has been reported already.
func (v *validator) onlyAt(set bool, g *NodeGroup, path *field.Path, at ...Provider) {
	if !set || g.Provider != ProviderAWS && !g.Delegated() {
		return
	}
	var names []string
	for _, p := range at {
		if g.Provider == p {
			return
		}
		names = append(names, string(p))
	}
	err := field.Forbidden(path, fmt.Sprintf("means something at provider %s only, and this group's is %s; leave it out",
		strings.Join(names, " and "), g.Provider))
	v.errs = append(v.errs, err)
}

func (v *validator) capacity(c *NodeCapacity, path *field.Path) {
	if c == nil {
		v.required(path, "write what one node offers to pods: {cpu: 3920m, memory: 14162Mi, gpus: 1, pods: 58}")
		return
	}
	amount := func(q resource.Quantity, most resource.Quantity, at *field.Path) {
		if q.Sign() <= 0 || q.Cmp(most) > 0 {
			v.invalid(at, q.String(), "must be more than 0 and at most %s, not %s", most.String(), q.String())
		}
	}
	amount(c.CPU, maxCPU, path.Child("cpu"))
	amount(c.Memory, maxMemory, path.Child("memory"))
	if c.GPUs < 0 || c.GPUs > maxDevices {
		v.invalid(path.Child("gpus"), c.GPUs, "must be from 0 to %d, not %d", maxDevices, c.GPUs)
	}
	if c.Pods < 1 || c.Pods > maxPods {
		v.invalid(path.Child("pods"), c.Pods, "must be from 1 to %d, not %d; write how many pods the kubelet takes", maxPods, c.Pods)
	}
}

func (v *validator) class(p *ProvisioningRequestNodeGroup, path *field.Path) {
	name := path.Child("className")
	switch {
	case strings.HasPrefix(p.ClassName, checkCapacity):
		v.invalid(name, p.ClassName, "%s asks whether nodes that are there have room, and makes none; use %s", p.ClassName, BestEffortAtomicClass)
	case len(validation.IsDNS1123Subdomain(p.ClassName)) > 0:
		v.invalid(name, p.ClassName, "%q cannot be a provisioning class; use lower case letters, digits, '-' and '.', at most 253", p.ClassName)
	}
	parameters := path.Child("parameters")
	if len(p.Parameters) > maxParameters {
		v.invalid(parameters, len(p.Parameters), "must be at most %d, not %d", maxParameters, len(p.Parameters))
	}
	for _, key := range sortedKeys(p.Parameters) {
		if n := len(p.Parameters[key]); n > maxParameter {
			v.invalid(parameters.Key(key), n, "must be at most %d characters, not %d", maxParameter, n)
		}
	}
}

// selector checks that the labels which tell the nodes of a delegated group are labels, are not
// contradicted by what the nodes promise to carry, and tell them from those of other groups.
func (v *validator) selector(index int, path *field.Path) {
	g := &v.config.NodeGroups[index]
	selector := g.NodeSelector()
	if len(selector) == 0 {
		v.required(path, "write the labels that tell the group's nodes from all others")
		return
	}
	for _, key := range sortedKeys(selector) {
		at := path.Key(key)
		v.messages(at, key, validation.IsQualifiedName(key))
		v.messages(at, selector[key], validation.IsValidLabelValue(selector[key]))
		if promised, both := g.Labels[key]; both && promised != selector[key] {
			v.invalid(at, selector[key], "is %q here and %q in labels; the label is the same", selector[key], promised)
		}
	}
	for k := range v.config.NodeGroups {
		o := &v.config.NodeGroups[k]
		if k == index || !o.Delegated() || len(o.NodeSelector()) == 0 || !covers(selector, o.sure()) {
			continue
		}
		if k > index && covers(o.NodeSelector(), g.sure()) {
			continue // the same nodes: said at the second of them
		}
		v.invalid(path, selector, "every node of node group %s has these labels as well; add one that tells the two groups apart", o.Name)
	}
}
