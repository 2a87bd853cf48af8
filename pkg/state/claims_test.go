package state_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/state"
)

// bazaar is what the API server has of one group that another autoscaler grows.
type bazaar struct {
	now      time.Time
	requests map[string]*v1alpha1.CapacityRequest
	nodes    map[string]*corev1.Node
	serial   int
}

// mirror is a manager that has just started.
func (b *bazaar) mirror() *state.Mirror {
	m := delegating()
	for _, name := range slices.Sorted(maps.Keys(b.nodes)) {
		m.Nodes().OnAdd(b.nodes[name], true)
	}
	for _, name := range slices.Sorted(maps.Keys(b.requests)) {
		m.AssumeRequest(b.requests[name])
	}
	return m
}

// claims maps nodes to the open purchases that they came for; the same node twice is an error.
func (b *bazaar) claims(t *rapid.T, m *state.Mirror) map[string]string {
	m.Snapshot(b.now)
	out := map[string]string{}
	for _, a := range m.Asks() {
		if len(a.Came) > int(a.Part.Count) {
			t.Fatalf("%s has %v, and asked for %d", a.Request.Name, a.Came, a.Part.Count)
		}
		for _, node := range a.Came {
			if other := out[node]; other != "" {
				t.Fatalf("node %s is that of %s and of %s", node, other, a.Request.Name)
			}
			out[node] = a.Request.Name
		}
	}
	return out
}

// change is what one step does to the objects, shown to a mirror that runs.
func (b *bazaar) change(t *rapid.T, m *state.Mirror) {
	b.now = b.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
	b.serial++
	pick := func(names []string) string {
		if len(names) == 0 {
			return ""
		}
		return rapid.SampledFrom(names).Draw(t, "which")
	}
	replace := func(r *v1alpha1.CapacityRequest, change func(*v1alpha1.CapacityRequest)) {
		r = r.DeepCopy()
		r.ResourceVersion = fmt.Sprint(b.serial)
		change(r)
		b.requests[r.Name] = r
		m.AssumeRequest(r)
	}
	requests, nodes := slices.Sorted(maps.Keys(b.requests)), slices.Sorted(maps.Keys(b.nodes))
	switch rapid.SampledFrom([]string{"ask", "come", "come", "go", "write", "write", "end"}).Draw(t, "what") {
	case "ask":
		name := fmt.Sprint("r", b.serial)
		replace(request(name, "asked", int32(rapid.IntRange(1, 3).Draw(t, "count")), b.now), func(*v1alpha1.CapacityRequest) {})
	case "come":
		n := made(fmt.Sprint("n", b.serial), noon.Sub(b.now))
		b.nodes[n.Name] = n
		m.Nodes().OnAdd(n, false)
	case "go":
		if name := pick(nodes); name != "" {
			m.Nodes().OnDelete(b.nodes[name])
			delete(b.nodes, name)
		}
	case "write": // as the executor does, on what the last decision saw
		if name := pick(requests); name != "" {
			m.Snapshot(b.now)
			there := m.Came(b.requests[name], "asked")
			replace(b.requests[name], func(r *v1alpha1.CapacityRequest) {
				var known []string
				for _, st := range r.Status.Nodes {
					known = st.Instances
				}
				all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(known), there...))))
				r.Status.Nodes = []v1alpha1.NodeStatus{{NodeGroup: "asked", Instances: all}}
			})
		}
	case "end":
		if name := pick(requests); name != "" {
			replace(b.requests[name], is(v1alpha1.ConditionReleased, v1alpha1.ReasonGangPlaced, b.now))
		}
	}
}

// TestClaims: whatever comes and goes, no node is that of two purchases, no purchase has more than it
// asked for or loses what it has written down, and a manager that starts anew sees what the old one saw.
func TestClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &bazaar{now: noon, requests: map[string]*v1alpha1.CapacityRequest{}, nodes: map[string]*corev1.Node{}}
		m := b.mirror()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			b.change(t, m)
			got := b.claims(t, m)
			if fresh := b.claims(t, b.mirror()); !maps.Equal(got, fresh) {
				t.Fatalf("a manager that runs sees %v, a fresh one %v", got, fresh)
			}
			for name, r := range b.requests {
				for _, st := range r.Status.Nodes {
					for _, node := range st.Instances {
						open := len(r.Status.Conditions) == 0
						if b.nodes[node] != nil && open && got[node] != name {
							t.Fatalf("node %s was written down by %s and is that of %q", node, name, got[node])
						}
					}
				}
			}
		}
	})
}
