package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func newPlanCommand() *cobra.Command {
	var config, kubeconfig, output string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what capmgr would do now, and do nothing",
		Long: `Makes one decision on the cluster and the cloud as they are now and prints it: the same decision
that the running manager would make, with nobody to carry it out.

Exit status: 0 nothing to do, 1 there are steps, 255 an error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			setLogger(-3) // errors only: the plan is the output
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q is unknown: text or json", output)
			}
			p, err := decideOnce(cmd.Context(), config, kubeconfig)
			if err != nil {
				return err
			}
			if err := printPlan(cmd.OutOrStdout(), p, output); err != nil {
				return err
			}
			if len(p.Steps) > 0 {
				return exitCode(1)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "/etc/capmgr/config.yaml", "configuration file")
	f.StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file (default: KUBECONFIG, or the pod's service account)")
	f.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// decideOnce reads cluster and cloud once and decides.
func decideOnce(ctx context.Context, configPath, kubeconfig string) (*plan.Plan, error) {
	config, err := v1alpha1.Load(configPath)
	if err != nil {
		return nil, err
	}
	rc, err := restConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	var p *plan.Plan
	err = readOnce(ctx, config, rc, func(w *world, s *snapshot.Snapshot) error {
		w.fit.Begin(s)
		p = scheduler.Decide(s, w.fit)
		return nil
	})
	return p, err
}

// readOnce reads cluster and cloud as they are now and hands the result to use.
func readOnce(ctx context.Context, config *v1alpha1.Config, rc *rest.Config, use func(*world, *snapshot.Snapshot) error) error {
	if err := checkServer(rc, config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	w, err := newWorld(ctx, config, rc)
	if err != nil {
		return err
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	custom, err := cache.New(rc, cache.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("watch the cluster: %w", err)
	}
	if err := w.follow(ctx, custom); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- w.Start(ctx) }()
	go func() { ended <- custom.Start(ctx) }()
	switch left, err := execute.ReadMemory(ctx, w.kube, memoryOf(config)); {
	case err == nil:
		w.mirror.Recall(left)
	case !apierrors.IsForbidden(err): // who may not read it sees a decision without
		return err
	}
	if err := w.observer.Observe(ctx); err != nil {
		return err
	}
	if !w.awaitSync(ctx) {
		return fmt.Errorf("the cluster could not be read within %s", observeTimeout)
	}
	return use(w, w.mirror.Snapshot(time.Now()))
}

func printPlan(out io.Writer, p *plan.Plan, format string) error {
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}
	plan.Fprint(out, p)
	return nil
}
