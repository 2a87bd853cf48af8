package scheduler_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
)

// TestQueuesForSomeNamespaces: work of the gang's namespace, default, waits where it is not allowed, whoever
// says so up the tree; what runs already goes on, and does not grow.
func TestQueuesForSomeNamespaces(t *testing.T) {
	cases := map[string]struct {
		reason string
		world  func(*world)
		want   plan.Reason
		says   string
	}{
		"Everybodys": {"no list", func(w *world) { w.gang("g", "q", 50, 1, 1) }, plan.Running, "its pod is bound"},
		"Listed": {"on the list", func(w *world) {
			w.s.Queue("q").Namespaces = []string{"default", "ml"}
			w.gang("g", "q", 50, 1, 1)
		}, plan.Running, "its pod is bound"},
		"NotListed": {"another's", func(w *world) {
			w.s.Queue("q").Namespaces = []string{"ml"}
			w.gang("g", "q", 50, 1, 1)
		}, plan.NotPermitted, "queue q is not for work of namespace default"},
		"NotListedAbove": {"its department's", func(w *world) {
			w.s.Queue("top").Namespaces = []string{"ml"}
			w.gang("g", "q", 50, 1, 1)
		}, plan.NotPermitted, "queue top is not for work of namespace default"},
		"Nobodys": {"an empty list", func(w *world) {
			w.s.Queue("q").Namespaces = []string{}
			w.gang("g", "q", 50, 1, 1)
		}, plan.NotPermitted, "queue q is not for work of namespace default"},
		"Runs": {"it was allowed when it started", func(w *world) {
			w.s.Queue("q").Namespaces = []string{"ml"}
			w.gang("g", "q", 50, 1, 2, 0)
		}, plan.Running, "1 of 2 pods are bound; the next waits: NotPermitted: queue q is not for work of namespace default"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.queue("top", "", free, free)
			w.queue("q", "top", free, free)
			w.nodes(2, 1)
			c.world(w)
			v := w.verdict("g")
			if diff := cmp.Diff([]string{string(c.want), c.says}, []string{string(v.Reason), v.Message}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}
