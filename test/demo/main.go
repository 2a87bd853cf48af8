// Command demo tells capmgr's story on this machine, checks every step of it, and leaves nothing
// behind: a real control plane, the real KubeRay operator and the real capmgr; AWS and the GPUs are
// played.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/capmgr/capmgr/test/fakedashboard"
	"github.com/capmgr/capmgr/test/localcluster"
	"github.com/capmgr/capmgr/test/stack"
)

type options struct {
	dir    string
	report string
	keep   bool
	down   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	o := options{}
	cmd := &cobra.Command{
		Use:           "demo",
		Short:         "Tell capmgr's story on a local control plane, and check it",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.dir, "dir", "_output/demo", "run directory; what an earlier demo left there is removed")
	cmd.Flags().StringVar(&o.report, "report", "_output/demo.json", "file for the steps as JSON")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave everything running after the story")
	cmd.Flags().BoolVar(&o.down, "down", false, "stop what an earlier --keep left running, and do nothing else")
	err := cmd.ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := removeOld(o.dir); err != nil {
		return err
	}
	if o.down {
		return nil
	}
	t := newTeller(os.Stdout)
	dashboards, err := fakedashboard.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = dashboards.Stop() }()
	s, err := bringUp(ctx, o, t, dashboards.URL)
	if err != nil {
		t.end()
		return interrupted(ctx, err)
	}
	newStory(s, t, dashboards).tell(ctx)
	t.end()
	keep := o.keep && t.failed() == 0 && ctx.Err() == nil
	if !keep {
		if err := s.Stop(); err != nil {
			return fmt.Errorf("stop everything: %w", err)
		}
	}
	if ctx.Err() != nil {
		return interrupted(ctx, ctx.Err())
	}
	if err := t.write(o.report); err != nil {
		return err
	}
	t.table()
	if keep {
		howToGoOn(s)
	}
	fmt.Printf("demo: %d passed, %d failed\n", t.passed(), t.failed())
	if n := t.failed(); n > 0 {
		return fmt.Errorf("%d steps did not come true; the logs are in %s", n, s.Dir+"/logs")
	}
	return nil
}

// bringUp starts everything but tells it as part of the first step.
func bringUp(ctx context.Context, o options, t *teller, dashboards string) (*stack.Stack, error) {
	t.begin("Control plane, KubeRay, fake AWS and capmgr come up")
	started := time.Now()
	s, err := stack.Start(ctx, stack.Options{Dir: o.dir, Detached: o.keep, Progress: t.doing,
		KubeRay: &localcluster.KubeRay{BatchScheduler: "kai-scheduler", Dashboards: dashboards}})
	if err != nil {
		return nil, err
	}
	t.figure("control plane and operators up", seconds(time.Since(started)))
	return s, nil
}

// removeOld ends and removes what an earlier demo left in its directory.
func removeOld(dir string) error {
	if err := localcluster.StopDetached(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("stop the earlier demo in %s: %w", dir, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the earlier demo: %w", err)
	}
	return nil
}

func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted; everything it started has been stopped")
	}
	return err
}

// howToGoOn prints what to type next when everything was left running.
func howToGoOn(s *stack.Stack) {
	fmt.Printf(`
Everything is still running. To look around:

  export KUBECONFIG=%s
  alias kubectl=%s/_output/bin/kubectl capmgr=%s/_output/bin/capmgr

  kubectl apply -f test/demo/manifests/train.yaml   # ask for four GPUs again
  capmgr explain raycluster/train                   # why it waits, what is coming
  kubectl get capacityrequests,nodes,pods -o wide
  capmgr explain raycluster/too-big
  kubectl get queues.scheduling.run.ai

Stop it with: make demo-down

`, s.Kubeconfig, s.Root, s.Root)
}
