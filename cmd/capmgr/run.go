package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/loop"
)

type runOptions struct {
	config      string
	kubeconfig  string
	metrics     string
	probes      string
	leaderElect bool
	verbosity   int
}

func newRunCommand() *cobra.Command {
	o := runOptions{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the manager",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "/etc/capmgr/config.yaml", "configuration file")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file (default: KUBECONFIG, or the pod's service account)")
	f.StringVar(&o.metrics, "metrics-bind-address", ":8080", "address of /metrics; 0 turns it off")
	f.StringVar(&o.probes, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 turns it off")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "act only while holding the lease")
	f.IntVarP(&o.verbosity, "verbosity", "v", 0, "log verbosity: 0 consequences, 1 decisions, 2 details")
	return cmd
}

// run wires world, loop and executor to a manager and runs it until a signal comes.
func run(ctx context.Context, o runOptions) error {
	log := setLogger(o.verbosity)
	config, err := v1alpha1.Load(o.config)
	if err != nil {
		return err
	}
	rc, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	if err := checkServer(rc, config); err != nil {
		return err
	}
	w, err := newWorld(ctx, config, rc)
	if err != nil {
		return err
	}
	w.observer.OnError = func(err error) { log.Error(err, "Could not read the cloud; trying again") }
	if err := checkListen(ctx, "--metrics-bind-address", o.metrics); err != nil {
		return err
	}
	mgr, err := newManager(o, config, rc)
	if err != nil {
		return err
	}
	if err := w.follow(ctx, mgr.GetCache()); err != nil {
		return err
	}
	uncached, err := client.New(rc, client.Options{Scheme: mgr.GetScheme()})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", rc.Host, err)
	}
	runnables := []manager.Runnable{w, standby(w.observer.Run)}
	executor := &execute.Executor{
		Kube: w.kube, Client: uncached, Mirror: w.mirror, Observe: w.observer.Observe, Providers: w.providers,
		Memory: memoryOf(config),
		Events: mgr.GetEventRecorderFor("capmgr"), Log: log.WithName("execute"), Now: time.Now,
	}
	asked, err := newHeads(config, w.mirror, w.kube)
	if err != nil {
		return err
	}
	if asked != nil {
		executor.Heads = asked.poller
		runnables = append(runnables, asked)
	}
	decide := &loop.Loop{
		Mirror: w.mirror, Fit: w.fit, Log: log.WithName("loop"), Now: time.Now, Synced: w.awaitSync,
		Budget:   config.Scheduling.DecisionBudget.Duration,
		Executor: executor,
	}
	for _, r := range append(runnables, decide) {
		if err := mgr.Add(r); err != nil {
			return fmt.Errorf("set up the manager: %w", err)
		}
	}
	if err := mgr.AddReadyzCheck("synced", func(*http.Request) error {
		if !w.mirror.Observed() {
			return fmt.Errorf("the cloud has not been read yet")
		}
		return nil
	}); err != nil {
		return fmt.Errorf("set up the manager: %w", err)
	}
	if err := serveWebhook(mgr, config, w.kube, w.mirror, log.WithName("webhook")); err != nil {
		return fmt.Errorf("set up the webhook: %w", err)
	}
	log.Info("Starting", "version", version, "config", o.config, "nodeGroups", len(config.NodeGroups))
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// checkListen says that an address cannot be had before the manager starts, which would only find
// out in the middle of it.
func checkListen(ctx context.Context, flag, address string) error {
	if address == "0" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

func newManager(o runOptions, config *v1alpha1.Config, rc *rest.Config) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	// The lease has a client of its own: renewing it must not wait behind a thousand binds.
	lease := rest.CopyConfig(rc)
	lease.QPS, lease.Burst = 10, 20
	mgr, err := ctrl.NewManager(rc, ctrl.Options{
		Scheme:                        scheme,
		LeaderElection:                o.leaderElect,
		LeaderElectionConfig:          lease,
		LeaderElectionNamespace:       config.LeaderElection.Namespace,
		LeaderElectionID:              config.LeaderElection.Name,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: o.metrics},
		HealthProbeBindAddress:        o.probes,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	return mgr, nil
}

// standby is a runnable that does not wait for the leadership.
type standby func(context.Context) error

// Start runs until ctx ends.
func (s standby) Start(ctx context.Context) error { return s(ctx) }

// NeedLeaderElection is false.
func (standby) NeedLeaderElection() bool { return false }
