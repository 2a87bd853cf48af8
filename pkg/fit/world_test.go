package fit

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// newChecker builds a Checker over a fake API server that holds the objects.
func newChecker(tb testing.TB, objects ...runtime.Object) *Checker {
	tb.Helper()
	factory := informers.NewSharedInformerFactory(fake.NewSimpleClientset(objects...), 0)
	c, err := New(factory)
	if err != nil {
		tb.Fatal(err)
	}
	if len(objects) > 0 { // plugins read nothing in the other tests: no goroutines are needed
		stop := make(chan struct{})
		tb.Cleanup(func() { close(stop); factory.Shutdown() })
		factory.Start(stop)
		factory.WaitForCacheSync(stop)
	}
	return c
}

type podOption func(*corev1.Pod)

// newPod is a pod that asks for 1 CPU and 1 GiB.
func newPod(name string, options ...podOption) *snapshot.Pod {
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: map[string]string{}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name:      "c",
			Resources: corev1.ResourceRequirements{Requests: resourceList("cpu", "1", "memory", "1Gi")},
		}}},
	}
	for _, o := range options {
		o(object)
	}
	p := &snapshot.Pod{UID: string(object.UID), Namespace: object.Namespace, Name: name, Request: Requests(object), Object: object}
	p.Class, p.Alone = PodClass(object)
	return p
}

func asks(amounts ...string) podOption {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = resourceList(amounts...) }
}

func labelled(key, value string) podOption {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func inNamespace(ns string) podOption { return func(p *corev1.Pod) { p.Namespace = ns } }

func selects(key, value string) podOption {
	return func(p *corev1.Pod) {
		if p.Spec.NodeSelector == nil {
			p.Spec.NodeSelector = map[string]string{}
		}
		p.Spec.NodeSelector[key] = value
	}
}

func tolerates(t corev1.Toleration) podOption {
	return func(p *corev1.Pod) { p.Spec.Tolerations = append(p.Spec.Tolerations, t) }
}

func onNodesWith(terms ...corev1.NodeSelectorTerm) podOption {
	return func(p *corev1.Pod) {
		affinity(p).NodeAffinity = &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}
	}
}

func term(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
}

func repelling(key, value, topology string) podOption {
	return func(p *corev1.Pod) {
		affinity(p).PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{podTerm(key, value, topology)}}
	}
}

func beside(key, value, topology string) podOption {
	return func(p *corev1.Pod) {
		affinity(p).PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{podTerm(key, value, topology)}}
	}
}

func podTerm(key, value, topology string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}, TopologyKey: topology}
}

func spread(key, value, topology string, when corev1.UnsatisfiableConstraintAction) podOption {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: topology, WhenUnsatisfiable: when,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}},
		})
	}
}

func hostPort(port int32) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostPort: port, ContainerPort: port, Protocol: corev1.ProtocolTCP})
	}
}

func volume(v corev1.VolumeSource) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("v", len(p.Spec.Volumes)), VolumeSource: v})
	}
}

func claim(name string) podOption {
	return volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}})
}

func affinity(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

type nodeOption func(*corev1.Node)

// newNode is a node of 8 CPUs, 32 GiB, 1 GPU and 20 pods in zone a, with the pods bound to it.
func newNode(name string, options ...nodeOption) *snapshot.Node {
	object := Template(name, Shape{
		InstanceType: "g5.2xlarge", Zone: "a",
		Allocatable: snapshot.Resources{MilliCPU: 8000, Memory: 32 << 30, MilliGPU: 1000}, MaxPods: 20,
	})
	for _, o := range options {
		o(object)
	}
	return asNode(object)
}

func asNode(object *corev1.Node) *snapshot.Node {
	n := &snapshot.Node{Name: object.Name, Class: NodeClass(object), Zone: object.Labels[corev1.LabelTopologyZone], Object: object}
	n.Allocatable, n.MaxPods = Allocatable(object)
	return n
}

func inZone(zone string) nodeOption { return label(corev1.LabelTopologyZone, zone) }

func label(key, value string) nodeOption { return func(n *corev1.Node) { n.Labels[key] = value } }

func taint(key, value string, effect corev1.TaintEffect) nodeOption {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

func allocatable(name, amount string) nodeOption {
	return func(n *corev1.Node) {
		n.Status.Allocatable[corev1.ResourceName(name)] = apiresource.MustParse(amount)
	}
}

// with binds pods to the node. Their objects say nothing of it, as after an assumed binding.
func with(n *snapshot.Node, pods ...*snapshot.Pod) *snapshot.Node {
	for _, p := range pods {
		p.Node = n.Name
		n.Pods = append(n.Pods, p)
	}
	return n
}

func worldOf(nodes ...*snapshot.Node) *snapshot.Snapshot { return &snapshot.Snapshot{Nodes: nodes} }

func resourceList(amounts ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(amounts); i += 2 {
		list[corev1.ResourceName(amounts[i])] = apiresource.MustParse(amounts[i+1])
	}
	return list
}
