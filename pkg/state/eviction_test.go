package state_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

func waiting(m *state.Mirror) snapshot.GangID {
	m.Pods().OnAdd(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "serve", UID: "serve"}, Spec: corev1.PodSpec{SchedulerName: "kai-scheduler"}}, true)
	return m.Snapshot(morning).Gangs[0].ID
}

// TestAnEvictionIsRememberedUntilItsBeneficiaryIsPlaced: a gang that got the room that others left for it
// may have them leave again when it needs more; one that did not get it may not.
func TestAnEvictionIsRememberedUntilItsBeneficiaryIsPlaced(t *testing.T) {
	m := state.New(config())
	gang := waiting(m)
	m.RememberEviction(gang, morning)
	if g := m.Snapshot(morning.Add(time.Minute)).Gangs[0]; !g.EvictedAt.Equal(morning) {
		t.Errorf("others were evicted for it a minute ago: got %v", g.EvictedAt)
	}
	m.AssumeBound("serve", "node-1")
	m.ForgetEviction(gang)
	if g := m.Snapshot(morning.Add(2 * time.Minute)).Gangs[0]; !g.EvictedAt.IsZero() {
		t.Errorf("it has been placed since: got %v", g.EvictedAt)
	}
}

// TestEvictionsInVainEnd: after two that did not help, nobody is evicted for a gang for an hour, by the
// next manager neither.
func TestEvictionsInVainEnd(t *testing.T) {
	m := state.New(config())
	gang := waiting(m)
	m.RememberEviction(gang, morning)
	m.RememberEviction(gang, morning.Add(10*time.Second)) // of the same decision
	if m.Snapshot(morning.Add(5 * time.Minute)).Gangs[0].NeverEvicts {
		t.Error("after one eviction in vain there may be another")
	}
	again := morning.Add(6 * time.Minute)
	m.RememberEviction(gang, again)
	successor := state.New(config())
	waiting(successor)
	text, err := m.Memory(again).Text()
	if err != nil {
		t.Fatal(err)
	}
	left, err := state.ParseMemory(text)
	if err != nil {
		t.Fatal(err)
	}
	successor.Recall(left)
	for name, m := range map[string]*state.Mirror{"the manager": m, "its successor": successor} {
		if g := m.Snapshot(again.Add(59 * time.Minute)).Gangs[0]; !g.NeverEvicts || !g.EvictedAt.IsZero() {
			t.Errorf("%s within the hour: got %+v", name, g)
		}
		if m.Snapshot(again.Add(time.Hour)).Gangs[0].NeverEvicts {
			t.Errorf("%s after the hour: still none", name)
		}
	}
	if left := m.Memory(again.Add(2 * time.Hour)); len(left.Evictions) > 0 {
		t.Errorf("the memory does not end: got %v", left.Evictions)
	}
}
