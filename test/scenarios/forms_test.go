package scenarios

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/test/fakeaws"
	"github.com/capmgr/capmgr/test/model"
)

// namespace of everything that names none.
const namespace = "ml"

// cluster is the short form of a world, or of what is added to it later. Documents of the same file
// that carry an apiVersion are real objects instead.
type cluster struct {
	Cloud       map[string]groupForm `json:"cloud,omitempty"` // by node group; only at the start
	Nodes       []nodeForm           `json:"nodes,omitempty"`
	Queues      []queueForm          `json:"queues,omitempty"`
	RayClusters []rayForm            `json:"rayClusters,omitempty"`
	Pods        []podForm            `json:"pods,omitempty"`
	Budgets     []budgetForm         `json:"budgets,omitempty"`

	Deployments  []makerForm `json:"deployments,omitempty"`
	StatefulSets []makerForm `json:"statefulSets,omitempty"`
}

// asks is what one pod asks for, or what a node offers.
type asks struct {
	CPU    resource.Quantity `json:"cpu,omitzero"`
	Memory resource.Quantity `json:"memory,omitzero"`
	GPUs   int64             `json:"gpus,omitempty"`
}

func (a asks) list() corev1.ResourceList {
	out := corev1.ResourceList{}
	if !a.CPU.IsZero() {
		out[corev1.ResourceCPU] = a.CPU
	}
	if !a.Memory.IsZero() {
		out[corev1.ResourceMemory] = a.Memory
	}
	if a.GPUs > 0 {
		out[v1alpha1.GPUResource] = *resource.NewQuantity(a.GPUs, resource.DecimalSI)
	}
	return out
}

// groupForm is a node group as the cloud has it. Shape and price follow from the type.
type groupForm struct {
	Type    string            `json:"type"`
	Zone    string            `json:"zone,omitempty"`
	Spot    bool              `json:"spot,omitempty"`
	Min     int               `json:"min,omitempty"`
	Max     int               `json:"max,omitempty"` // 0: 100
	Labels  map[string]string `json:"labels,omitempty"`
	Taints  []string          `json:"taints,omitempty"`
	Daemons *asks             `json:"daemons,omitempty"` // what a DaemonSet takes on each node
}

func (f groupForm) group(name string) (*model.Group, error) {
	shape, ok := fakeaws.ShapeOf(f.Type)
	if !ok {
		return nil, fmt.Errorf("node group %s: the instance type %q is unknown", name, f.Type)
	}
	g := &model.Group{
		Name: name, InstanceType: f.Type, Zone: f.Zone, CapacityType: "on-demand", Min: f.Min, Max: f.Max,
		PricePerHour: shape.OnDemandPrice,
		Shape: cloud.Shape{MilliCPU: int64(shape.AllocatableMilliCPU()), Memory: int64(shape.AllocatableMemoryMiB()) << 20,
			GPUs: int64(shape.GPUs), Pods: int64(shape.MaxPods), Labels: f.Labels},
	}
	if g.Zone == "" {
		g.Zone = "us-east-1a"
	}
	if g.Max == 0 {
		g.Max = 100
	}
	if f.Spot {
		g.CapacityType, g.PricePerHour = "spot", shape.Price(fakeaws.Spot)
	}
	for _, text := range f.Taints {
		t, err := taint(text)
		if err != nil {
			return nil, fmt.Errorf("node group %s: %w", name, err)
		}
		g.Shape.Taints = append(g.Shape.Taints, cloud.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
	}
	if f.Daemons != nil {
		g.Daemons = f.Daemons.list()
	}
	return g, nil
}

// taint reads "key=value:Effect" or "key:Effect".
func taint(text string) (corev1.Taint, error) {
	pair, effect, ok := strings.Cut(text, ":")
	if !ok {
		return corev1.Taint{}, fmt.Errorf("taint %q is not of the form key=value:Effect", text)
	}
	key, value, _ := strings.Cut(pair, "=")
	return corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}, nil
}

// nodeForm is a node outside the configured groups, of an instance type or of stated size. Nodes of
// groups come from the events `launch`, `boot` and `ready`.
type nodeForm struct {
	asks     `json:",inline"`
	Name     string            `json:"name"`
	Type     string            `json:"type,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Taints   []string          `json:"taints,omitempty"`
	NotReady bool              `json:"notReady,omitempty"`
}

func (f nodeForm) node() (*corev1.Node, error) {
	room, maxPods := snapshot.Resources{MilliCPU: f.CPU.MilliValue(), Memory: f.Memory.Value(), MilliGPU: f.GPUs * 1000}, 110
	if f.Type != "" {
		shape, ok := fakeaws.ShapeOf(f.Type)
		if !ok {
			return nil, fmt.Errorf("node %s: the instance type %q is unknown", f.Name, f.Type)
		}
		room = snapshot.Resources{MilliCPU: int64(shape.AllocatableMilliCPU()), Memory: int64(shape.AllocatableMemoryMiB()) << 20, MilliGPU: int64(shape.GPUs) * 1000}
		maxPods = shape.MaxPods
	}
	var taints []corev1.Taint
	for _, text := range f.Taints {
		t, err := taint(text)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", f.Name, err)
		}
		taints = append(taints, t)
	}
	n := fit.Template(f.Name, fit.Shape{InstanceType: f.Type, Labels: f.Labels, Taints: taints, Allocatable: room, MaxPods: maxPods})
	n.UID = ""
	if f.NotReady {
		n.Status.Conditions[0].Status = corev1.ConditionFalse
	}
	return n, nil
}

// queueForm is a queue. A limit that is left out is unlimited, unlike in the real object.
type queueForm struct {
	Name     string   `json:"name"`
	Parent   string   `json:"parent,omitempty"`
	GPUs     *float64 `json:"gpus,omitempty"`     // limit in devices
	CPUs     *float64 `json:"cpus,omitempty"`     // limit in cores
	MemoryGB *float64 `json:"memoryGB,omitempty"` // limit in 10^9 bytes
	Quota    *float64 `json:"quota,omitempty"`    // of GPUs, in devices; unlimited for the others
	Weight   *float64 `json:"weight,omitempty"`   // over quota, of all three; 1 when left out
	Priority *int     `json:"priority,omitempty"`
}

func (f queueForm) queue() *queuev2.Queue {
	limit := func(value *float64, unit float64) queuev2.QueueResource {
		r := queuev2.QueueResource{Quota: queuev2.Unlimited, OverQuotaWeight: ptr.Deref(f.Weight, 1), Limit: queuev2.Unlimited}
		if value != nil {
			r.Limit = *value * unit
		}
		return r
	}
	q := &queuev2.Queue{}
	q.Name = f.Name
	q.Spec.ParentQueue = f.Parent
	q.Spec.Resources = &queuev2.QueueResources{GPU: limit(f.GPUs, 1), CPU: limit(f.CPUs, 1000), Memory: limit(f.MemoryGB, 1000)}
	q.Spec.Resources.GPU.Quota = ptr.Deref(f.Quota, queuev2.Unlimited)
	q.Spec.Priority = f.Priority
	return q
}

// rayForm is a RayCluster as a user of KubeRay writes it, without the parts that nobody schedules.
type rayForm struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Queue       string            `json:"queue,omitempty"`
	Priority    string            `json:"priority,omitempty"` // name of the priority class
	Annotations map[string]string `json:"annotations,omitempty"`
	Autoscaling bool              `json:"autoscaling,omitempty"`
	Suspend     bool              `json:"suspend,omitempty"`
	Head        *podAsks          `json:"head,omitempty"` // 1 CPU and 2Gi
	Workers     []workerForm      `json:"workers,omitempty"`
}

type podAsks struct {
	asks         `json:",inline"`
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
}

type workerForm struct {
	podAsks  `json:",inline"`
	Name     string `json:"name"`
	Replicas int32  `json:"replicas"`
	Min      *int32 `json:"min,omitempty"`
	Max      *int32 `json:"max,omitempty"`
	Hosts    int32  `json:"hosts,omitempty"`
}

func (f rayForm) cluster() *rayv1.RayCluster {
	rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{
		Namespace: or(f.Namespace, namespace), Name: f.Name, Annotations: f.Annotations}}
	rc.Labels = labelsOf(f.Queue, f.Priority)
	if f.Autoscaling {
		rc.Spec.EnableInTreeAutoscaling = &f.Autoscaling
	}
	if f.Suspend {
		rc.Spec.Suspend = &f.Suspend
	}
	if f.Head == nil {
		f.Head = &podAsks{asks: asks{CPU: resource.MustParse("1"), Memory: resource.MustParse("2Gi")}}
	}
	rc.Spec.HeadGroupSpec.Template.Spec = f.Head.spec("ray-head")
	for _, w := range f.Workers {
		g := rayv1.WorkerGroupSpec{GroupName: w.Name, Replicas: &w.Replicas, MinReplicas: w.Min, MaxReplicas: w.Max, NumOfHosts: max(1, w.Hosts)}
		g.Template.Spec = w.spec("ray-worker")
		rc.Spec.WorkerGroupSpecs = append(rc.Spec.WorkerGroupSpecs, g)
	}
	return rc
}

// spec is a pod's. Who asks for GPUs tolerates their taint, as the admission plugin
// ExtendedResourceToleration sees to on EKS.
func (a podAsks) spec(container string) corev1.PodSpec {
	list := a.list()
	s := corev1.PodSpec{NodeSelector: a.NodeSelector, Containers: []corev1.Container{{
		Name: container, Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}}}
	if a.GPUs > 0 {
		s.Tolerations = []corev1.Toleration{{Key: v1alpha1.GPUResource, Operator: corev1.TolerationOpExists}}
	}
	return s
}

// podForm is a pod without an owner, or somebody else's.
type podForm struct {
	podAsks   `json:",inline"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Queue     string `json:"queue,omitempty"`
	Priority  string `json:"priority,omitempty"`  // name of the priority class
	Scheduler string `json:"scheduler,omitempty"` // default capmgr
	Node      string `json:"node,omitempty"`      // where it runs already
}

func (f podForm) pod() *corev1.Pod {
	spec := f.spec("main")
	spec.SchedulerName, spec.NodeName = or(f.Scheduler, "capmgr"), f.Node
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: or(f.Namespace, namespace), Name: f.Name}, Spec: spec}
	p.Labels = labelsOf(f.Queue, f.Priority)
	return p
}

// makerForm is a Deployment or StatefulSet. What it asks for is on itself, and not on its pods.
type makerForm struct {
	podAsks  `json:",inline"`
	Name     string `json:"name"`
	Queue    string `json:"queue,omitempty"`
	Priority string `json:"priority,omitempty"` // name of the priority class
	Replicas int    `json:"replicas"`
}

func (f makerForm) put(w *model.World, kind string) {
	template := corev1.PodTemplateSpec{Spec: f.spec("main")}
	template.Spec.SchedulerName = "capmgr"
	w.PutMaker(kind, metav1.ObjectMeta{Namespace: namespace, Name: f.Name, Labels: labelsOf(f.Queue, f.Priority)}, f.Replicas, template)
	w.Now = w.Now.Add(time.Second)
}

// budgetForm is a disruption budget.
type budgetForm struct {
	Name     string            `json:"name"`
	Selector map[string]string `json:"selector"`
	Allows   int32             `json:"allows,omitempty"` // evictions that it allows now
}

func (f budgetForm) budget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: f.Name},
		Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: f.Selector}},
		Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: f.Allows}}
}

func labelsOf(queue, priority string) map[string]string {
	out := map[string]string{}
	if queue != "" {
		out[v1alpha1.QueueLabel] = queue
	}
	if priority != "" {
		out[v1alpha1.PriorityClassLabel] = priority
	}
	return out
}

func or(text, unset string) string {
	if text == "" {
		return unset
	}
	return text
}

// parseCluster splits a file into the short form and the real objects in it.
func parseCluster(data []byte) (cluster, [][]byte, error) {
	var short cluster
	var objects [][]byte
	for _, document := range bytes.Split(append([]byte("\n"), data...), []byte("\n---\n")) {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			return short, nil, err
		}
		if meta.APIVersion != "" {
			objects = append(objects, document)
			continue
		}
		if err := yaml.UnmarshalStrict(document, &short); err != nil {
			return short, nil, err
		}
	}
	return short, objects, nil
}

// create puts everything of a file into the world: first what work needs, then the work.
func create(w *model.World, data []byte) error {
	short, objects, err := parseCluster(data)
	if err != nil {
		return err
	}
	for _, f := range short.Queues {
		w.PutQueue(f.queue())
	}
	for _, f := range short.Nodes {
		n, err := f.node()
		if err != nil {
			return err
		}
		w.PutNode(n)
	}
	for _, f := range short.Budgets {
		w.PutBudget(f.budget())
	}
	for _, o := range objects {
		if err := createObject(w, o); err != nil {
			return err
		}
	}
	for _, f := range short.RayClusters {
		w.PutRayCluster(f.cluster())
		w.Now = w.Now.Add(time.Second) // so that who is written first came first
	}
	for _, f := range short.Pods {
		w.PutPod(f.pod())
		w.Now = w.Now.Add(time.Second)
	}
	for _, f := range short.Deployments {
		f.put(w, state.Deployment)
	}
	for _, f := range short.StatefulSets {
		f.put(w, state.StatefulSet)
	}
	return nil
}

// createObject puts a real object into the world.
func createObject(w *model.World, document []byte) error {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return err
	}
	read := func(o any) error {
		if err := yaml.UnmarshalStrict(document, o); err != nil {
			return fmt.Errorf("read a %s: %w", meta.Kind, err)
		}
		return nil
	}
	switch meta.Kind {
	case "Queue":
		q := &queuev2.Queue{}
		if err := read(q); err != nil {
			return err
		}
		w.PutQueue(q)
	case "RayCluster":
		rc := &rayv1.RayCluster{}
		if err := read(rc); err != nil {
			return err
		}
		rc.Namespace = or(rc.Namespace, namespace)
		w.PutRayCluster(rc)
	case "Pod":
		p := &corev1.Pod{}
		if err := read(p); err != nil {
			return err
		}
		p.Namespace = or(p.Namespace, namespace)
		w.PutPod(p)
	case "Node":
		n := &corev1.Node{}
		if err := read(n); err != nil {
			return err
		}
		w.PutNode(n)
	default:
		return fmt.Errorf("a scenario cannot create a %s", meta.Kind)
	}
	return nil
}
