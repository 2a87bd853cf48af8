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
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

func newExplainCommand() *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	var config string
	cmd := &cobra.Command{
		Use:   "explain (raycluster|rayjob|rayservice|deployment|statefulset|pod|nodegroup)/NAME",
		Short: "Say why a workload runs or waits, what is being done, and what you can do",
		Long: `Prints the verdict on a workload, as the manager wrote it, and what was bought for it. Of a RayService
that is being upgraded it prints what its user waits for first, then the cluster that serves. Of a
Deployment or StatefulSet it prints how many pods run, and what most of the others wait for.

Of a node group it prints its members and who holds them, its bounds, its price, how long its nodes
take to boot, and what the cloud refuses and until when. It reads the cluster and the cloud for that,
as the manager does, and needs its configuration.`,
		Example: `  capmgr explain raycluster/train
  capmgr explain rayjob/nightly
  capmgr explain deployment/web
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
	case "rayjob", "rayjobs", "rayjobs.ray.io":
		v, err = ofRayJob(ctx, c, namespace, name)
	case "rayservice", "rayservices", "rayservices.ray.io":
		return explainService(ctx, out, c, namespace, name, now)
	case "deployment", "deployments", "deploy", "deployments.apps":
		v, err = ofDeployment(ctx, c, namespace, name)
	case "statefulset", "statefulsets", "sts", "statefulsets.apps":
		v, err = ofStatefulSet(ctx, c, namespace, name)
	case "pod", "pods", "po":
		v, err = ofPod(ctx, c, namespace, name)
	default:
		return fmt.Errorf("kind %q cannot be explained: raycluster, rayjob, rayservice, deployment, statefulset, pod or nodegroup", kind)
	}
	if err != nil {
		return err
	}
	printVerdict(out, v, now)
	return printRequests(ctx, out, c, v.Gang)
}

// ofRayCluster explains a RayCluster; one that runs for a RayJob, by the job.
func ofRayCluster(ctx context.Context, c client.Client, namespace, name string) (plan.Verdict, error) {
	rc := &rayv1.RayCluster{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, rc); err != nil {
		return plan.Verdict{}, fmt.Errorf("read raycluster %s/%s: %w", namespace, name, err)
	}
	if ref := metav1.GetControllerOf(rc); ref != nil && ref.Kind == "RayJob" {
		return ofRayJob(ctx, c, namespace, ref.Name)
	}
	return stored("RayCluster", rc)
}

func ofRayJob(ctx context.Context, c client.Client, namespace, name string) (plan.Verdict, error) {
	j := &rayv1.RayJob{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, j); err != nil {
		return plan.Verdict{}, fmt.Errorf("read rayjob %s/%s: %w", namespace, name, err)
	}
	if cluster := j.Spec.ClusterSelector[ray.ClusterLabel]; cluster != "" {
		return ofRayCluster(ctx, c, namespace, cluster)
	}
	if rayv1.IsJobDeploymentTerminal(j.Status.JobDeploymentStatus) && j.Annotations[v1alpha1.VerdictAnnotation] == "" {
		return plan.Verdict{}, fmt.Errorf("rayjob %s/%s is over: %s", namespace, name, j.Status.JobDeploymentStatus)
	}
	return stored("RayJob", j)
}

// explainService explains the clusters of a RayService, the one that its user waits for first.
func explainService(ctx context.Context, out io.Writer, c client.Client, namespace, name string, now time.Time) error {
	s := &rayv1.RayService{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		return fmt.Errorf("read rayservice %s/%s: %w", namespace, name, err)
	}
	var clusters []string
	for _, cluster := range []string{s.Status.PendingServiceStatus.RayClusterName, s.Status.ActiveServiceStatus.RayClusterName} {
		if cluster != "" {
			clusters = append(clusters, cluster)
		}
	}
	if len(clusters) == 0 {
		return fmt.Errorf("rayservice %s/%s has no RayCluster yet: KubeRay makes it; look at the events of the RayService", namespace, name)
	}
	for k, cluster := range clusters {
		v, err := ofRayCluster(ctx, c, namespace, cluster)
		if err != nil {
			return err
		}
		if k > 0 {
			fmt.Fprintln(out)
		}
		printVerdict(out, v, now)
		if err := printRequests(ctx, out, c, v.Gang); err != nil {
			return err
		}
	}
	return nil
}

// stored is the verdict that the manager wrote on an object.
func stored(kind string, o client.Object) (plan.Verdict, error) {
	what := fmt.Sprintf("%s %s/%s", strings.ToLower(kind), o.GetNamespace(), o.GetName())
	text := o.GetAnnotations()[v1alpha1.VerdictAnnotation]
	if text == "" {
		return plan.Verdict{}, fmt.Errorf("%s has no verdict: capmgr is not running, or another scheduler serves it", what)
	}
	v, err := plan.ParseVerdict(text)
	if err != nil {
		return plan.Verdict{}, fmt.Errorf("%s: %w", what, err)
	}
	v.Gang = plan.Owner{APIVersion: rayv1.GroupVersion.String(), Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}
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
	if job, err := submittedFor(ctx, c, pod); err != nil || job != "" {
		if err != nil {
			return plan.Verdict{}, err
		}
		return ofRayJob(ctx, c, namespace, job)
	}
	queue, err := queueOf(ctx, c, pod)
	if err != nil {
		return plan.Verdict{}, err
	}
	v := onPod(pod, queue)
	if v.Reason == "" {
		return v, fmt.Errorf("pod %s/%s has no verdict: capmgr is not running, or another scheduler serves it", namespace, name)
	}
	return v, nil
}

// onPod is the verdict that the manager wrote on a pod that is a gang of its own; without a reason where
// there is none.
func onPod(pod *corev1.Pod, queue string) plan.Verdict {
	v := plan.Verdict{Queue: queue, Gang: plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}}
	if pod.Spec.NodeName != "" {
		v.Reason, v.Message = plan.Running, "it is bound to "+pod.Spec.NodeName
		return v
	}
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Reason != "" {
			v.Reason, v.Message = plan.Reason(cond.Reason), strings.TrimSuffix(cond.Message, ".")
			// What is said to other autoscalers has the verdict's reason before its message.
			if said, ours := strings.CutPrefix(v.Message, string(plan.WaitingForNodes)+": "); ours && cond.Reason == corev1.PodReasonUnschedulable {
				v.Reason, v.Message = plan.WaitingForNodes, said
			}
			break
		}
	}
	return v
}

// submittedFor names the RayJob that a pod submits, or "".
func submittedFor(ctx context.Context, c client.Client, pod *corev1.Pod) (string, error) {
	ref := metav1.GetControllerOf(pod)
	if ref == nil || ref.Kind != "Job" {
		return "", nil
	}
	job := &batchv1.Job{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: ref.Name}, job); err != nil {
		return "", fmt.Errorf("read job %s/%s: %w", pod.Namespace, ref.Name, err)
	}
	if of := metav1.GetControllerOf(job); of != nil && of.Kind == "RayJob" {
		return of.Name, nil
	}
	return "", nil
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

// stateOf is how far a purchase has come: of one that failed the reason and what came of it, of any other
// its latest words.
func stateOf(r *v1alpha1.CapacityRequest) string {
	if cond := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionFailed); cond != nil && cond.Status == metav1.ConditionTrue {
		came := 0
		for _, n := range r.Status.Nodes {
			came += len(n.Instances)
		}
		return fmt.Sprintf("Failed: %s, %d of %d came", cond.Reason, came, r.Spec.TotalNodes())
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionProvisioned} {
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
