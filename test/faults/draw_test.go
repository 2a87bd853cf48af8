package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// drawWorld draws a cluster. What was added to the draw later comes from a stream of its own, so that
// a seed's first features stay what they were.
func drawWorld(seed uint64) *world {
	r, more := stream(seed, 0), stream(seed, 2)
	w := emptyWorld(&dice{seed: seed, count: map[string]uint64{}})
	var ladder []string
	for k := range 2 + r.IntN(2) {
		g := &group{name: fmt.Sprintf("g%d", k), max: 4 + r.IntN(6), zone: "z-" + fmt.Sprint(k%2), price: 1 + float64(k)*0.5,
			shape: cloud.Shape{MilliCPU: 4000, Memory: 14 << 30, GPUs: 1, Pods: 20}}
		switch k {
		case 1:
			g.shape.MilliCPU, g.shape.Memory, g.shape.GPUs, g.price = 46000, 180<<30, 4, 5.6
		case 2:
			g.shape.MilliCPU, g.shape.GPUs, g.price = 8000, 0, 0.2
		}
		if more.IntN(8) == 0 {
			g.least = 1
		}
		w.addGroup(g)
		ladder = append(ladder, g.name)
	}
	w.config.Limits.MaxNodes = number(r, 8, 14)
	if r.IntN(2) == 0 {
		d := v1alpha1.Dollars(10+r.IntN(30)) * 1e6
		w.config.Limits.MaxHourlyCost = &d
	}
	if more.IntN(4) == 0 {
		w.config.Limits.MaxNewNodesPerHour = number(more, 8, 20)
	}
	top := ""
	if more.IntN(2) == 0 {
		top = "org"
		w.addQueue(top, "", float64(6+more.IntN(10)), queuev2.Unlimited)
		if more.IntN(2) == 0 {
			w.config.Queues[top] = v1alpha1.QueueConfiguration{Scaling: &v1alpha1.Scaling{MaxGPUs: number(more, 6, 14)}}
		}
	}
	for k := range 2 + r.IntN(2) {
		limit := float64(3 + r.IntN(8))
		name := fmt.Sprintf("q%d", k)
		w.addQueue(name, top, limit, float64(r.IntN(int(limit))))
		s := &v1alpha1.Scaling{MaxGPUs: number(r, 2, 12)}
		if r.IntN(2) == 0 {
			s.Ladder = slices.Clone(ladder)
		}
		if r.IntN(3) == 0 {
			d := v1alpha1.Dollars(3+r.IntN(20)) * 1e6
			s.MaxHourlyCost = &d
		}
		if r.IntN(2) == 0 {
			s.PreferScaleUpFor = &metav1.Duration{Duration: 3 * time.Minute}
		}
		if more.IntN(6) == 0 {
			s.MaxNodes = map[string]int32{"g0": *number(more, 1, 4)}
		}
		if k == 0 && more.IntN(5) == 0 {
			s.MinGPUs = *number(more, 1, 2)
		}
		w.config.Queues[name] = v1alpha1.QueueConfiguration{Scaling: s}
	}
	for k := range 1 + r.IntN(2) {
		w.addNode(fmt.Sprintf("own-%d", k), 0)
	}
	v1alpha1.SetDefaults(w.config)
	return w
}

func number(r *rand.Rand, from, to int) *int32 {
	n := int32(from + r.IntN(to-from+1)) //nolint:gosec // small
	return &n
}

// The times of all node groups here.
const (
	idleAfter = 2 * time.Minute
	timeout   = 6 * time.Minute
)

// addGroup puts a node group into the cloud and the configuration.
func (w *world) addGroup(g *group) {
	w.groups[g.name] = g
	most := int32(g.max) //nolint:gosec // small
	w.config.NodeGroups = append(w.config.NodeGroups, v1alpha1.NodeGroup{Name: g.name, Provider: v1alpha1.ProviderAWS,
		AWS: &v1alpha1.AWSNodeGroup{AutoScalingGroup: g.name}, MinNodes: int32(g.least), MaxNodes: &most, //nolint:gosec // small
		IdleAfter: &metav1.Duration{Duration: idleAfter}, ExpectedBootTime: &metav1.Duration{Duration: 90 * time.Second},
		ProvisionTimeout: &metav1.Duration{Duration: timeout}})
}

// addQueue makes a queue with a limit and a quota of GPUs and no bounds on anything else.
func (w *world) addQueue(name, parent string, limit, quota float64) {
	free := queuev2.QueueResource{Quota: queuev2.Unlimited, OverQuotaWeight: 1, Limit: queuev2.Unlimited}
	gpu := free
	gpu.Limit, gpu.Quota = limit, quota
	q := &queuev2.Queue{}
	q.Name, q.Spec.ParentQueue = name, parent
	q.Spec.Resources = &queuev2.QueueResources{GPU: gpu, CPU: free, Memory: free}
	w.queues.put(q)
}

// addNode makes a node that is of no group.
func (w *world) addNode(name string, gpus int64) {
	n := fit.Template(name, fit.Shape{InstanceType: "own", Zone: "z-0",
		Allocatable: snapshot.Resources{MilliCPU: 8000, Memory: 32 << 30, MilliGPU: gpus * 1000}, MaxPods: 50})
	n.UID = ""
	w.nodes.put(n)
}
