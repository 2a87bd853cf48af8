package state_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/state"
)

// TestAnEvictionIsRememberedUntilItsBeneficiaryIsPlaced: a gang that got the room that others left for it
// may have them leave again when it needs more; one that did not get it may not.
func TestAnEvictionIsRememberedUntilItsBeneficiaryIsPlaced(t *testing.T) {
	m := state.New(config())
	m.Pods().OnAdd(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "serve", UID: "serve"}, Spec: corev1.PodSpec{SchedulerName: "kai-scheduler"}}, true)
	gang := m.Snapshot(morning).Gangs[0].ID
	m.RememberEviction(gang, morning)
	if g := m.Snapshot(morning.Add(time.Minute)).Gang(gang); !g.EvictedAt.Equal(morning) {
		t.Errorf("others were evicted for it a minute ago: got %v", g.EvictedAt)
	}
	m.AssumeBound("serve", "node-1")
	m.ForgetEviction(gang)
	if g := m.Snapshot(morning.Add(2 * time.Minute)).Gang(gang); !g.EvictedAt.IsZero() {
		t.Errorf("it has been placed since: got %v", g.EvictedAt)
	}
}
