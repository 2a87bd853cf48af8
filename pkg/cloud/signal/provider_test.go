package signal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/cloud/signal"
)

func TestSignal(t *testing.T) {
	group := cloud.GroupConfig{Name: "shown", Delegation: &cloud.Delegation{InstanceType: "g5.xlarge", Shape: cloud.Shape{GPUs: 1}}}
	r := cloud.LaunchRequest{Group: group, Count: 1, Pods: []cloud.Pod{{Namespace: "ml", Name: "a", UID: "u"}}}
	p := signal.Provider{}
	ctx := t.Context()
	groups, err := p.Observe(ctx, []cloud.GroupConfig{group})
	if err != nil || len(groups) != 1 || groups[0].InstanceType != "g5.xlarge" || groups[0].Shape.GPUs != 1 || groups[0].Max < 1<<30 {
		t.Errorf("observed %+v, %v: what is promised, with no bound of its own", groups, err)
	}
	if ids, err := p.Launch(ctx, r); err != nil || len(ids) > 0 {
		t.Errorf("launched %v, %v", ids, err)
	}
	if err := p.Follow(ctx, r, nil); err != nil {
		t.Errorf("its pods wait: %v", err)
	}
	if err := p.Follow(ctx, r, r.Pods); !errors.Is(err, cloud.ErrStale) || !strings.Contains(err.Error(), "pod ml/a is gone") {
		t.Errorf("a pod was replaced: %v", err)
	}
	if err := p.Withdraw(ctx, r); err != nil {
		t.Error(err)
	}
	if err := p.Terminate(ctx, group, []string{"node-1"}); !errors.Is(err, cloud.ErrRejected) {
		t.Errorf("terminating a node gave %v", err)
	}
}
