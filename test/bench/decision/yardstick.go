package decision

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/predicate"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/clustersnapshot/store"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/framework"
	"k8s.io/autoscaler/cluster-autoscaler/simulator/scheduling"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// Autoscaler places the pending pods as Cluster Autoscaler does before it thinks about new nodes. It
// returns a function that does it once, in the state that the cluster is in, and says how many found
// a place. Setting up is not part of what is measured.
func Autoscaler(c *Cluster) (func() (int, error), error) {
	handle, err := framework.NewHandle(informers.NewSharedInformerFactory(fake.NewClientset(), 0), nil, false)
	if err != nil {
		return nil, fmt.Errorf("build framework: %w", err)
	}
	snapshot := predicate.NewPredicateSnapshot(store.NewDeltaSnapshotStore(16), handle, false)
	if err := snapshot.SetClusterState(c.Nodes, c.Running, nil); err != nil {
		return nil, fmt.Errorf("set cluster state: %w", err)
	}
	return func() (int, error) {
		snapshot.Fork()
		defer snapshot.Revert()
		placed, _, err := scheduling.NewHintingSimulator().TrySchedulePods(snapshot, append([]*corev1.Pod(nil), c.Pending...), scheduling.ScheduleAnywhere, false)
		if err != nil {
			return 0, fmt.Errorf("try to schedule: %w", err)
		}
		return len(placed), nil
	}, nil
}
