package provreq_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/cloud/provreq"
)

// The name of the one request of these tests.
const name = "train-0efc3058-a1b2c3d4"

func request(pods ...*corev1.Pod) cloud.LaunchRequest {
	r := cloud.LaunchRequest{
		Group: cloud.GroupConfig{Name: "asked", Delegation: &cloud.Delegation{
			Selector: map[string]string{"pool": "asked"}, Class: v1alpha1.BestEffortAtomicClass,
			Parameters: map[string]string{"note": "x"}}},
		Count: 2, Zone: "us-east-1a", Token: "a1b2c3d4e5f6", Intent: "ml/train-0efc3058", IntentUID: "u-1",
	}
	for _, p := range pods {
		r.Pods = append(r.Pods, cloud.Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID)})
	}
	return r
}

// worker is a pod as KubeRay and the API server leave it: much of it differs from pod to pod and
// decides nothing.
func worker(k int, change ...func(*corev1.Pod)) *corev1.Pod {
	gpu := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), "nvidia.com/gpu": resource.MustParse("1")}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: fmt.Sprint("worker-", k), UID: types.UID(fmt.Sprint("w-", k)),
			Labels: map[string]string{"ray.io/index": fmt.Sprint(k)}},
		Spec: corev1.PodSpec{
			SchedulerName: "kai-scheduler", ServiceAccountName: "train", NodeSelector: map[string]string{"disk": "fast"},
			Tolerations: []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "ray-worker", Image: "ray", Command: []string{"ray", "start"},
				Env:          []corev1.EnvVar{{Name: "TOKEN", Value: fmt.Sprint("secret-", k)}},
				Resources:    corev1.ResourceRequirements{Requests: gpu, Limits: gpu},
				Ports:        []corev1.ContainerPort{{ContainerPort: 8080}},
				VolumeMounts: []corev1.VolumeMount{{Name: fmt.Sprint("kube-api-access-", k), MountPath: "/var/run"}}}},
			Volumes: []corev1.Volume{{Name: fmt.Sprint("kube-api-access-", k), VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}},
		},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

// server is a played API server with these objects. Calls go through around, which may be empty.
func server(t *testing.T, around interceptor.Funcs, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, provreq.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&v1.ProvisioningRequest{}).WithInterceptorFuncs(around).Build()
}

func made(t *testing.T, c client.Client) *v1.ProvisioningRequest {
	t.Helper()
	r := &v1.ProvisioningRequest{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "ml", Name: name}, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func templates(t *testing.T, c client.Client) []corev1.PodTemplate {
	t.Helper()
	list := &corev1.PodTemplateList{}
	if err := c.List(t.Context(), list, client.InNamespace("ml")); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestOneRequestWithATemplatePerKindOfPod(t *testing.T) {
	head := worker(9, func(p *corev1.Pod) {
		p.Name, p.UID, p.Spec.Containers[0].Resources = "head", "h", corev1.ResourceRequirements{}
		p.Spec.Containers[0].Ports[0].HostPort = 6379
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}})
	})
	pods := []*corev1.Pod{head, worker(0), worker(1)}
	c := server(t, interceptor.Funcs{}, pods[0], pods[1], pods[2])
	p := provreq.New(c)
	for range 2 { // the same token is one request
		if ids, err := p.Launch(t.Context(), request(pods...)); err != nil || len(ids) > 0 {
			t.Fatalf("asked, and got %v, %v", ids, err)
		}
	}
	got := made(t, c)
	want := v1.ProvisioningRequestSpec{
		ProvisioningClassName: "best-effort-atomic-scale-up.autoscaling.x-k8s.io", Parameters: map[string]v1.Parameter{"note": "x"},
		PodSets: []v1.PodSet{
			{PodTemplateRef: v1.Reference{Name: name + "-0"}, Count: 1},
			{PodTemplateRef: v1.Reference{Name: name + "-1"}, Count: 2},
		},
	}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("the request (-want +got):\n%s", diff)
	}
	owner := []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CapacityRequest", Name: "train-0efc3058", UID: "u-1"}}
	all := templates(t, c)
	if len(all) != 2 {
		t.Fatalf("%d templates", len(all))
	}
	for _, o := range []client.Object{got, &all[0], &all[1]} {
		if diff := cmp.Diff(owner, o.GetOwnerReferences()); diff != "" {
			t.Errorf("%s goes with somebody else (-want +got):\n%s", o.GetName(), diff)
		}
	}
	ofHead, ofWorkers := all[0].Template, all[1].Template
	selector := map[string]string{"pool": "asked", "disk": "fast", corev1.LabelTopologyZone: "us-east-1a"}
	if diff := cmp.Diff(selector, ofWorkers.Spec.NodeSelector); diff != "" {
		t.Errorf("where it may be (-want +got):\n%s", diff)
	}
	if got := ofWorkers.Spec.Containers[0]; got.Resources.Limits.Name("nvidia.com/gpu", resource.DecimalSI).Value() != 1 ||
		len(ofWorkers.Spec.Tolerations) != 1 || got.Env != nil || got.Command != nil || got.VolumeMounts != nil || len(got.Ports) > 0 {
		t.Errorf("a template holds what decides where a pod runs, and no more: %+v", ofWorkers.Spec)
	}
	if ofWorkers.Spec.Volumes != nil || ofWorkers.Labels != nil || ofWorkers.Spec.ServiceAccountName != "" {
		t.Errorf("a template holds what decides where a pod runs, and no more: %+v", ofWorkers)
	}
	if len(ofHead.Spec.Volumes) != 1 || ofHead.Spec.Volumes[0].Name != "data" || ofHead.Spec.Containers[0].Ports[0].HostPort != 6379 {
		t.Errorf("the head's claim and host port decide where it runs: %+v", ofHead.Spec)
	}
	wantMarks := map[string]string{"autoscaling.x-k8s.io/consume-provisioning-request": name,
		"autoscaling.x-k8s.io/provisioning-class-name": "best-effort-atomic-scale-up.autoscaling.x-k8s.io"}
	if diff := cmp.Diff(wantMarks, p.Annotations(request())); diff != "" {
		t.Errorf("the pods' annotations (-want +got):\n%s", diff)
	}
}

// Pods with affinity to one another are told apart by their labels, and keep them.
func TestLabelsStayWhereTheyDecide(t *testing.T) {
	apart := func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "train"}
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "train"}}}}}}
	}
	pods := []*corev1.Pod{worker(0, apart), worker(1, apart)}
	c := server(t, interceptor.Funcs{}, pods[0], pods[1])
	if _, err := provreq.New(c).Launch(t.Context(), request(pods...)); err != nil {
		t.Fatal(err)
	}
	if all := templates(t, c); len(all) != 1 || all[0].Template.Labels["app"] != "train" || all[0].Template.Spec.Affinity == nil {
		t.Errorf("templates: %+v", all)
	}
}

func TestLaunchRefusals(t *testing.T) {
	many := make([]*corev1.Pod, 33)
	objects := make([]client.Object, len(many))
	for k := range many {
		many[k] = worker(k, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"n": fmt.Sprint(k)} })
		objects[k] = many[k]
	}
	failing := func(err error) interceptor.Funcs {
		return interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return err }}
	}
	cases := map[string]struct {
		reason string
		around interceptor.Funcs
		there  []client.Object
		pods   []*corev1.Pod
		policy error
		says   string
	}{
		"PodGone":     {"the decision was about another pod", interceptor.Funcs{}, nil, []*corev1.Pod{worker(0)}, cloud.ErrStale, "pod ml/worker-0 is gone"},
		"PodReplaced": {"one of the same name is another pod", interceptor.Funcs{}, []client.Object{worker(0, func(p *corev1.Pod) { p.UID = "new" })}, []*corev1.Pod{worker(0)}, cloud.ErrStale, "pod ml/worker-0 is gone"},
		"TooManyKinds": {"the API takes 32", interceptor.Funcs{}, objects, many, cloud.ErrRejected,
			"the pods are of 33 kinds, and a ProvisioningRequest takes 32"},
		"NoPods":    {"there is nothing to ask for", interceptor.Funcs{}, nil, nil, cloud.ErrRejected, "there are none"},
		"Forbidden": {"a person has to grant it", failing(apierrors.NewForbidden(v1.Resource("provisioningrequests"), "x", nil)), []client.Object{worker(0)}, []*corev1.Pod{worker(0)}, cloud.ErrRejected, "forbidden"},
		"Away":      {"it may have been made: the same again", failing(apierrors.NewTimeoutError("slow", 1)), []client.Object{worker(0)}, []*corev1.Pod{worker(0)}, cloud.ErrUnknownOutcome, "slow"},
		"Throttled": {"nothing happened", failing(apierrors.NewTooManyRequests("busy", 1)), []client.Object{worker(0)}, []*corev1.Pod{worker(0)}, cloud.ErrThrottled, "busy"},
		"OfThePast": {"one of a CapacityRequest that is gone is about to go too", interceptor.Funcs{}, []client.Object{worker(0),
			&v1.ProvisioningRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, OwnerReferences: []metav1.OwnerReference{{UID: "old"}}}}},
			[]*corev1.Pod{worker(0)}, cloud.ErrUnknownOutcome, "belongs to somebody else"},
	}
	for label, tc := range cases {
		t.Run(label, func(t *testing.T) {
			_, err := provreq.New(server(t, tc.around, tc.there...)).Launch(t.Context(), request(tc.pods...))
			if !errors.Is(err, tc.policy) || !strings.Contains(err.Error(), tc.says) || !strings.HasPrefix(err.Error(), "ask for 2 nodes of asked: ") {
				t.Errorf("%s: %v, want %v that says %q", tc.reason, err, tc.policy, tc.says)
			}
		})
	}
}

func TestConditionsAreReadTruthfully(t *testing.T) {
	is := func(kind, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "as it says"}
	}
	not := func(kind, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: "as it says"}
	}
	accepted := is(v1.Accepted, "Accepted")
	cases := map[string]struct {
		reason     string
		conditions []metav1.Condition
		want       error
	}{
		"Unseen":      {"nobody has looked at it yet", nil, nil},
		"Accepted":    {"it will be tried", []metav1.Condition{accepted}, nil},
		"Provisioned": {"the cloud was asked; no machine need exist", []metav1.Condition{accepted, is(v1.Provisioned, "CapacityIsProvisioned")}, nil},
		"Found":       {"room was found, perhaps on nodes that are coming", []metav1.Condition{accepted, is(v1.Provisioned, "CapacityIsFound")}, nil},
		"NotFound":    {"it would be tried again in a minute; the gang moves on", []metav1.Condition{accepted, not(v1.Provisioned, "CapacityIsNotFound")}, cloud.ErrInsufficientCapacity},
		"Stumbled":    {"a failure of its own, which it tries again", []metav1.Condition{accepted, not(v1.Provisioned, "FailedToCheckCapacity")}, nil},
		"Expired":     {"seven days have passed", []metav1.Condition{accepted, is(v1.Failed, "Expired")}, cloud.ErrInsufficientCapacity},
		"BadPods":     {"its templates are of no use: a person has to act", []metav1.Condition{is(v1.Failed, "FailedToCreatePods")}, cloud.ErrRejected},
		"Unbookable":  {"likewise, later", []metav1.Condition{is(v1.Failed, "FailedToBookCapacity")}, cloud.ErrRejected},
		"NotKept": {"the room is not kept any longer, and its nodes have not come", []metav1.Condition{accepted,
			is(v1.Provisioned, "CapacityIsProvisioned"), is(v1.BookingExpired, "CapacityReservationTimeExpired")}, cloud.ErrInsufficientCapacity},
		"Revoked": {"the room is taken back", []metav1.Condition{accepted, is(v1.Provisioned, "CapacityIsProvisioned"), is(v1.CapacityRevoked, "Gone")}, cloud.ErrInsufficientCapacity},
	}
	for label, tc := range cases {
		t.Run(label, func(t *testing.T) {
			pod := worker(0)
			c := server(t, interceptor.Funcs{}, pod)
			p := provreq.New(c)
			if _, err := p.Launch(t.Context(), request(pod)); err != nil {
				t.Fatal(err)
			}
			r := made(t, c)
			r.Status.Conditions = tc.conditions
			if err := c.Status().Update(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			err := p.Follow(t.Context(), request(pod), nil)
			if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Fatalf("%s: %v, want %v", tc.reason, err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), "as it says") {
				t.Errorf("Cluster Autoscaler's own words are missing: %v", err)
			}
		})
	}
}

func TestARequestThatSomebodyDeletedIsRefused(t *testing.T) {
	p := provreq.New(server(t, interceptor.Funcs{}))
	if err := p.Follow(t.Context(), request(), nil); !errors.Is(err, cloud.ErrRejected) || !strings.Contains(err.Error(), "somebody deleted") {
		t.Errorf("got %v", err)
	}
	away := interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return apierrors.NewServiceUnavailable("away")
	}}
	if err := provreq.New(server(t, away)).Follow(t.Context(), request(), nil); !errors.Is(err, cloud.ErrUnknownOutcome) {
		t.Errorf("an API server that is away says nothing of the request: %v", err)
	}
}

func TestWithdrawLeavesNothing(t *testing.T) {
	pods := []*corev1.Pod{worker(0), worker(1, func(p *corev1.Pod) { p.Spec.NodeSelector = nil })}
	c := server(t, interceptor.Funcs{}, pods[0], pods[1])
	p := provreq.New(c)
	if _, err := p.Launch(t.Context(), request(pods...)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is not there is not an error
		if err := p.Withdraw(t.Context(), request(pods...)); err != nil {
			t.Fatal(err)
		}
	}
	left := &v1.ProvisioningRequestList{}
	if err := c.List(t.Context(), left); err != nil || len(left.Items) > 0 || len(templates(t, c)) > 0 {
		t.Errorf("left: %v, %v, %v", left.Items, templates(t, c), err)
	}
}

func TestNodesAreNotOurs(t *testing.T) {
	p := provreq.New(server(t, interceptor.Funcs{}))
	if err := p.Terminate(t.Context(), request().Group, []string{"node-1"}); !errors.Is(err, cloud.ErrRejected) {
		t.Errorf("terminating a node gave %v", err)
	}
	groups, err := p.Observe(t.Context(), []cloud.GroupConfig{request().Group})
	if err != nil || len(groups) != 1 || groups[0].Name != "asked" || groups[0].Err != nil || len(groups[0].Instances) > 0 {
		t.Errorf("observed %+v, %v", groups, err)
	}
}

// The configuration's default is the class that Cluster Autoscaler makes nodes for.
func TestDefaultClass(t *testing.T) {
	if v1alpha1.BestEffortAtomicClass != v1.ProvisioningClassBestEffortAtomicScaleUp {
		t.Errorf("%s is %s at Cluster Autoscaler", v1alpha1.BestEffortAtomicClass, v1.ProvisioningClassBestEffortAtomicScaleUp)
	}
}
