package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func newExplainCommand() *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	var config string
	cmd := &cobra.Command{
		Use:   "explain (raycluster|pod|nodegroup)/NAME",
		Short: "Say why a workload runs or waits, what is being done, and what you can do",
		Long: `Prints the verdict on a workload, as the manager wrote it, and what was bought for it.

Of a node group it prints its members and who holds them, its bounds, its price, how long its nodes
take to boot, and what the cloud refuses and until when. It reads the cluster and the cloud for that,
as the manager does, and needs its configuration.`,
		Example: `  capmgr explain raycluster/train
  capmgr explain -n team-a pod/train-gpu-worker-x7k2p
  capmgr explain nodegroup/g5-xlarge-a --config config.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("explain takes one argument, such as raycluster/train or pod/train-head-x7k2p; it got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			setLogger(-3)
			namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return fmt.Errorf("read kubeconfig: %w", err)
			}
			rc, err := userConfig(flags)
			if err != nil {
				return err
			}
			if kind, name, ok := strings.Cut(args[0], "/"); ok && slices.Contains([]string{"nodegroup", "nodegroups"}, strings.ToLower(kind)) {
				loaded, err := v1alpha1.Load(config)
				if err != nil {
					return err
				}
				return readOnce(cmd.Context(), loaded, rc, func(_ *world, s *snapshot.Snapshot) error {
					return explainNodeGroup(cmd.OutOrStdout(), s, name)
				})
			}
			if err := checkServer(rc, nil); err != nil {
				return err
			}
			scheme, err := newScheme()
			if err != nil {
				return err
			}
			c, err := client.New(rc, client.Options{Scheme: scheme})
			if err != nil {
				return fmt.Errorf("reach the API server at %s: %w", rc.Host, err)
			}
			return explain(cmd.Context(), cmd.OutOrStdout(), c, namespace, args[0], time.Now())
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/capmgr/config.yaml", "configuration file, for node groups")
	flags.AddFlags(cmd.Flags())
	return cmd
}

// userConfig finds the API server as kubectl does, but for its guess that there is one on localhost.
func userConfig(flags *genericclioptions.ConfigFlags) (*rest.Config, error) {
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	if _, err := rest.InClusterConfig(); err != nil && *flags.APIServer == "" && len(raw.Clusters) == 0 {
		return nil, noServer()
	}
	rc, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return rc, nil
}

// explain prints the stored verdict of a workload and the purchases made for it.
func explain(ctx context.Context, out io.Writer, c client.Client, namespace, what string, now time.Time) error {
	kind, name, ok := strings.Cut(what, "/")
	if !ok || name == "" {
		return fmt.Errorf("%q is not of the form KIND/NAME, such as raycluster/train", what)
	}
	var v plan.Verdict
	var err error
	switch strings.ToLower(kind) {
	case "raycluster", "rayclusters", "rayclusters.ray.io":
		v, err = ofRayCluster(ctx, c, namespace, name)
	case "pod", "pods", "po":
		v, err = ofPod(ctx, c, namespace, name)
	default:
		return fmt.Errorf("kind %q cannot be explained: raycluster, pod or nodegroup", kind)
	}
	if err != nil {
		return err
	}
	printVerdict(out, v, now)
	return printRequests(ctx, out, c, v.Gang)
}

func ofRayCluster(ctx context.Context, c client.Client, namespace, name string) (plan.Verdict, error) {
	rc := &rayv1.RayCluster{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, rc); err != nil {
		return plan.Verdict{}, fmt.Errorf("read raycluster %s/%s: %w", namespace, name, err)
	}
	text := rc.Annotations[v1alpha1.VerdictAnnotation]
	if text == "" {
		return plan.Verdict{}, fmt.Errorf("raycluster %s/%s has no verdict: capmgr is not running, or another scheduler serves it", namespace, name)
	}
	v, err := plan.ParseVerdict(text)
	if err != nil {
		return plan.Verdict{}, fmt.Errorf("raycluster %s/%s: %w", namespace, name, err)
	}
	v.Gang = plan.Owner{APIVersion: rayv1.GroupVersion.String(), Kind: "RayCluster", Namespace: namespace, Name: name, UID: string(rc.UID)}
	return v, nil
}

// ofPod explains the gang that a pod belongs to, or the pod itself when it is alone.
func ofPod(ctx context.Context, c client.Client, namespace, name string) (plan.Verdict, error) {
	pod := &corev1.Pod{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pod); err != nil {
		return plan.Verdict{}, fmt.Errorf("read pod %s/%s: %w", namespace, name, err)
	}
	if ref := metav1.GetControllerOf(pod); ref != nil && ref.Kind == "RayCluster" {
		return ofRayCluster(ctx, c, namespace, ref.Name)
	}
	v := plan.Verdict{Gang: plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: name, UID: string(pod.UID)}}
	v.Queue = pod.Labels[v1alpha1.QueueLabel]
	if pod.Spec.NodeName != "" {
		v.Reason, v.Message = plan.Running, "it is bound to "+pod.Spec.NodeName
		return v, nil
	}
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Reason != "" {
			v.Reason, v.Message = plan.Reason(cond.Reason), strings.TrimSuffix(cond.Message, ".")
			// What is said to other autoscalers has the verdict's reason before its message.
			if said, ours := strings.CutPrefix(v.Message, string(plan.WaitingForNodes)+": "); ours && cond.Reason == corev1.PodReasonUnschedulable {
				v.Reason, v.Message = plan.WaitingForNodes, said
			}
			return v, nil
		}
	}
	return v, fmt.Errorf("pod %s/%s has no verdict: capmgr is not running, or another scheduler serves it", namespace, name)
}

func printVerdict(out io.Writer, v plan.Verdict, now time.Time) {
	fmt.Fprintf(out, "%s in queue %s\n\n", v.Gang, v.Queue)
	fmt.Fprintf(out, "  %-16s %s.\n", v.Reason, v.Message)
	if v.Doing != "" {
		eta := ""
		if wait := v.ETA.Sub(now); wait > 0 {
			eta = fmt.Sprintf(" (expected in %s)", wait.Round(time.Second))
		} else if !v.ETA.IsZero() {
			eta = " (expected any moment)"
		}
		fmt.Fprintf(out, "  %-16s %s%s.\n", "What happens", v.Doing, eta)
	}
	if v.Advice != "" {
		fmt.Fprintf(out, "  %-16s %s.\n", "What you can do", v.Advice)
	}
}

// printRequests lists the purchases made for a gang, oldest attempt first.
func printRequests(ctx context.Context, out io.Writer, c client.Client, gang plan.Owner) error {
	list := &v1alpha1.CapacityRequestList{}
	if err := c.List(ctx, list, client.InNamespace(gang.Namespace)); err != nil {
		return fmt.Errorf("list CapacityRequests: %w", err)
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.AppendHeader(table.Row{"Attempt", "Node groups", "Nodes", "State", "$/h"})
	for attempt := int32(1); ; attempt++ {
		found := false
		for _, r := range list.Items {
			if string(r.Spec.Gang.UID) == gang.UID && r.Spec.Attempt == attempt {
				found = true
				t.AppendRow(table.Row{r.Spec.Attempt, r.Spec.GroupNames(), r.Spec.TotalNodes(), stateOf(&r), r.Spec.HourlyCost})
			}
		}
		if !found {
			break
		}
	}
	if t.Length() > 0 {
		fmt.Fprintf(out, "\nBought for it:\n%s\n", t.Render())
	}
	return nil
}

// stateOf is how far a purchase has come, in its latest words.
func stateOf(r *v1alpha1.CapacityRequest) string {
	for _, kind := range []string{v1alpha1.ConditionFailed, v1alpha1.ConditionReady, v1alpha1.ConditionProvisioned} {
		if cond := meta.FindStatusCondition(r.Status.Conditions, kind); cond != nil && cond.Status == metav1.ConditionTrue {
			return kind + ": " + cond.Message
		}
	}
	for _, n := range r.Status.Nodes {
		if n.Message != "" {
			return "being launched: " + n.NodeGroup + ": " + n.Message
		}
	}
	return "being launched"
}
