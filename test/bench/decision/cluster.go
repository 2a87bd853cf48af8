package decision

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
)

// Epoch is the time at which all generated clusters live.
var Epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// Cluster is a generated cluster as objects of the API: the same shape gives the same objects.
type Cluster struct {
	Config  *v1alpha1.Config
	Queues  []*queuev2.Queue
	Nodes   []*corev1.Node
	Jobs    []*batchv1.Job // one per gang
	Running []*corev1.Pod
	Pending []*corev1.Pod // in order of gangs
}

// Shape says how large a cluster is.
type Shape struct {
	Nodes       int
	GPUsPerNode int
	Departments int
	Teams       int // leaf queues per department
	Quota       float64

	Daemons int // pods per node that belong to it
	Running Gangs
	Pending Gangs
}

// Gangs are equal gangs, dealt out to the leaf queues in turn.
type Gangs struct {
	Count, Pods, GPUs int
	Only              string // the one queue that they are in; "": dealt out
}

// Generate builds the cluster of a shape. Running gangs fill the nodes one after the other.
func Generate(s Shape) *Cluster {
	c := &Cluster{Config: &v1alpha1.Config{SchedulerNames: []string{"capmgr"}}}
	v1alpha1.SetDefaults(c.Config)
	var leaves []string
	for d := range s.Departments {
		department := fmt.Sprintf("dept-%02d", d)
		c.Queues = append(c.Queues, queue(department, "", s.Quota*float64(s.Teams)))
		for t := range s.Teams {
			leaf := fmt.Sprintf("team-%02d-%02d", d, t)
			leaves = append(leaves, leaf)
			c.Queues = append(c.Queues, queue(leaf, department, s.Quota))
		}
	}
	for i := range s.Nodes {
		n := node(i, s.GPUsPerNode)
		c.Nodes = append(c.Nodes, n)
		for k := range s.Daemons {
			c.Running = append(c.Running, daemon(n.Name, k))
		}
	}
	c.deal("run", Epoch.Add(-24*time.Hour), s.Running, leaves)
	c.Running, c.Pending = append(c.Running, c.Pending...), nil
	device := 0
	for _, p := range c.Running[s.Nodes*s.Daemons:] {
		bind(p, c.Nodes[device/s.GPUsPerNode].Name)
		device += s.Running.GPUs
	}
	c.deal("wait", Epoch.Add(-time.Hour), s.Pending, leaves)
	return c
}

func (c *Cluster) deal(name string, since time.Time, g Gangs, leaves []string) {
	for i := range g.Count {
		leaf := g.Only
		if leaf == "" {
			leaf = leaves[i%len(leaves)]
		}
		job, pods := Gang(fmt.Sprintf("%s-%05d", name, i), leaf, since.Add(time.Duration(i)*time.Millisecond), g.Pods, g.GPUs)
		c.Jobs = append(c.Jobs, job)
		c.Pending = append(c.Pending, pods...)
	}
}

func queue(name, parent string, quota float64) *queuev2.Queue {
	free := queuev2.QueueResource{Quota: queuev2.Unlimited, Limit: queuev2.Unlimited, OverQuotaWeight: 1}
	gpu := queuev2.QueueResource{Quota: quota, Limit: queuev2.Unlimited, OverQuotaWeight: 1}
	return &queuev2.Queue{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: queuev2.QueueSpec{ParentQueue: parent, Resources: &queuev2.QueueResources{GPU: gpu, CPU: free, Memory: free}}}
}

func node(i, gpus int) *corev1.Node {
	name := fmt.Sprintf("node-%05d", i)
	room := amounts(int64(gpus)*16, int64(gpus)*64, int64(gpus))
	room[corev1.ResourcePods] = *resource.NewQuantity(110, resource.DecimalSI)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelInstanceTypeStable: "g5.12xlarge", corev1.LabelTopologyZone: "us-east-1a"}},
		Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: "nvidia.com/gpu", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Allocatable: room, Capacity: room, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

// Gang is a Job whose pods start together.
func Gang(name, leaf string, created time.Time, pods, gpus int) (*batchv1.Job, []*corev1.Pod) {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: name, UID: types.UID("job-" + name), CreationTimestamp: metav1.NewTime(created),
			Labels: map[string]string{v1alpha1.QueueLabel: leaf}, Annotations: map[string]string{v1alpha1.BatchMinMemberAnnotation: strconv.Itoa(pods)}},
		Spec: batchv1.JobSpec{Parallelism: ptr.To(int32(pods)), Template: corev1.PodTemplateSpec{Spec: podSpec(int64(gpus))}}, //nolint:gosec // a few hundred
	}
	members := make([]*corev1.Pod, 0, pods)
	for k := range pods {
		id := fmt.Sprintf("%s-%03d", name, k)
		members = append(members, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: id, UID: types.UID("pod-" + id), CreationTimestamp: metav1.NewTime(created),
				Labels:          map[string]string{v1alpha1.QueueLabel: leaf},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: name, UID: job.UID, Controller: ptr.To(true)}}},
			Spec: podSpec(int64(gpus)),
		})
	}
	return job, members
}

func podSpec(gpus int64) corev1.PodSpec {
	room := amounts(8, 32, gpus)
	return corev1.PodSpec{
		SchedulerName: "capmgr",
		Containers:    []corev1.Container{{Name: "worker", Image: "worker", Resources: corev1.ResourceRequirements{Requests: room, Limits: room}}},
		Tolerations:   []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists}},
	}
}

func daemon(node string, k int) *corev1.Pod {
	id := fmt.Sprintf("daemon-%d-%s", k, node)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: id, UID: types.UID(id),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "daemon", UID: "daemon", Controller: ptr.To(true)}}},
		Spec: corev1.PodSpec{SchedulerName: "default-scheduler", NodeName: node, Containers: []corev1.Container{{Name: "daemon",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(50, resource.DecimalSI)}}}}},
	}
}

func amounts(cpu, gib, gpus int64) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(cpu, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(gib<<30, resource.BinarySI),
	}
	if gpus > 0 {
		list["nvidia.com/gpu"] = *resource.NewQuantity(gpus, resource.DecimalSI)
	}
	return list
}

// bind puts a pod that nobody has seen yet on a node, hours ago.
func bind(p *corev1.Pod, node string) {
	p.Spec.NodeName = node
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(Epoch.Add(-6 * time.Hour))}}
}
