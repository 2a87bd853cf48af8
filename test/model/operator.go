package model

import (
	"errors"
	"fmt"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/ray"
)

// Operator is how KubeRay brings the workers of RayClusters in line with their specs, with the habits
// that hurt those who do not expect them:
//
//   - it waits without end for the deletion of a pod, and leaves the whole group alone meanwhile, unless
//     it is restarted and forgets;
//   - it deletes whatever the list names, of whichever cluster, where replicas have one host;
//   - it deletes pods that ended, and makes nothing in that round;
//   - what is too many it deletes in the order of its list, busy or not, unless Ray's autoscaler runs;
//   - it deletes a replica of several hosts whole when one host is missing or ended.
//
// As read in v1.6.2; World.Reconcile is the simple version of it, for stories.
type Operator struct {
	awaited map[string]map[string]bool // by cluster and group: names of pods that it has deleted
}

// Deletion is one pod that the operator deletes.
type Deletion struct {
	Name string
	Why  Why
}

// Why is a reason to delete a pod.
type Why string

// The reasons to delete a pod.
const (
	Named      Why = "named"      // in workersToDelete
	Ended      Why = "ended"      // it failed or succeeded
	Incomplete Why = "incomplete" // another host of its replica is gone
	TooMany    Why = "too many"   // chosen by the operator
	Switched   Why = "suspended"
)

// Creation is one pod that the operator makes.
type Creation struct {
	Group   string
	Replica string // that it is a host of; "" where replicas have one
}

// Restart forgets what it waits for.
func (o *Operator) Restart() { o.awaited = nil }

// errLater ends a round early: the operator tries again.
var errLater = errors.New("later")

// Reconcile is one round for a RayCluster. pods are all of its namespace, in the order of a list. serial
// names new replicas.
func (o *Operator) Reconcile(rc *rayv1.RayCluster, pods []*corev1.Pod, serial func() int) (gone []Deletion, made []Creation) {
	if rc.Spec.Suspend != nil && *rc.Spec.Suspend {
		for _, p := range pods {
			if metav1.IsControlledBy(p, rc) && p.DeletionTimestamp == nil {
				gone = append(gone, Deletion{p.Name, Switched})
			}
		}
		return gone, nil
	}
	if head := ofGroup(rc, ray.HeadGroup, pods); len(head) == 0 {
		made = append(made, Creation{Group: ray.HeadGroup})
	}
	for i := range rc.Spec.WorkerGroupSpecs {
		g := &rc.Spec.WorkerGroupSpecs[i]
		r := round{o: o, rc: rc, spec: g, key: rc.Name + "/" + g.GroupName, all: pods, pods: ofGroup(rc, g.GroupName, pods), serial: serial}
		if !r.settled() {
			continue
		}
		err := r.reconcile()
		gone, made = append(gone, r.gone...), append(made, r.made...)
		if err != nil {
			break // the groups after it wait for the next round
		}
	}
	return gone, made
}

func ofGroup(rc *rayv1.RayCluster, group string, pods []*corev1.Pod) (out []*corev1.Pod) {
	for _, p := range pods {
		// By labels, as the operator does; it does not look who controls them.
		if p.Labels[ray.ClusterLabel] == rc.Name && p.Labels[ray.GroupLabel] == group {
			out = append(out, p)
		}
	}
	return out
}

// round is one group in one round.
type round struct {
	o      *Operator
	rc     *rayv1.RayCluster
	spec   *rayv1.WorkerGroupSpec
	key    string
	all    []*corev1.Pod
	pods   []*corev1.Pod
	serial func() int

	gone []Deletion
	made []Creation
}

// settled says whether the pods that were deleted are gone.
func (r *round) settled() bool {
	for name := range r.o.awaited[r.key] {
		if !slices.ContainsFunc(r.all, func(p *corev1.Pod) bool { return p.Name == name }) {
			delete(r.o.awaited[r.key], name)
		}
	}
	return len(r.o.awaited[r.key]) == 0
}

func (r *round) remove(p *corev1.Pod, why Why) {
	r.gone = append(r.gone, Deletion{p.Name, why})
	if r.o.awaited == nil {
		r.o.awaited = map[string]map[string]bool{}
	}
	if r.o.awaited[r.key] == nil {
		r.o.awaited[r.key] = map[string]bool{}
	}
	r.o.awaited[r.key][p.Name] = true
}

// desired is replicas within their bounds.
func (r *round) desired() int {
	n := max(int(deref(r.spec.Replicas)), int(deref(r.spec.MinReplicas)))
	if r.spec.MaxReplicas != nil {
		n = min(n, int(*r.spec.MaxReplicas))
	}
	return n
}

func (r *round) autoscaled() bool {
	return r.rc.Spec.EnableInTreeAutoscaling != nil && *r.rc.Spec.EnableInTreeAutoscaling
}

func (r *round) reconcile() error {
	if r.spec.NumOfHosts > 1 {
		return r.replicas()
	}
	for _, p := range r.pods {
		if over(p) {
			r.remove(p, Ended)
		}
	}
	if len(r.gone) > 0 {
		return errLater
	}
	named := map[string]bool{}
	for _, name := range r.spec.ScaleStrategy.WorkersToDelete {
		for _, p := range r.all {
			if p.Name == name { // whoever's it is
				r.remove(p, Named)
				named[name] = true
			}
		}
	}
	left := slices.DeleteFunc(slices.Clone(r.pods), func(p *corev1.Pod) bool { return named[p.Name] })
	for n := len(left); n < r.desired(); n++ {
		r.made = append(r.made, Creation{Group: r.spec.GroupName})
	}
	if many := len(left) - r.desired(); many > 0 && !r.autoscaled() {
		for _, p := range left[:many] {
			r.remove(p, TooMany)
		}
	}
	return nil
}

// replicas is a round for a group whose replicas have several hosts.
func (r *round) replicas() error {
	hosts := map[string][]*corev1.Pod{}
	var order []string
	for _, p := range r.pods {
		name := p.Labels[ray.ReplicaLabel]
		if len(hosts[name]) == 0 {
			order = append(order, name)
		}
		hosts[name] = append(hosts[name], p)
	}
	whole := func(name string, why Why) {
		for _, p := range hosts[name] {
			r.remove(p, why)
		}
	}
	for _, name := range order {
		if len(hosts[name]) < int(r.spec.NumOfHosts) {
			whole(name, Incomplete)
			return errLater
		}
	}
	ended := map[string]bool{}
	for _, name := range order {
		if slices.ContainsFunc(hosts[name], over) {
			whole(name, Ended)
			ended[name] = true
		}
	}
	for _, name := range order {
		if !ended[name] && slices.ContainsFunc(hosts[name], func(p *corev1.Pod) bool { return slices.Contains(r.spec.ScaleStrategy.WorkersToDelete, p.Name) }) {
			whole(name, Named)
		}
	}
	if len(r.gone) > len(ended)*int(r.spec.NumOfHosts) {
		return errLater
	}
	left := slices.DeleteFunc(order, func(name string) bool { return ended[name] })
	for n := len(left); n < r.desired(); n++ {
		replica := fmt.Sprintf("%s-%d", r.spec.GroupName, r.serial())
		for range r.spec.NumOfHosts {
			r.made = append(r.made, Creation{Group: r.spec.GroupName, Replica: replica})
		}
	}
	if many := len(left) - r.desired(); many > 0 && !r.autoscaled() {
		for _, name := range left[:many] {
			whole(name, TooMany)
		}
	}
	return nil
}
