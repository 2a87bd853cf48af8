// Package fit says whether a pod fits a node, with the predicates of kube-scheduler itself.
//
// It is the only package that imports Cluster Autoscaler's simulator. Amounts of cpu, memory, GPUs
// and pods are accounted by the caller in integers; this package answers everything else.
//
// There are two roads. An ordinary pod cannot be told apart from the others of its class, nor a
// node from the others of its class, by any predicate, so one run on an empty copy of the node
// answers for all of them, for ever. A pod whose answer depends on other pods (snapshot.Pod.Alone)
// is asked about node by node, in a model of the cluster that holds every bound pod and what the
// decision has placed so far; there the predicates count resources as well.
package fit

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// maxAnswers bounds the cache of answers per pair of classes. A cluster has some tens of classes
// of each kind; the bound only matters where users give every pod a toleration of its own.
const maxAnswers = 1 << 16

// noClaims is the answer for pods with dynamic resource claims: allocating devices is not modelled,
// and a model without them would call every node fitting.
const noClaims = "dynamic resource claims are not supported"

// rejected is the answer where a kubelet would not run such a pod, whatever the predicates say.
const rejected = "its kubelet rejected such a pod lately"

// Checker answers Fits. It belongs to one goroutine; whoever checks concurrently takes another one.
type Checker struct {
	plugins plugins
	answers map[classes]string

	nodes     []*snapshot.Node // of the decision under way
	cluster   *cluster
	repellers *repellers
}

// classes is a pair of snapshot.Pod.Class and snapshot.Node.Class.
type classes struct{ pod, node string }

// New builds a Checker over the informers that kube-scheduler's plugins ask for: pods, nodes,
// namespaces, volumes, claims, storage classes, the storage.k8s.io kinds about CSI, and the
// workloads and budgets that default spreading and preemption read. It must be called before the
// factory is started, and nothing may be asked before the factory has synced. The plugin framework
// keeps one goroutine per Checker until the program ends: build Checkers at start, not per
// decision.
func New(factory informers.SharedInformerFactory) (*Checker, error) {
	p, err := newPlugins(factory)
	if err != nil {
		return nil, fmt.Errorf("build scheduler plugins: %w", err)
	}
	return &Checker{
		plugins:   p,
		answers:   map[classes]string{},
		cluster:   newCluster(p),
		repellers: newRepellers(),
	}, nil
}

// Begin starts a decision: the cluster is now s. The model of the cluster follows when a pod needs
// it, and only in the nodes that changed.
func (c *Checker) Begin(s *snapshot.Snapshot) {
	c.nodes = s.Nodes
	c.cluster.expire()
	c.repellers.expire()
}

// Fits says why the pod cannot run on the node, or "" when it can, given what the decision has
// placed and removed so far. The pod itself counts as being nowhere, wherever it is bound. The node
// may be one that does not exist yet.
//
// The answer is a short text for users that names no node, so that callers can count equal ones.
// An answer that begins with CannotTell is no misfit: something went wrong while asking.
func (c *Checker) Fits(pod *snapshot.Pod, node *snapshot.Node, placed []snapshot.Placed) string {
	switch {
	case pod.Object == nil:
		return CannotTell + "the pod's object is unknown"
	case node.Object == nil:
		return CannotTell + "the node's object is unknown"
	case len(pod.Object.Spec.ResourceClaims) > 0:
		return noClaims
	case node.Rejected(pod.Class) != nil:
		return rejected
	case pod.Alone:
		return c.cluster.fits(c.nodes, pod, node, placed)
	}
	if why := c.fitsByClass(pod, node); why != "" {
		return why
	}
	// An ordinary pod asks nothing of other pods, but they may ask something of it: a required
	// anti-affinity keeps away whatever it selects.
	if c.repellers.concern(c.nodes, pod.Object, node, placed) {
		return c.cluster.fits(c.nodes, pod, node, placed)
	}
	return ""
}

// FitsClass says why no node of the node's class takes any pod of the pod's class, whatever else
// runs there; "" when some node may.
func (c *Checker) FitsClass(pod *snapshot.Pod, node *snapshot.Node) string {
	if pod.Alone || pod.Object == nil || node.Object == nil || len(pod.Object.Spec.ResourceClaims) > 0 {
		return ""
	}
	if node.Rejected(pod.Class) != nil {
		return rejected
	}
	c.fitsByClass(pod, node)
	return c.answers[classes{pod.Class, node.Class}]
}

// fitsByClass answers from the cache. Without both classes the question is asked anew each time.
func (c *Checker) fitsByClass(pod *snapshot.Pod, node *snapshot.Node) string {
	key := classes{pod.Class, node.Class}
	if key.pod == "" || key.node == "" {
		why, _ := c.fitsEmpty(pod.Object, node.Object)
		return why
	}
	if why, known := c.answers[key]; known {
		return why
	}
	why, certain := c.fitsEmpty(pod.Object, node.Object)
	if !certain {
		return why
	}
	if len(c.answers) >= maxAnswers {
		clear(c.answers) // answers are pure: forgetting changes the cost, never the answer
	}
	c.answers[key] = why
	return why
}

// fitsEmpty runs the predicates on the node as if it were the only one and nothing ran on it.
func (c *Checker) fitsEmpty(pod *corev1.Pod, node *corev1.Node) (why string, certain bool) {
	alone, info, err := lonely(node)
	if err != nil {
		return CannotTell + err.Error(), false
	}
	answer := c.plugins.filter(c.plugins.prepare(pod, alone), info)
	return answer.text(true), answer.certain()
}
