package deploy_test

import (
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/webhook"
)

func TestConfigurationsDecode(t *testing.T) {
	for _, path := range files(t, "config.yaml") {
		if _, err := v1alpha1.Load(path); err != nil {
			t.Error(err)
		}
	}
}

// The three groups that the demo tells its story with.
func TestKindConfiguration(t *testing.T) {
	config, err := v1alpha1.Load("kind/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range config.NodeGroups {
		names = append(names, g.Name)
	}
	if !slices.Equal(names, []string{"g5-xlarge", "g5-2xlarge", "g5-12xlarge"}) {
		t.Errorf("node groups %v", names)
	}
	if config.AWS.Region != "" || config.AWS.Endpoint != "" {
		t.Error("region and endpoint must come from the environment: they differ from desk to desk")
	}
	limit := queueNamed(t, "kind/queues.yaml", "team-a").Spec.Resources.GPU.Limit
	if bound := config.Queues["team-a"].Scaling.MaxGPUs; limit != 8 || bound == nil || float64(*bound) > limit {
		t.Errorf("team-a may use %v devices and buy %v", limit, bound)
	}
}

func queueNamed(t *testing.T, path, name string) *queuev2.Queue {
	t.Helper()
	for _, doc := range documents(t, path) {
		if q := decode[queuev2.Queue](t, path, doc); q.Name == name {
			return q
		}
	}
	t.Fatalf("%s has no queue %s", path, name)
	return nil
}

// Each configured queue exists, and each parent that a queue names does.
func TestQueuesAreWhole(t *testing.T) {
	for _, overlay := range []string{"kind", "eks", "autoscaler"} {
		names := map[string]bool{"": true}
		var queues []*queuev2.Queue
		for _, doc := range documents(t, overlay+"/queues.yaml") {
			q := decode[queuev2.Queue](t, overlay+"/queues.yaml", doc)
			if q.APIVersion != queuev2.GroupVersion.String() || q.Kind != "Queue" || q.Spec.Resources == nil {
				t.Errorf("%s: %s is a %s %s without resources or of another kind", overlay, q.Name, q.APIVersion, q.Kind)
			}
			names[q.Name] = true
			queues = append(queues, q)
		}
		for _, q := range queues {
			if !names[q.Spec.ParentQueue] {
				t.Errorf("%s: queue %s names the parent %s, which is missing", overlay, q.Name, q.Spec.ParentQueue)
			}
		}
		config, err := v1alpha1.Load(overlay + "/config.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for name := range config.Queues {
			if !names[name] {
				t.Errorf("%s: the configuration bounds the queue %s, which is missing", overlay, name)
			}
		}
	}
}

func TestPriorityClasses(t *testing.T) {
	want := map[string]int32{
		v1alpha1.PriorityClassTrain:            v1alpha1.PriorityTrain,
		v1alpha1.PriorityClassBuildPreemptible: v1alpha1.PriorityBuildPreemptible,
		v1alpha1.PriorityClassBuild:            v1alpha1.PriorityBuild,
		v1alpha1.PriorityClassInference:        v1alpha1.PriorityInference,
	}
	const path = "base/priorityclasses.yaml"
	for _, doc := range documents(t, path) {
		class := decode[schedulingv1.PriorityClass](t, path, doc)
		if value, ok := want[class.Name]; !ok || class.Value != value {
			t.Errorf("class %s has the value %d, want %d", class.Name, class.Value, value)
		}
		if class.GlobalDefault {
			t.Errorf("class %s is the default of the whole cluster", class.Name)
		}
		delete(want, class.Name)
	}
	for name := range want {
		t.Errorf("class %s is missing", name)
	}
}

func TestDeployment(t *testing.T) {
	d := decodeOnly[appsv1.Deployment](t, "base/deployment.yaml")
	pod := d.Spec.Template.Spec
	if *d.Spec.Replicas != 2 || len(pod.Containers) != 1 {
		t.Fatalf("%d replicas of %d containers", *d.Spec.Replicas, len(pod.Containers))
	}
	c := pod.Containers[0]
	if !slices.Equal(c.Args, []string{"run", "--config=/etc/capmgr/config.yaml"}) {
		t.Errorf("args %v", c.Args)
	}
	mounted := slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
		return v.ConfigMap != nil && v.ConfigMap.Name == "capmgr-config"
	})
	if !mounted || c.VolumeMounts[0].MountPath != "/etc/capmgr" {
		t.Error("the configuration is not mounted where the arguments look for it")
	}
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if ports["metrics"] != 8080 || ports["health"] != 8081 {
		t.Errorf("ports %v", ports)
	}
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("the probes ask for other paths than the manager serves")
	}
	if s := pod.SecurityContext; !*s.RunAsNonRoot || s.SeccompProfile.Type != "RuntimeDefault" {
		t.Error("the pod is not admitted under the restricted standard")
	}
	if s := c.SecurityContext; *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || s.Capabilities.Drop[0] != "ALL" {
		t.Error("the container is not admitted under the restricted standard")
	}
}

// The example shows every provider that leaves the nodes to another autoscaler, and nothing that needs
// rights at a cloud.
func TestAutoscalerConfiguration(t *testing.T) {
	config, err := v1alpha1.Load("autoscaler/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[v1alpha1.Provider]bool{}
	for _, g := range config.NodeGroups {
		seen[g.Provider] = true
		if !g.Delegated() {
			t.Errorf("node group %s is of provider %s", g.Name, g.Provider)
		}
	}
	if !seen[v1alpha1.ProviderProvisioningRequest] || !seen[v1alpha1.ProviderSignal] {
		t.Errorf("the example shows %v", seen)
	}
}

// What asking Cluster Autoscaler takes is apart, and no more than the provider does.
func TestProvisioningRequestRights(t *testing.T) {
	want := map[string][]string{"provisioningrequests": {"get", "create", "delete"}, "podtemplates": {"create", "delete"}, "pods": {"patch"}}
	docs := documents(t, "autoscaler/provisioning-request.yaml")
	role := decode[rbacv1.ClusterRole](t, "autoscaler/provisioning-request.yaml", docs[0])
	for _, rule := range role.Rules {
		for _, r := range rule.Resources {
			if !slices.Equal(rule.Verbs, want[r]) {
				t.Errorf("%s may be changed by %v, want %v", r, rule.Verbs, want[r])
			}
			delete(want, r)
		}
	}
	for r := range want {
		t.Errorf("there is no right on %s", r)
	}
	binding := decode[rbacv1.ClusterRoleBinding](t, "autoscaler/provisioning-request.yaml", docs[1])
	if binding.RoleRef.Name != role.Name || len(binding.Subjects) != 1 || binding.Subjects[0].Name != "capmgr" {
		t.Errorf("the role is bound to %+v", binding)
	}
}

// The manager's rights hold no wildcard, no secret, and nothing that a plan does not do.
func TestManagerRights(t *testing.T) {
	write := map[string][]string{
		"pods/binding": {"create"}, "pods/eviction": {"create"}, "pods/status": {"patch"},
		"rayclusters": {"patch"}, "rayclusters/status": {"patch"}, "rayservices/status": {"patch"}, "rayjobs": {"patch"}, "jobs": {"patch"}, "rayservices": {"patch"}, "nodes": {"patch"}, "events": {"create", "patch"},
		"capacityrequests":        {"create", "patch", "update", "delete"},
		"capacityrequests/status": {"patch", "update"}, "queues/status": {"patch", "update"},
	}
	role := decode[rbacv1.ClusterRole](t, "base/rbac/write.yaml", documents(t, "base/rbac/write.yaml")[0])
	for _, rule := range role.Rules {
		for _, r := range rule.Resources {
			if !slices.Equal(rule.Verbs, write[r]) {
				t.Errorf("%s may be changed by %v, want %v", r, rule.Verbs, write[r])
			}
			delete(write, r)
		}
	}
	for r := range write {
		t.Errorf("there is no right on %s", r)
	}

	role = decode[rbacv1.ClusterRole](t, "base/rbac/read.yaml", documents(t, "base/rbac/read.yaml")[0])
	for _, rule := range role.Rules {
		if !slices.Equal(rule.Verbs, []string{"get", "list", "watch"}) {
			t.Errorf("%v are read by %v", rule.Resources, rule.Verbs)
		}
		for _, r := range rule.Resources {
			if r == "secrets" || r == "configmaps" || strings.Contains(r, "*") {
				t.Errorf("%s may be read", r)
			}
		}
	}

	// Secrets are read one by one, and only where a binding of the operator's own allows it.
	tokens := decodeOnly[rbacv1.ClusterRole](t, "base/rbac/ray-tokens.yaml")
	if len(tokens.Rules) != 1 || !slices.Equal(tokens.Rules[0].Resources, []string{"secrets"}) || !slices.Equal(tokens.Rules[0].Verbs, []string{"get"}) {
		t.Errorf("the role for tokens allows %+v", tokens.Rules)
	}

	lease := decode[rbacv1.Role](t, "base/rbac/lease.yaml", documents(t, "base/rbac/lease.yaml")[0])
	for _, rule := range lease.Rules {
		byName := slices.Equal(rule.ResourceNames, []string{v1alpha1.DefaultLeaderElectionName})
		if !byName && !slices.Equal(rule.Verbs, []string{"create"}) {
			t.Errorf("any lease may be changed by %v", rule.Verbs)
		}
	}
	if lease.Namespace != v1alpha1.DefaultLeaderElectionNamespace {
		t.Errorf("the lease's role is in %s", lease.Namespace)
	}
}

// Nothing is kept from being made because the webhook is down, slow or wrong.
func TestTheWebhookFailsOpen(t *testing.T) {
	c := decodeOnly[admissionregistrationv1.MutatingWebhookConfiguration](t, "components/webhook/webhook.yaml")
	if c.Name != webhook.ConfigurationName {
		t.Errorf("the manager looks for %s", webhook.ConfigurationName)
	}
	var paths []string
	for _, w := range c.Webhooks {
		if *w.FailurePolicy != admissionregistrationv1.Ignore || *w.TimeoutSeconds > 5 || *w.SideEffects != admissionregistrationv1.SideEffectClassNone {
			t.Errorf("%s may keep objects from being made: %+v", w.Name, w)
		}
		if w.ObjectSelector == nil && len(w.MatchConditions) == 0 {
			t.Errorf("%s is asked about everything of a kind", w.Name)
		}
		except := w.NamespaceSelector.MatchExpressions[0]
		for _, namespace := range []string{"capmgr-system", "kube-system"} {
			if except.Key != "kubernetes.io/metadata.name" || except.Operator != metav1.LabelSelectorOpNotIn || !slices.Contains(except.Values, namespace) {
				t.Errorf("%s is asked about %s", w.Name, namespace)
			}
		}
		for _, r := range w.Rules {
			if !slices.Equal(r.Operations, []admissionregistrationv1.OperationType{admissionregistrationv1.Create}) || slices.Contains(r.Resources, "*") {
				t.Errorf("%s is asked about %+v", w.Name, r)
			}
		}
		if s := w.ClientConfig.Service; s.Name != v1alpha1.DefaultWebhookService || s.Namespace != v1alpha1.DefaultLeaderElectionNamespace {
			t.Errorf("%s is asked at %+v", w.Name, s)
		}
		paths = append(paths, *w.ClientConfig.Service.Path)
	}
	if !slices.Equal(paths, []string{webhook.PodsPath, webhook.JobsPath, webhook.RayJobsPath}) {
		t.Errorf("asked at %v", paths)
	}
	const rbac = "components/webhook/rbac.yaml"
	role := decode[rbacv1.Role](t, rbac, documents(t, rbac)[0])
	cluster := decode[rbacv1.ClusterRole](t, rbac, documents(t, rbac)[2])
	for _, rule := range append(role.Rules, cluster.Rules...) {
		if len(rule.ResourceNames) != 1 || slices.Contains(rule.Verbs, "create") {
			t.Errorf("rights beyond one object by name: %+v", rule)
		}
	}
}

func TestKubeRayNamesTheScheduler(t *testing.T) {
	for _, path := range files(t, "kuberay-values.yaml") {
		values := decodeOnly[struct {
			BatchScheduler struct {
				Name string `json:"name"`
			} `json:"batchScheduler"`
		}](t, path)
		if !slices.Contains(v1alpha1.DefaultSchedulerNames(), values.BatchScheduler.Name) {
			t.Errorf("%s names %q, to which capmgr does not answer", path, values.BatchScheduler.Name)
		}
	}
}
