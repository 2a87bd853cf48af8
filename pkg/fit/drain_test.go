package fit_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/fit"
)

func TestPodsThatKeepTheirNodes(t *testing.T) {
	yes := true
	owned := func(kind string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "p", Labels: map[string]string{"app": "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: "owner", Controller: &yes}}}}
		for _, f := range change {
			f(p)
		}
		return p
	}
	annotated := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, key, value) }
	}
	volume := func(v corev1.VolumeSource) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: v})
		}
	}
	disk, memory := &corev1.EmptyDirVolumeSource{}, &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	cases := map[string]struct {
		reason string
		pod    *corev1.Pod
		want   string
	}{
		"Worker":          {"KubeRay makes it again", owned("RayCluster"), ""},
		"SharedMemory":    {"KubeRay gives every pod a volume in memory", owned("RayCluster", volume(corev1.VolumeSource{EmptyDir: memory})), ""},
		"Bare":            {"evicted, it is gone", owned("", func(p *corev1.Pod) { p.OwnerReferences = nil }), "it has no controller that would make it again"},
		"BareSafeToEvict": {"its author says that this is fine", owned("", func(p *corev1.Pod) { p.OwnerReferences = nil }, annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "true")), ""},
		"LocalStorage":    {"its data would be gone", owned("ReplicaSet", volume(corev1.VolumeSource{EmptyDir: disk})), "it keeps data on the node"},
		"HostPath":        {"its data is the node's", owned("ReplicaSet", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}})), "it keeps data on the node"},
		"NotSafeToEvict":  {"its author says so", owned("ReplicaSet", annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "false")), "annotation cluster-autoscaler.kubernetes.io/safe-to-evict=false"},
		"DoNotDisrupt":    {"its author says so to Karpenter", owned("ReplicaSet", annotated("karpenter.sh/do-not-disrupt", "true")), "annotation karpenter.sh/do-not-disrupt"},
		"Daemon":          {"it belongs to the node", owned("DaemonSet"), ""},
		"ImportantDaemon": {"somebody wants it left alone where it is", owned("DaemonSet", annotated("karpenter.sh/do-not-disrupt", "true")), "annotation karpenter.sh/do-not-disrupt"},
		"System":          {"the cluster may need it, and nobody said how many may go", owned("ReplicaSet", func(p *corev1.Pod) { p.Namespace = "kube-system" }), "it is a system pod without a disruption budget"},
		"BudgetSpent":     {"one more may not go", owned("ReplicaSet", func(p *corev1.Pod) { p.Labels["app"] = "spent" }), "a disruption budget allows no eviction of it"},
		"BudgetLeft":      {"one may", owned("ReplicaSet", func(p *corev1.Pod) { p.Labels["app"] = "left" }), ""},
		"BudgetElsewhere": {"budgets hold in their namespace", owned("ReplicaSet", func(p *corev1.Pod) { p.Namespace, p.Labels["app"] = "other", "spent" }), ""},
		"Finished": {"nothing is lost", owned("ReplicaSet", func(p *corev1.Pod) {
			p.Status.Phase, p.Spec.RestartPolicy = corev1.PodSucceeded, corev1.RestartPolicyNever
		}), ""},
	}
	d := fit.NewDrainer()
	budget := func(name string, allowed int32) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name},
			Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}},
			Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed}}
	}
	d.SetBudget(budget("spent", 0))
	d.SetBudget(budget("left", 1))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := d.Keeps(c.pod); got != c.want {
				t.Errorf("%s: %q, want %q", c.reason, got, c.want)
			}
		})
	}
	d.DropBudget(budget("spent", 0))
	if got := d.Keeps(cases["BudgetSpent"].pod); got != "" {
		t.Errorf("without the budget: %q", got)
	}
}
