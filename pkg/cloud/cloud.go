// Package cloud is the door to whatever can add and remove machines. It knows nothing of pods,
// gangs or queues: groups of equal machines go in, named instances come out.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Provider grows and shrinks node groups of one cloud account. Implementations are safe for
// concurrent use.
type Provider interface {
	// Observe reads the named groups from the cloud. A group that does not exist, or that must not
	// be used, is an error of that group (Group.Err), never silence.
	Observe(ctx context.Context, groups []GroupConfig) ([]Group, error)

	// Launch adds exactly r.Count instances to a group, synchronously. It may return fewer
	// together with an error that wraps one of the errors below; the instances that it returns
	// exist and are the caller's to keep or to terminate. The same token returns the same
	// instances however often it is sent.
	Launch(ctx context.Context, r LaunchRequest) ([]string, error)

	// Terminate ends the named instances and lowers the group's desired count by as many, never by
	// an absolute write. Instances that are already gone are not an error.
	Terminate(ctx context.Context, g GroupConfig, instances []string) error
}

// GroupConfig is what the configuration says of a group, as far as a provider needs it.
type GroupConfig struct {
	Name         string // capmgr's name
	CloudName    string // the auto scaling group's name
	AllowForeign bool   // use the group although it is tagged for another autoscaler

	Delegation *Delegation // of a group that another autoscaler grows; nil for others
}

// LaunchRequest asks for instances of one group.
type LaunchRequest struct {
	Group  GroupConfig
	Count  int    // 1 to 100
	Zone   string // "" leaves it to a single-zone group
	Token  string // idempotency token, at most 64 ASCII characters
	Intent string // namespace/name of the CapacityRequest; becomes a tag on each instance

	// Of a Delegate's requests only: the rest tells the cloud all that it need know.
	IntentUID string // of the CapacityRequest: what is made for it goes with it
	Pods      []Pod  // for whom
}

// Group is what the cloud says of a node group.
type Group struct {
	Name          string // capmgr's name, as in GroupConfig
	Err           error  // why the group cannot be used; the rest is then zero
	InstanceType  string
	Zone          string
	CapacityType  string // "on-demand" or "spot"
	Min, Max      int
	Desired       int
	Shape         Shape
	PricePerHour  float64 // US dollars; 0 when unknown
	Instances     []Instance
	LaunchVersion string // launch template version or the like: shapes learned under another one are stale
}

// Shape is what one machine of a group offers to pods once it runs.
type Shape struct {
	MilliCPU int64 // allocatable, thousandths of a core
	Memory   int64 // allocatable, bytes
	GPUs     int64 // devices
	GPUModel string
	Pods     int64
	Labels   map[string]string // those the machine is sure to carry
	Taints   []Taint           // those the machine is sure to carry, in a fixed order
}

// Taint keeps pods without a matching toleration off a machine.
type Taint struct {
	Key, Value string
	Effect     string // "NoSchedule", "PreferNoSchedule" or "NoExecute"
}

// Instance is one machine as the cloud tells it.
type Instance struct {
	ID          string
	ProviderID  string // as Kubernetes nodes carry it, "aws:///us-east-1a/i-0abc"
	Zone        string
	InService   bool
	Terminating bool
	Launched    time.Time
	Intent      string // the tag given at launch, if any
}

// Errors carry policy: what to do next follows from the type alone. Test with errors.Is.
var (
	// ErrInsufficientCapacity: the cloud has no such machine there now. Remember it for minutes
	// per (type, zone, capacity type) and try elsewhere.
	ErrInsufficientCapacity = errors.New("insufficient capacity")
	// ErrQuota: the account's quota or the group's maximum is reached. Other zones will not help.
	ErrQuota = errors.New("quota exceeded")
	// ErrThrottled: too many calls. Nothing happened; the same call later.
	ErrThrottled = errors.New("throttled")
	// ErrUnknownOutcome: the request was sent and the answer was lost. Re-observe, or repeat with
	// the same token; never with another.
	ErrUnknownOutcome = errors.New("unknown outcome")
	// ErrStale: what the request was made for is not any more as it was. Decide anew.
	ErrStale = errors.New("stale")
	// ErrRejected: the request can never succeed as it is (permissions, a missing group, a token
	// used twice). A person has to act.
	ErrRejected = errors.New("rejected")
)

// Shortfall says how many of the asked instances came. It wraps the reason.
type Shortfall struct {
	Group      string
	Asked, Got int
	Detail     string // the cloud's own words
	Err        error  // one of the errors above
}

// Error prints what was asked, what came and why.
func (s *Shortfall) Error() string {
	return fmt.Sprintf("launch %d of %s: got %d: %v: %s", s.Asked, s.Group, s.Got, s.Err, s.Detail)
}

// Unwrap returns the reason, so that errors.Is finds the policy.
func (s *Shortfall) Unwrap() error { return s.Err }
