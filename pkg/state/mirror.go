// Package state mirrors the cluster: what informers and the cloud's listings say, plus the effects
// that capmgr had and the informers have not shown yet. Its only product is the Snapshot.
//
// It is the only reader of informers. Objects are converted once, when they change; quantities end
// here and integers begin.
package state

import (
	"strconv"
	"sync"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/types"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Mirror is the current view. It is safe for concurrent use.
type Mirror struct {
	config         *v1alpha1.Config
	schedulerNames map[string]bool
	changed        chan struct{}

	mu        sync.Mutex
	rev       uint64
	pods      map[types.UID]*pod
	nodes     map[string]*corev1.Node
	intents   map[string]string      // by node: what IntentAnnotation says, where it is
	idle      map[string]time.Time   // by node: since when no pod but its own has been there
	boots     map[string]boot        // by node
	released  map[string][]time.Time // by group: when idle nodes were given back
	learned   map[string][]bootTime  // by group, oldest first
	clusters  map[types.UID]*rayv1.RayCluster
	rayJobs   map[types.UID]*rayv1.RayJob
	services  map[types.UID]*rayv1.RayService
	heard     map[types.UID]*heard                        // by RayCluster
	named     map[types.NamespacedName]map[types.UID]bool // RayClusters by name
	runs      map[types.UID]map[types.UID]bool            // RayClusters by the RayService that controls them
	selecting map[types.NamespacedName]map[types.UID]bool // RayJobs by the RayCluster that they select
	submit    map[types.UID]map[types.UID]bool            // Jobs by the RayJob that controls them
	queues    map[string]*queuev2.Queue
	requests  map[types.NamespacedName]*v1alpha1.CapacityRequest
	past      map[types.UID]*v1alpha1.CapacityRequest // those that went lately, as they were last
	bought    []Bought                                // by predecessors, see Memory
	shapes    map[string]LearnedShape                 // by group
	groups    map[string]cloud.Group                  // by group name, as last observed
	listed    map[string]bool                         // instances that the cloud has listed once, by ID
	assumed   map[types.UID]string                    // pod to the node that capmgr bound it to, until seen
	shown     map[types.UID]bool                      // pods that wait and that other autoscalers make nodes for
	leaving   map[types.UID]departure                 // pods that capmgr evicted or asked to go, until seen
	drainer   *fit.Drainer
	draining  map[string]bool      // nodes that capmgr is giving back, by name
	held      map[string]time.Time // by gang: not to be bound before (its bind was refused)
	evicted   map[string]Eviction  // by gang: that others were evicted for it
	resumed   map[string]time.Time // by gang: when capmgr let it go on
	running   map[string]minima    // by gang: the minimum that it runs with
	short     map[string]time.Time // by gang: since when it runs below that
	classes   map[string]*schedulingv1.PriorityClass
	jobs      map[types.UID]*batchv1.Job
	owners    map[types.UID]*owner // Deployments, ReplicaSets and StatefulSets
	observed  bool
	claimed   map[part][]string // by purchase: the nodes that other autoscalers made for it, as of the last snapshot

	rejections rejections

	kept kept
}

// pod is a pod with what follows from it alone.
type pod struct {
	object  *corev1.Pod
	request snapshot.Resources
	class   string
	alone   bool
	ours    bool      // scheduled by capmgr
	keeps   string    // why its node must not be taken away under it; see fit.Drainer
	guards  fit.Guard // whether it can be evicted

	owner     types.UID // of its controller; "" when it has none
	ownerKind string
	ofApps    bool // it is of the group apps

	out *snapshot.Pod // what the last snapshot said of it; nil: nothing, or it has changed
}

// New returns an empty mirror for a configuration.
func New(config *v1alpha1.Config) *Mirror {
	m := &Mirror{
		config:         config,
		schedulerNames: map[string]bool{},
		changed:        make(chan struct{}, 1),
		pods:           map[types.UID]*pod{},
		nodes:          map[string]*corev1.Node{},
		intents:        map[string]string{},
		idle:           map[string]time.Time{},
		boots:          map[string]boot{},
		released:       map[string][]time.Time{},
		learned:        map[string][]bootTime{},
		clusters:       map[types.UID]*rayv1.RayCluster{},
		rayJobs:        map[types.UID]*rayv1.RayJob{},
		services:       map[types.UID]*rayv1.RayService{},
		heard:          map[types.UID]*heard{},
		named:          map[types.NamespacedName]map[types.UID]bool{},
		runs:           map[types.UID]map[types.UID]bool{},
		selecting:      map[types.NamespacedName]map[types.UID]bool{},
		submit:         map[types.UID]map[types.UID]bool{},
		queues:         map[string]*queuev2.Queue{},
		requests:       map[types.NamespacedName]*v1alpha1.CapacityRequest{},
		past:           map[types.UID]*v1alpha1.CapacityRequest{},
		shapes:         map[string]LearnedShape{},
		groups:         map[string]cloud.Group{},
		listed:         map[string]bool{},
		assumed:        map[types.UID]string{},
		shown:          map[types.UID]bool{},
		leaving:        map[types.UID]departure{},
		drainer:        fit.NewDrainer(),
		draining:       map[string]bool{},
		held:           map[string]time.Time{},
		evicted:        map[string]Eviction{},
		resumed:        map[string]time.Time{},
		running:        map[string]minima{},
		short:          map[string]time.Time{},
		classes:        map[string]*schedulingv1.PriorityClass{},
		jobs:           map[types.UID]*batchv1.Job{},
		owners:         map[types.UID]*owner{},
		rejections:     rejections{by: map[scope]map[string]*rest{}},
		kept:           newKept(),
	}
	for _, name := range config.SchedulerNames {
		m.schedulerNames[name] = true
	}
	return m
}

// Changed delivers a value after one or more changes since the last receive.
func (m *Mirror) Changed() <-chan struct{} { return m.changed }

// Observed says whether the cloud has been read at least once. Until then a node's group is
// unknown, and nothing may be decided about money.
func (m *Mirror) Observed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.observed || len(m.config.NodeGroups) == 0
}

// update runs a change that may concern everything, and tells whoever waits for Changed.
func (m *Mirror) update(change func()) {
	m.note(func() {
		change()
		m.kept.all = true
	})
}

// note is update for a change that says itself what it concerns.
func (m *Mirror) note(change func()) {
	m.mu.Lock()
	change()
	m.rev++
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// AssumeBound records that capmgr has bound a pod, until the informer shows it.
func (m *Mirror) AssumeBound(uid types.UID, node string) {
	m.note(func() {
		if p := m.pods[uid]; p != nil && p.object.Spec.NodeName == "" {
			m.assumed[uid] = node
			m.kept.units[keyOf(p)] = true
		}
	})
}

// AssumeRequest records a CapacityRequest as the API server returned it.
func (m *Mirror) AssumeRequest(r *v1alpha1.CapacityRequest) { m.setRequest(r) }

// Hold keeps a gang from being bound until a time, after its bind was refused.
func (m *Mirror) Hold(gang snapshot.GangID, until time.Time) {
	m.note(func() { m.held[string(gang)] = until })
}

// RememberResume records when capmgr let a gang go on that waited without pods.
func (m *Mirror) RememberResume(gang snapshot.GangID, at time.Time) {
	m.note(func() { m.resumed[string(gang)] = at })
}

// AssumeDraining records that capmgr gives a node back, from before its taint is seen, or that it does
// not any more. A node that goes is no room, and nothing may be counted on it.
func (m *Mirror) AssumeDraining(node string, is bool) {
	m.note(func() {
		m.kept.nodes[node] = true
		if is {
			m.draining[node] = true
		} else {
			delete(m.draining, node)
		}
	})
}

// SetGroups records what the cloud says of the node groups.
func (m *Mirror) SetGroups(groups []cloud.Group) {
	m.note(func() {
		m.kept.allNodes = true
		for _, g := range groups {
			m.groups[g.Name] = g
			for _, i := range g.Instances {
				m.listed[i.ID] = true
			}
		}
		m.observed = true
	})
}

func (m *Mirror) setRequest(r *v1alpha1.CapacityRequest) {
	m.update(func() {
		key := types.NamespacedName{Namespace: r.Namespace, Name: r.Name}
		if old := m.requests[key]; old != nil && old.UID == r.UID && newer(old.ResourceVersion, r.ResourceVersion) {
			return // an informer that lags behind capmgr's own write
		}
		m.requests[key] = r
	})
}

// newer compares resource versions, which the API server documents as increasing integers.
func newer(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x > y
}
