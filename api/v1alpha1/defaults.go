package v1alpha1

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultIdleAfter is how long a node idles before it is given back.
	DefaultIdleAfter = 5 * time.Minute
	// DefaultExpectedBootTime is the time from buying a node to its GPUs being advertised.
	DefaultExpectedBootTime = 4 * time.Minute
	// DefaultProvisionTimeout is when nodes that never became usable are given up.
	DefaultProvisionTimeout = 15 * time.Minute
	// DefaultObserveInterval is the time between two looks at the cloud.
	DefaultObserveInterval = 10 * time.Second
	// DefaultMaxVictims is how many pods one decision evicts at most.
	DefaultMaxVictims = 256
	// DefaultDecisionBudget is the time that one decision may take.
	DefaultDecisionBudget = time.Second
	// DefaultLeaderElectionNamespace is where the Lease lives.
	DefaultLeaderElectionNamespace = "capmgr-system"
	// DefaultWebhookPort is where the webhook listens.
	DefaultWebhookPort = 9443
	// DefaultWebhookService is the Service in front of the webhook.
	DefaultWebhookService = "capmgr-webhook"
	// DefaultLeaderElectionName is the name of the Lease.
	DefaultLeaderElectionName = "capmgr"
)

// DefaultSchedulerNames are the scheduler names that a manager answers to when the
// file names none.
func DefaultSchedulerNames() []string { return []string{"capmgr", "kai-scheduler"} }

// SetDefaults fills what the file left out. Zero that was written is kept, because
// where it is wrong the operator shall hear of it. It may run twice.
func SetDefaults(c *CapacityManagerConfiguration) {
	if c.SchedulerNames == nil {
		c.SchedulerNames = DefaultSchedulerNames()
	}
	if c.LeaderElection.Namespace == "" {
		c.LeaderElection.Namespace = DefaultLeaderElectionNamespace
	}
	if c.LeaderElection.Name == "" {
		c.LeaderElection.Name = DefaultLeaderElectionName
	}
	setDuration(&c.ObserveInterval, DefaultObserveInterval)
	setDuration(&c.Scheduling.DecisionBudget, DefaultDecisionBudget)
	if c.Scheduling.MaxVictims == nil {
		most := int32(DefaultMaxVictims)
		c.Scheduling.MaxVictims = &most
	}
	if c.Ray.AskHeads == nil {
		ask := true
		c.Ray.AskHeads = &ask
	}
	if w := c.Webhook; w != nil {
		w.Port = cmp.Or(w.Port, DefaultWebhookPort)
		w.Service = cmp.Or(w.Service, DefaultWebhookService)
	}
	for i := range c.NodeGroups {
		g := &c.NodeGroups[i]
		if !g.Delegated() {
			setDuration(&g.IdleAfter, DefaultIdleAfter)
		}
		if g.ProvisioningRequest != nil && g.ProvisioningRequest.ClassName == "" {
			g.ProvisioningRequest.ClassName = BestEffortAtomicClass
		}
		setDuration(&g.ExpectedBootTime, DefaultExpectedBootTime)
		setDuration(&g.ProvisionTimeout, DefaultProvisionTimeout)
	}
}

func setDuration(d **metav1.Duration, value time.Duration) {
	if *d == nil {
		*d = &metav1.Duration{Duration: value}
	}
}
