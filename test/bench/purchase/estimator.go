package purchase

import (
	"cmp"
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/autoscaler/cluster-autoscaler/estimator"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/predicate"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/store"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/framework"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// estimate asks Cluster Autoscaler's estimator the same question: for every gang and each of its two kinds
// of pods, what nodes of each group would it take, and which is the cheapest? It answers for one group at a
// time, and knows neither zones nor bounds, so this is less than what capmgr decides. It returns a function
// that asks it all once; setting up is not part of what is measured.
func estimate(w *world, s *snapshot.Snapshot) (func() (Cart, error), error) {
	handle, err := framework.NewHandle(informers.NewSharedInformerFactory(fake.NewClientset(), 0), nil, false)
	if err != nil {
		return nil, fmt.Errorf("build framework: %w", err)
	}
	snap := predicate.NewPredicateSnapshot(store.NewDeltaSnapshotStore(16), handle, false)
	if err := snap.SetClusterState(nil, nil, nil); err != nil {
		return nil, fmt.Errorf("set cluster state: %w", err)
	}
	limits := estimator.NewThresholdBasedEstimationLimiter([]estimator.Threshold{estimator.NewStaticThreshold(0, 0)})
	e := estimator.NewBinpackingNodeEstimator(snap, limits, estimator.NewDecreasingPodOrderer(), estimator.NewEstimationContext(0, nil, 0), nil)
	var templates []*framework.NodeInfo
	for _, g := range s.NodeGroups {
		templates = append(templates, framework.NewNodeInfo(g.Template.Object, nil))
	}
	cheapest := func(pods []*corev1.Pod) (least float64, nodes int) {
		least = math.Inf(1)
		for k, g := range s.NodeGroups {
			n, placed := e.Estimate([]estimator.PodEquivalenceGroup{{Pods: pods}}, templates[k], nil)
			price := float64(g.Price) / 1e6 * float64(n)
			if len(placed) == len(pods) && cmp.Or(cmp.Compare(price, least), cmp.Compare(n, nodes)) < 0 {
				least, nodes = price, n
			}
		}
		return least, nodes
	}
	return func() (c Cart, err error) {
		for _, g := range s.Gangs {
			c.Gangs++
			for _, class := range w.pods[g.Name] {
				price, nodes := cheapest(class)
				c.Dollars += price
				c.Nodes += nodes
			}
		}
		if math.IsInf(c.Dollars, 1) {
			return c, fmt.Errorf("the estimator finds no group for some pods")
		}
		return c, nil
	}, nil
}
