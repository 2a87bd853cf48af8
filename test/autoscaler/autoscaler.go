package autoscaler

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Options are the paces of the autoscaler. All of them are minutes in a cluster and seconds in a test.
type Options struct {
	Scan      time.Duration // between two loops
	Booking   time.Duration // how long a provisioned request's room is kept
	Retry     time.Duration // before a request without capacity is tried again; doubled each time
	Idle      time.Duration // how long a node may be idle before it is removed
	Karpenter bool          // deaf to ProvisioningRequests; and a pod that is nominated keeps no node
}

// Group is a node group as the autoscaler has it.
type Group struct {
	Name        string
	Labels      map[string]string
	Taints      []corev1.Taint
	Allocatable corev1.ResourceList
	Max         int // the nodes that it may have
	// Stock is how many machines the cloud has: what is asked for beyond them is promised all the same,
	// and never comes. Negative: as many as anyone wants.
	Stock int
	Boot  time.Duration // until a node exists, for each of the group's that are coming
	GPU   time.Duration // from then on until its devices are advertised
}

// Autoscaler makes nodes while it runs.
type Autoscaler struct {
	options Options
	groups  []*group
	kube    kubernetes.Interface
	client  client.Client
	log     *slog.Logger

	mu      sync.Mutex
	looked  map[string]bool // pods that it took for demand, by namespace/name
	retry   map[string]time.Duration
	idle    map[string]time.Time // by node
	removed []string
	booting sync.WaitGroup
}

// group is a node group and what has become of it.
type group struct {
	Group

	serial int
	asked  int             // nodes that the cloud was ever asked for
	coming map[string]bool // nodes that are promised and do not exist yet
}

// New returns an autoscaler of some groups. The client's scheme knows ProvisioningRequests.
func New(kube kubernetes.Interface, c client.Client, options Options, log *slog.Logger, groups ...Group) *Autoscaler {
	a := &Autoscaler{options: options, kube: kube, client: c, log: log,
		looked: map[string]bool{}, retry: map[string]time.Duration{}, idle: map[string]time.Time{}}
	for _, g := range groups {
		a.groups = append(a.groups, &group{Group: g, coming: map[string]bool{}})
	}
	return a
}

// Run loops until ctx ends, and returns when nothing of it runs any more.
func (a *Autoscaler) Run(ctx context.Context) {
	defer a.booting.Wait()
	tick := time.NewTicker(a.options.Scan)
	defer tick.Stop()
	for {
		if err := a.loop(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("A loop failed; the next one tries again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// loop is one round: requests, then pods that wait, then idle nodes.
func (a *Autoscaler) loop(ctx context.Context) error {
	w, err := a.look(ctx)
	if err != nil {
		return err
	}
	if !a.options.Karpenter {
		if err := a.expire(ctx, w); err != nil {
			return err
		}
		a.book(ctx, w)
		if err := a.nextRequest(ctx, w); err != nil {
			return err
		}
	}
	a.helpPending(ctx, w)
	return a.removeIdle(ctx, w)
}

// Asked is how many nodes of a group the cloud was ever asked for.
func (a *Autoscaler) Asked(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.groups {
		if g.Name == name {
			return g.asked
		}
	}
	return 0
}

// Looked says whether a pod was ever taken for demand: that it waits, and wants a node.
func (a *Autoscaler) Looked(namespace, pod string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.looked[namespace+"/"+pod]
}

// Removed lists the idle nodes that were removed.
func (a *Autoscaler) Removed() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.removed)
}
