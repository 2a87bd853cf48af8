// Package aws grows and shrinks EC2 Auto Scaling groups, managed by EKS or not. Machines come by
// LaunchInstances, which answers at once with what it got, and leave by name with a decrement of
// the desired count; the desired count is never written as a number.
package aws

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/capmgr/capmgr/pkg/cloud"
)

var _ cloud.Provider = (*Provider)(nil)

// Options configures a Provider. The zero value takes everything from the environment, as other
// AWS tools do.
type Options struct {
	Region      string // "" takes the region of the environment
	Endpoint    string // overrides the endpoints of all services, for tests and private gateways
	ClusterName string // becomes the tag capmgr.io/cluster of each launched instance

	// Prices gives US dollars per hour by instance type. It goes before the built-in table, which
	// knows only g5 in us-east-1.
	Prices map[string]float64

	// OnTagFailure hears of instances that were launched but could not be tagged; nil ignores it.
	// They are in the group and were returned by Launch, but Observe will not know their intent, so
	// recovery must find them by repeating the launch with the same token.
	OnTagFailure func(group string, instances []string, err error)

	Now func() time.Time // nil means time.Now
}

// Provider implements cloud.Provider with Auto Scaling groups.
type Provider struct {
	api  clients
	opts Options

	// Reads and writes have budgets of their own, so that a long observation never delays a launch.
	// They stay under the throttles of an account, which other controllers share.
	describes *rate.Limiter
	mutations *rate.Limiter

	types      *cache[machineType]
	nodegroups *cache[nodegroup]
	templates  *cache[template]
}

// New connects to AWS. It fails with one clear error when the region or the credentials are
// missing; it calls no service of the account.
func New(ctx context.Context, o Options) (*Provider, error) {
	cfg, err := loadConfig(ctx, o)
	if err != nil {
		return nil, err
	}
	o.Region = cfg.Region
	return newProvider(connect(cfg, o.Endpoint), o), nil
}

func newProvider(api clients, o Options) *Provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Provider{
		api:        api,
		opts:       o,
		describes:  rate.NewLimiter(10, 20),
		mutations:  rate.NewLimiter(2, 10),
		types:      newCache[machineType](o.Now),
		nodegroups: newCache[nodegroup](o.Now),
		templates:  newCache[template](o.Now),
	}
}

// How long one call may take, the SDK's repetitions included. LaunchInstances is synchronous and
// waits for EC2. Without a limit a lost connection would hold a step for ever.
const (
	describeTimeout = time.Minute
	mutateTimeout   = 2 * time.Minute
	tagTimeout      = 10 * time.Second
)

// call waits for its turn, sends one request and gives a failure its policy.
func call[O any](ctx context.Context, turn *rate.Limiter, limit time.Duration, send func(context.Context) (O, error)) (O, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var none O
	if err := wait(ctx, turn); err != nil {
		return none, err
	}
	out, err := send(ctx)
	if err != nil {
		return none, classify(err)
	}
	return out, nil
}

// wait tells a caller who gave up, whose error has no policy, from a turn that would come too
// late: nothing was sent in either case.
func wait(ctx context.Context, turn *rate.Limiter) error {
	err := turn.Wait(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: own rate limit: %w", cloud.ErrThrottled, err)
}
