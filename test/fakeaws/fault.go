package fakeaws

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// FaultKind says what goes wrong.
type FaultKind string

// The faults that can be scripted.
const (
	// InsufficientCapacity refuses to launch: the zone has no more instances of the type.
	InsufficientCapacity FaultKind = "insufficientCapacity"
	// QuotaExceeded refuses to launch: the account may not have more.
	QuotaExceeded FaultKind = "quotaExceeded"
	// BootDelays replaces the delays of instances launched while it lasts.
	BootDelays FaultKind = "bootDelays"
	// NeverJoins lets instances run that never become nodes.
	NeverJoins FaultKind = "neverJoins"
	// NoGPUs lets nodes join that never advertise GPUs and keep their startup taint.
	NoGPUs FaultKind = "noGPUs"
	// Throttle refuses calls because there were too many.
	Throttle FaultKind = "throttle"
	// Refuse answers calls with the given code and message.
	Refuse FaultKind = "refuse"
	// SlowResponse holds an answer back; the call has taken effect by then.
	SlowResponse FaultKind = "slowResponse"
	// LostResponse lets the call take effect, then cuts the connection.
	LostResponse FaultKind = "lostResponse"
)

var faultKinds = []FaultKind{InsufficientCapacity, QuotaExceeded, BootDelays, NeverJoins, NoGPUs, Throttle, Refuse, SlowResponse, LostResponse}

// Fault is one thing that goes wrong, where, and how often. An empty condition matches everything.
type Fault struct {
	// ID is given by the server.
	ID   string    `json:"id,omitempty"`
	Kind FaultKind `json:"kind"`

	// Group, InstanceType, Zone and CapacityType narrow the faults of instances.
	Group        string `json:"group,omitempty"`
	InstanceType string `json:"instanceType,omitempty"`
	Zone         string `json:"zone,omitempty"`
	CapacityType string `json:"capacityType,omitempty"`
	// Service (autoscaling, ec2, eks) and Operation narrow the faults of calls.
	Service   string `json:"service,omitempty"`
	Operation string `json:"operation,omitempty"`

	// Allow is how many more instances can be launched before a refusal: what is left in the zone, or
	// of the quota. It makes partial fills.
	Allow int `json:"allow,omitempty"`
	// Times is how often the fault strikes: refusals for the faults of launches, instances for those of
	// booting, calls for those of calls. Zero means for ever.
	Times int `json:"times,omitempty"`
	// After is how long the fault waits before it begins.
	After *Duration `json:"after,omitempty"`
	// Lasts is how long it then lasts; for ever if missing.
	Lasts *Duration `json:"lasts,omitempty"`

	// Code and Message replace the usual error. Refuse needs a code.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Delay is SlowResponse's.
	Delay *Duration `json:"delay,omitempty"`
	// Delays are BootDelays'.
	Delays *Delays `json:"delays,omitempty"`

	// Struck counts how often the fault has struck.
	Struck int `json:"struck,omitempty"`
}

func (k FaultKind) ofCalls() bool {
	return k == Throttle || k == Refuse || k == SlowResponse || k == LostResponse
}

func (f Fault) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := false
	for _, k := range faultKinds {
		known = known || k == f.Kind
	}
	if !known {
		return append(errs, field.NotSupported(path.Child("kind"), f.Kind, faultKinds))
	}
	refuse := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "has no meaning for "+string(f.Kind)))
		}
	}
	// A condition that is never looked at would make the fault wider than its author thinks.
	ofCalls := f.Kind.ofCalls()
	refuse(ofCalls && f.Group != "", "group")
	refuse(ofCalls && f.InstanceType != "", "instanceType")
	refuse(ofCalls && f.Zone != "", "zone")
	refuse(ofCalls && f.CapacityType != "", "capacityType")
	refuse(!ofCalls && f.Service != "", "service")
	refuse(!ofCalls && f.Operation != "", "operation")
	refuse(f.Allow != 0 && f.Kind != InsufficientCapacity && f.Kind != QuotaExceeded, "allow")
	refuse(f.Delay != nil && f.Kind != SlowResponse, "delay")
	refuse(f.Delays != nil && f.Kind != BootDelays, "delays")
	if f.Kind == Refuse && f.Code == "" {
		errs = append(errs, field.Required(path.Child("code"), ""))
	}
	if f.Kind == SlowResponse && f.Delay == nil {
		errs = append(errs, field.Required(path.Child("delay"), ""))
	}
	if f.Kind == BootDelays && f.Delays == nil {
		errs = append(errs, field.Required(path.Child("delays"), ""))
	}
	if f.Allow < 0 {
		errs = append(errs, field.Invalid(path.Child("allow"), f.Allow, "must not be negative"))
	}
	if f.Times < 0 {
		errs = append(errs, field.Invalid(path.Child("times"), f.Times, "must not be negative"))
	}
	errs = append(errs, f.After.validate(path.Child("after"))...)
	errs = append(errs, f.Lasts.validate(path.Child("lasts"))...)
	errs = append(errs, f.Delay.validate(path.Child("delay"))...)
	if f.Delays != nil {
		errs = append(errs, f.Delays.validate(path.Child("delays"))...)
	}
	return errs
}

func matches(condition, value string) bool {
	return condition == "" || strings.EqualFold(condition, value)
}

func (f Fault) matchesGroup(g *group) bool {
	return matches(f.Group, g.cfg.Name) && matches(f.InstanceType, g.cfg.InstanceType) &&
		matches(f.Zone, g.cfg.Zone) && matches(f.CapacityType, g.cfg.CapacityType)
}

func (f Fault) matchesCall(service, operation string) bool {
	return matches(f.Service, service) && matches(f.Operation, operation)
}

// activeFault is a fault with its place in time.
type activeFault struct {
	Fault
	from  time.Time
	until time.Time // zero: for ever
}

func (f *activeFault) active(now time.Time) bool {
	if now.Before(f.from) || (!f.until.IsZero() && !now.Before(f.until)) {
		return false
	}
	return f.Times == 0 || f.Struck < f.Times
}
