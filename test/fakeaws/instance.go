package fakeaws

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The lifecycle states that an instance passes through here.
const (
	Pending     = "Pending"
	InService   = "InService"
	Terminating = "Terminating"
	Terminated  = "Terminated"
)

// What launches or terminates an instance beside the operations, which go by their own names.
const (
	byGroupCreated     = "GroupCreated"
	byReplacement      = "Replacement"
	byShortage         = "Shortage"
	bySomeoneElse      = "SomeoneElse"
	bySpotInterruption = "SpotInterruption"
	byHardwareFailure  = "HardwareFailure"
)

// Instance is what the outside may know of an instance; it is a copy and never changes.
type Instance struct {
	ID           string `json:"id"`
	Group        string `json:"group"`
	NodeName     string `json:"nodeName"`
	InstanceType string `json:"instanceType"`
	Zone         string `json:"zone"`
	CapacityType string `json:"capacityType"`
	State        string `json:"state"`
	Protected    bool   `json:"protected,omitempty"`
	// LaunchedBy and TerminatedBy name the operation or the event behind the two.
	LaunchedBy   string `json:"launchedBy"`
	TerminatedBy string `json:"terminatedBy,omitempty"`
	// ClientToken is the one of the LaunchInstances call, if there was one.
	ClientToken string `json:"clientToken,omitempty"`

	Launched      time.Time  `json:"launched"`
	InServiceAt   *time.Time `json:"inServiceAt,omitempty"`
	ReadyAt       *time.Time `json:"readyAt,omitempty"`
	GPUAt         *time.Time `json:"gpuAt,omitempty"`
	TerminatingAt *time.Time `json:"terminatingAt,omitempty"`
	TerminatedAt  *time.Time `json:"terminatedAt,omitempty"`

	// PricePerHour is in US dollars.
	PricePerHour float64 `json:"pricePerHour"`

	// Node is what the instance's node looks like.
	Node NodeSpec `json:"-"`
}

// NodeSpec is what a group gives its nodes.
type NodeSpec struct {
	Region       string
	Nodegroup    string
	Shape        Shape
	Labels       map[string]string
	Taints       []corev1.Taint
	StartupTaint *corev1.Taint
}

// ProviderID is how the node names its instance.
func (i Instance) ProviderID() string { return "aws:///" + i.Zone + "/" + i.ID }

// Alive says that the instance counts for its group's size.
func (i Instance) Alive() bool { return i.State == Pending || i.State == InService }

// instance is the server's own record. The world's lock guards it.
type instance struct {
	Instance
	group     *group
	privateIP string
	tags      map[string]string
	launch    *activity
	terminate *activity
	// noGPUs and neverJoins are faults that struck at the launch.
	noGPUs, neverJoins bool

	stops    []func()           // the timers of booting
	boot     context.Context    //nolint:containedctx // one life of the instance, ended by its termination
	stopBoot context.CancelFunc // ends boot
	last     chan struct{}      // closed when the latest node step is over
	joining  bool               // a node may exist
}

// group is an Auto Scaling group. The world's lock guards it.
type group struct {
	cfg          GroupConfig
	delays       Delays
	min, max     int
	desired      int
	created      time.Time
	tags         map[string]groupTag
	suspended    map[string]bool
	members      []*instance // without the terminated
	activities   []*activity // oldest first
	launched     int         // how many ever, for node names
	retryPending bool
}

type groupTag struct {
	value     string
	propagate bool
}

func (g *group) alive() []*instance {
	var out []*instance
	for _, i := range g.members {
		if i.Alive() {
			out = append(out, i)
		}
	}
	return out
}

func (g *group) arn(region string) string {
	return fmt.Sprintf("arn:aws:autoscaling:%s:000000000000:autoScalingGroup:%s:autoScalingGroupName/%s", region, g.cfg.Name, g.cfg.Name)
}

func (g *group) subnet() string         { return "subnet-" + g.cfg.Zone }
func (g *group) launchTemplate() string { return "lt-" + g.cfg.Name }

// zoneID makes use1-az1 of us-east-1a. The real numbering differs between accounts; this one does not.
func (g *group) zoneID() string {
	zone := g.cfg.Zone
	parts := strings.Split(zone[:len(zone)-1], "-")
	short := parts[0]
	for _, part := range parts[1:] {
		short += part[:1]
	}
	return fmt.Sprintf("%s-az%d", short, zone[len(zone)-1]-'a'+1)
}

func (g *group) wantsLabels() map[string]string {
	labels := make(map[string]string, len(g.cfg.Labels))
	maps.Copy(labels, g.cfg.Labels)
	return labels
}

// activity is a line in a group's history.
type activity struct {
	id          string
	group       *group
	description string
	cause       string
	start       time.Time
	end         time.Time // zero while it lasts
	status      string
	message     string
	progress    int
}

func (a *activity) finish(now time.Time, status string) {
	if a == nil || !a.end.IsZero() {
		return
	}
	a.end, a.status, a.progress = now, status, 100
}
