package fit

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/store"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// cluster is the slow road's model: all nodes with their pods, and over them, in a fork, what the
// decision has changed so far.
//
// Callers append to what they have placed, so the fork is kept between questions and only what is
// new is applied. Anything that a single question needs beyond that (the node asked about does not
// exist; the pod is running somewhere) lives in a second fork for just that question: a node that
// was only asked about must not weigh on later answers.
type cluster struct {
	plugins plugins
	store   *store.DeltaSnapshotStore

	base    []*snapshot.Node // what the store holds below the fork
	current bool             // base is what this decision began with
	applied []snapshot.Placed
	moved   map[*snapshot.Pod]string // where applied pods are; "": nowhere

	ready map[alike]prepared // for the state under the second fork
}

// alike identifies pods for which PreFilter gives the same: by class, which for pods that are alone
// covers all that it reads, or else by the very object.
type alike struct {
	class  string
	object *corev1.Pod
}

func alikeOf(pod *snapshot.Pod) alike {
	if pod.Alone && pod.Class != "" {
		return alike{class: pod.Class}
	}
	return alike{object: pod.Object}
}

func newCluster(p plugins) *cluster {
	c := &cluster{plugins: p, store: store.NewDeltaSnapshotStore(1)}
	c.store.Fork()
	c.undo()
	return c
}

// expire says that a new decision has begun. Volumes and namespaces may have changed even where
// nodes and pods have not.
func (c *cluster) expire() {
	c.current = false
	clear(c.ready)
}

// fits answers for one pod on one node.
func (c *cluster) fits(nodes []*snapshot.Node, pod *snapshot.Pod, node *snapshot.Node, placed []snapshot.Placed) string {
	if err := c.follow(nodes, placed); err != nil {
		return CannotTell + err.Error()
	}
	if c.location(pod) == "" && c.holds(node) {
		return c.ask(pod, node.Name)
	}
	c.store.Fork()
	defer c.store.Revert()
	if err := c.leave(pod); err != nil {
		return CannotTell + err.Error()
	}
	if err := c.ensure(node); err != nil {
		return CannotTell + err.Error()
	}
	return c.run(c.plugins.prepare(pod.Object, c.store), node.Name)
}

// ask answers in the state under the second fork, where PreFilter is shared between nodes.
func (c *cluster) ask(pod *snapshot.Pod, node string) string {
	key := alikeOf(pod)
	pre, known := c.ready[key]
	if !known {
		pre = c.plugins.prepare(pod.Object, c.store)
		c.ready[key] = pre
	}
	return c.run(pre, node)
}

func (c *cluster) run(pre prepared, node string) string {
	info, err := c.store.NodeInfos().Get(node)
	if err != nil {
		return CannotTell + err.Error()
	}
	return c.plugins.filter(pre, info).text(false)
}

// follow brings the model to the nodes of the decision and to what it has placed.
func (c *cluster) follow(nodes []*snapshot.Node, placed []snapshot.Placed) error {
	if !c.current {
		if err := c.update(nodes); err != nil {
			return fmt.Errorf("model the cluster: %w", err)
		}
	}
	if !startsWith(placed, c.applied) {
		c.undo()
	}
	for _, change := range placed[len(c.applied):] {
		if err := c.apply(change); err != nil {
			c.undo()
			return fmt.Errorf("model a placed pod: %w", err)
		}
		c.applied = append(c.applied, change)
	}
	return nil
}

// undo returns to the bare cluster.
func (c *cluster) undo() {
	c.store.Revert()
	c.store.Fork()
	c.applied = nil
	c.moved = map[*snapshot.Pod]string{}
	c.ready = map[alike]prepared{}
}

// update replaces those nodes below the fork that differ. After an error the model is rebuilt from
// nothing at the next attempt.
func (c *cluster) update(nodes []*snapshot.Node) error {
	old := make(map[string]*snapshot.Node, len(c.base))
	for _, n := range c.base {
		old[n.Name] = n
	}
	var stale []*snapshot.Node
	for _, n := range nodes {
		if n.Object == nil {
			continue // Fits says so when asked
		}
		if was, had := old[n.Name]; had && sameNode(was, n) {
			delete(old, n.Name)
			continue
		}
		stale = append(stale, n)
	}
	if len(old) > 0 || len(stale) > 0 {
		c.store.Revert()
		if err := c.replace(old, stale); err != nil {
			c.base = nil
			c.store = store.NewDeltaSnapshotStore(1)
			c.store.Fork()
			c.undo()
			return err
		}
		c.store.Fork()
	}
	c.base, c.current = modelled(nodes), true
	c.undo()
	return nil
}

func (c *cluster) replace(gone map[string]*snapshot.Node, added []*snapshot.Node) error {
	for name := range gone {
		if err := c.store.RemoveSchedulerNodeInfo(name); err != nil {
			return err
		}
	}
	for _, n := range added {
		if err := c.add(n); err != nil {
			return err
		}
	}
	return nil
}

// add puts in a node with its pods as the snapshot has them: a binding that is only assumed so far
// is not in the pod's object yet.
func (c *cluster) add(n *snapshot.Node) error {
	info := schedulerframework.NewNodeInfo()
	info.SetNode(n.Object)
	if err := c.store.AddSchedulerNodeInfo(info); err != nil {
		return err
	}
	for _, p := range n.Pods {
		if p.Object == nil {
			continue
		}
		if err := c.store.ForceAddPod(p.Object, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// apply moves a pod to where the decision put it, or off its node.
func (c *cluster) apply(change snapshot.Placed) error {
	if change.Pod.Object == nil {
		return fmt.Errorf("the pod's object is unknown")
	}
	simple := change.Node != nil && c.holds(change.Node) && c.location(change.Pod) == ""
	if err := c.leave(change.Pod); err != nil {
		return err
	}
	c.moved[change.Pod] = ""
	if change.Node != nil {
		if err := c.place(change.Pod, change.Node); err != nil {
			return err
		}
	}
	if !simple {
		clear(c.ready)
		return nil
	}
	return c.extend(change)
}

func (c *cluster) place(pod *snapshot.Pod, node *snapshot.Node) error {
	if err := c.ensure(node); err != nil {
		return err
	}
	c.moved[pod] = node.Name
	return c.store.ForceAddPod(pod.Object, node.Name)
}

// extend tells the prepared pods of one more pod on a node that was there already. Preparing them
// anew looks at every pod of the cluster; a gang of pods that look at each other would do so for
// each of its members.
func (c *cluster) extend(change snapshot.Placed) error {
	info, err := c.store.NodeInfos().Get(change.Node.Name)
	if err != nil {
		return err
	}
	for key, pre := range c.ready {
		if !c.plugins.extend(pre, change.Pod.Object, info) {
			delete(c.ready, key)
		}
	}
	return nil
}

// location is the node that holds the pod in the model, or "".
func (c *cluster) location(pod *snapshot.Pod) string {
	name, moved := c.moved[pod]
	if !moved {
		name = pod.Node
	}
	if name == "" {
		return ""
	}
	info, err := c.store.NodeInfos().Get(name)
	if err != nil {
		return "" // bound to a node that is not in the snapshot
	}
	for _, p := range info.Pods {
		if p.Pod.Namespace == pod.Object.Namespace && p.Pod.Name == pod.Object.Name {
			return name
		}
	}
	return ""
}

// leave takes the pod off the node that holds it, if any.
func (c *cluster) leave(pod *snapshot.Pod) error {
	if name := c.location(pod); name != "" {
		return c.store.ForceRemovePod(pod.Object.Namespace, pod.Object.Name, name)
	}
	return nil
}

// holds says whether the model has this very node object.
func (c *cluster) holds(node *snapshot.Node) bool {
	info, err := c.store.NodeInfos().Get(node.Name)
	return err == nil && info.Node() == node.Object
}

// ensure puts a node into the model that the cluster does not have. For a node that it has, the
// given object wins, which is how a node that is still starting is asked about as it will be.
func (c *cluster) ensure(node *snapshot.Node) error {
	if node.Object == nil {
		return fmt.Errorf("the node's object is unknown")
	}
	info, err := c.store.NodeInfos().Get(node.Name)
	switch {
	case err != nil:
		return c.add(node)
	case info.Node() == node.Object:
		return nil
	}
	other := info.Snapshot()
	other.SetNode(node.Object)
	if err := c.store.RemoveSchedulerNodeInfo(node.Name); err != nil {
		return err
	}
	return c.store.AddSchedulerNodeInfo(other)
}

// modelled leaves out nodes whose object is unknown.
func modelled(nodes []*snapshot.Node) []*snapshot.Node {
	out := make([]*snapshot.Node, 0, len(nodes))
	for _, n := range nodes {
		if n.Object != nil {
			out = append(out, n)
		}
	}
	return out
}

// sameNode says whether predicates see the same in both, without comparing contents: objects of
// the API are never written to, so another content is another object.
func sameNode(a, b *snapshot.Node) bool {
	if a == b {
		return true
	}
	if a.Object != b.Object || len(a.Pods) != len(b.Pods) {
		return false
	}
	for i, p := range a.Pods {
		if p != b.Pods[i] && p.Object != b.Pods[i].Object {
			return false
		}
	}
	return true
}

func startsWith(all, head []snapshot.Placed) bool {
	if len(all) < len(head) {
		return false
	}
	if n := len(head); n > 0 && head[n-1].Serial != 0 {
		return all[n-1] == head[n-1]
	}
	for i, h := range head {
		if all[i] != h {
			return false
		}
	}
	return true
}
