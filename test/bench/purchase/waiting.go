package purchase

import (
	"fmt"
	"math/rand/v2"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

// epoch is the time at which all of this happens.
var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// machine is an instance type. Figures of the g5 types are AWS's of 2026-07-20, see pkg/cloud/aws.
type machine struct {
	name     string
	milliCPU int64
	mebi     int64 // of memory
	gpus     int64
	price    float64 // dollars per hour
}

var machines = []machine{
	{"g5.xlarge", 3920, 14162, 1, 1.006},
	{"g5.4xlarge", 15890, 57691, 1, 1.624},
	{"g5.12xlarge", 47810, 173400, 4, 5.672},
	{"g5.48xlarge", 191450, 723299, 8, 16.288},
	{"m5.2xlarge", 7910, 29317, 0, 0.384},
}

// gang is a head without GPUs and equal workers.
type gang struct {
	name    string
	workers int
	gpus    int64 // of each worker
	cpu     int64 // millicores of each worker
}

// world is gangs that wait and nothing to run them on but what can be bought.
type world struct {
	mirror *state.Mirror
	fit    *fit.Checker
	pods   map[string][][]*corev1.Pod // by gang: the head, then the workers
}

// draw makes n gangs of the sizes that people ask for.
func draw(r *rand.Rand, n int) (gangs []gang) {
	for k := range n {
		g := gang{name: fmt.Sprintf("gang-%03d", k), workers: 1 + r.IntN(8), gpus: []int64{1, 1, 1, 2, 4}[r.IntN(5)]}
		g.cpu = g.gpus * []int64{2000, 3000, 8000}[r.IntN(3)]
		gangs = append(gangs, g)
	}
	return gangs
}

// newWorld offers the machines in so many zones, one node group each.
func newWorld(gangs []gang, offered []machine, zones int) (*world, error) {
	checker, err := fit.New(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	if err != nil {
		return nil, fmt.Errorf("build checker: %w", err)
	}
	config := &v1alpha1.Config{SchedulerNames: []string{"capmgr"}, Defaults: v1alpha1.QueueDefaults{Scaling: &v1alpha1.Scaling{}}}
	var groups []cloud.Group
	for z := range zones {
		for _, m := range offered {
			name := fmt.Sprintf("%s-%c", m.name, 'a'+z)
			config.NodeGroups = append(config.NodeGroups, v1alpha1.NodeGroup{Name: name, Provider: v1alpha1.ProviderAWS,
				AWS: &v1alpha1.AWSNodeGroup{AutoScalingGroup: name}, MaxNodes: ptr.To[int32](10_000)})
			g := cloud.Group{Name: name, InstanceType: m.name, Zone: fmt.Sprintf("us-east-1%c", 'a'+z), CapacityType: "on-demand", Max: 10_000,
				PricePerHour: m.price, Shape: cloud.Shape{MilliCPU: m.milliCPU, Memory: m.mebi << 20, GPUs: m.gpus, Pods: 110}}
			if m.gpus > 0 {
				g.Shape.Taints = []cloud.Taint{{Key: v1alpha1.GPUResource, Effect: string(corev1.TaintEffectNoSchedule)}}
			}
			groups = append(groups, g)
		}
	}
	v1alpha1.SetDefaults(config)
	w := &world{mirror: state.New(config), fit: checker, pods: map[string][][]*corev1.Pod{}}
	w.mirror.SetGroups(groups)
	free := queuev2.QueueResource{Quota: queuev2.Unlimited, Limit: queuev2.Unlimited, OverQuotaWeight: 1}
	w.mirror.Queues().OnAdd(&queuev2.Queue{ObjectMeta: metav1.ObjectMeta{Name: "q", UID: "q"},
		Spec: queuev2.QueueSpec{Resources: &queuev2.QueueResources{GPU: free, CPU: free, Memory: free}}}, true)
	for k, g := range gangs {
		w.add(g, epoch.Add(time.Duration(k)*time.Millisecond))
	}
	return w, nil
}

// add shows a RayCluster and its pods.
func (w *world) add(g gang, created time.Time) {
	head, worker := spec(1000, 2048, 0), spec(g.cpu, 4096*g.gpus, g.gpus)
	n := int32(g.workers) //nolint:gosec // a handful
	rc := &rayv1.RayCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: g.name, UID: types.UID(g.name), CreationTimestamp: metav1.NewTime(created),
			Labels: map[string]string{v1alpha1.QueueLabel: "q"}},
		Spec: rayv1.RayClusterSpec{HeadGroupSpec: rayv1.HeadGroupSpec{Template: corev1.PodTemplateSpec{Spec: head}},
			WorkerGroupSpecs: []rayv1.WorkerGroupSpec{{GroupName: "gpu", Replicas: &n, MinReplicas: &n, MaxReplicas: &n, Template: corev1.PodTemplateSpec{Spec: worker}}}},
	}
	w.mirror.RayClusters().OnAdd(rc, true)
	pod := func(name, group string, s corev1.PodSpec) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(created),
			Labels:          map[string]string{"ray.io/group": group},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: g.name, UID: rc.UID, Controller: ptr.To(true)}}}, Spec: s}
		w.mirror.Pods().OnAdd(p, true)
		return p
	}
	classes := [][]*corev1.Pod{{pod(g.name+"-head", "headgroup", head)}, nil}
	for k := range g.workers {
		classes[1] = append(classes[1], pod(fmt.Sprintf("%s-%d", g.name, k), "gpu", worker))
	}
	w.pods[g.name] = classes
}

func spec(milliCPU, mebi, gpus int64) corev1.PodSpec {
	room := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(milliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(mebi<<20, resource.BinarySI),
	}
	s := corev1.PodSpec{SchedulerName: "capmgr"}
	if gpus > 0 {
		room[v1alpha1.GPUResource] = *resource.NewQuantity(gpus, resource.DecimalSI)
		s.Tolerations = []corev1.Toleration{{Key: v1alpha1.GPUResource, Operator: corev1.TolerationOpExists}}
	}
	s.Containers = []corev1.Container{{Name: "ray", Image: "ray", Resources: corev1.ResourceRequirements{Requests: room, Limits: room}}}
	return s
}

// Cart is what is bought.
type Cart struct {
	Gangs   int
	Nodes   int
	Dollars float64 // per hour
}

// decide makes the first decision on a snapshot.
func (w *world) decide(s *snapshot.Snapshot) *plan.Plan {
	w.fit.Begin(s)
	return scheduler.Decide(s, w.fit)
}

// cartOf adds up the purchases of a plan, and the gangs that they are for: one may be lent what another has
// left of its nodes.
func cartOf(p *plan.Plan) (c Cart) {
	for _, v := range p.Verdicts {
		if v.Reason == plan.WaitingForNodes {
			c.Gangs++
		}
	}
	for _, step := range p.Steps {
		b, ok := step.(plan.Book)
		if !ok {
			continue
		}
		c.Dollars += float64(b.HourlyCost) / 1e6
		for _, pu := range b.Purchases {
			c.Nodes += pu.Count
		}
	}
	return c
}
