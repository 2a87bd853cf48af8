package faults

import (
	"context"
	"time"

	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/state"
)

// watch shows the mirror what changed, late by some time and without what came and went meanwhile.
func (l *life) watch(ctx context.Context, m *state.Mirror, synced chan<- struct{}) {
	shown := map[string]client.Object{}
	first := true
	for {
		pace := 200 * time.Millisecond
		if r := l.w.dice.roll("watch"); !l.w.dice.isCalm() && r.IntN(400) == 0 {
			pace = time.Duration(r.IntN(20000)) * time.Millisecond
		}
		if rest(ctx, pace+7) != nil {
			return
		}
		l.w.locked(func() {
			show(l.w.queues, "q", shown, m.Queues(), first)
			show(l.w.clusters, "c", shown, m.RayClusters(), first)
			show(l.w.requests, "r", shown, m.CapacityRequests(), first)
			show(l.w.nodes, "n", shown, m.Nodes(), first)
			show(l.w.pods, "p", shown, m.Pods(), first)
		})
		if first {
			close(synced)
			first = false
		}
	}
}

func show[T client.Object](there map[string]T, kind string, shown map[string]client.Object, h cache.ResourceEventHandler, first bool) {
	for _, k := range sorted(shown) {
		old := shown[k]
		if k[:1] != kind {
			continue
		}
		if o, ok := there[k[1:]]; !ok || o.GetUID() != old.GetUID() {
			delete(shown, k)
			h.OnDelete(old)
		}
	}
	for _, k := range sorted(there) {
		o := there[k]
		switch old := shown[kind+k]; {
		case old == nil:
			h.OnAdd(o, first)
		case old.GetResourceVersion() != o.GetResourceVersion():
			h.OnUpdate(old, o)
		default:
			continue
		}
		shown[kind+k] = o
	}
}
