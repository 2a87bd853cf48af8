package state

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Memory is what a manager leaves to its successor because no object of the cluster tells it for long:
// a CapacityRequest goes with its gang, and a node with its last pod.
type Memory struct {
	Bought []Bought                `json:"bought,omitempty"` // within snapshot.GrowthWindow, by request
	Shapes map[string]LearnedShape `json:"shapes,omitempty"` // by node group

	Evictions map[string]Eviction `json:"evictions,omitempty"` // by gang
}

// Bought is one purchase as the limit on growth counts it.
type Bought struct {
	Request string    `json:"request"` // namespace/name
	At      time.Time `json:"at"`
	Nodes   int       `json:"nodes"`
}

// Text is the memory as it is stored.
func (m Memory) Text() (string, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode memory: %w", err)
	}
	return string(text), nil
}

// ParseMemory reads what Text wrote; nothing is an empty memory.
func ParseMemory(text string) (m Memory, err error) {
	if text == "" {
		return m, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return Memory{}, fmt.Errorf("decode memory: %w", err)
	}
	return m, nil
}

// Recall takes over what a predecessor left. It belongs before the first snapshot.
func (m *Mirror) Recall(left Memory) {
	m.update(func() {
		m.bought = slices.Clone(left.Bought)
		maps.Copy(m.shapes, left.Shapes)
		maps.Copy(m.evicted, left.Evictions)
	})
}

// NoteBought notes a purchase that is about to be written down. Its request tells more of it from then on.
func (m *Mirror) NoteBought(p Bought) {
	m.note(func() {
		m.bought = append(slices.DeleteFunc(m.bought, func(o Bought) bool { return o.Request == p.Request }), p)
	})
}

// Memory is what a successor would have to know now.
func (m *Mirror) Memory(now time.Time) Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &builder{m: m, s: &snapshot.Snapshot{Now: now}}
	b.recall()
	return Memory{Bought: b.purchases(), Shapes: maps.Clone(m.shapes), Evictions: b.vain()}
}

// LimitsGrowth says whether there is a limit on what is bought within an hour.
func (m *Mirror) LimitsGrowth() bool { return m.config.Limits.MaxNewNodesPerHour != nil }

// purchases lists what was bought within the growth window, by request: what CapacityRequests say, and
// of those that are gone what was known of them.
func (b *builder) purchases() (out []Bought) {
	known := map[string]bool{}
	add := func(p Bought) {
		known[p.Request] = true
		if p.Nodes > 0 && b.s.Now.Sub(p.At) < snapshot.GrowthWindow {
			out = append(out, p)
		}
	}
	for _, r := range b.history {
		p := Bought{Request: r.Namespace + "/" + r.Name, At: b.boughtAt(r), Nodes: int(r.Spec.TotalNodes())}
		if refused(r) {
			p.Nodes = 0
			for _, st := range r.Status.Nodes {
				p.Nodes += len(st.Instances)
			}
		}
		add(p)
	}
	b.m.bought = slices.DeleteFunc(b.m.bought, func(p Bought) bool { return b.s.Now.Sub(p.At) >= snapshot.GrowthWindow })
	for _, p := range b.m.bought {
		if !known[p.Request] {
			add(p)
		}
	}
	slices.SortFunc(out, func(x, y Bought) int { return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Request, y.Request)) })
	return out
}

// boughtAt is when the cloud launched what a request asked for, at the latest: the API server tells whole
// seconds. While it is being asked, that is yet to come; a purchase that fell short was asked for before
// it was given up.
func (b *builder) boughtAt(r *v1alpha1.CapacityRequest) time.Time {
	for _, done := range []string{v1alpha1.ConditionProvisioned, v1alpha1.ConditionFailed, v1alpha1.ConditionReleased} {
		if c := meta.FindStatusCondition(r.Status.Conditions, done); c != nil && c.Status == metav1.ConditionTrue {
			return c.LastTransitionTime.Add(time.Second)
		}
	}
	at := r.CreationTimestamp.Add(time.Second)
	if least := b.s.Now.Add(time.Second - snapshot.GrowthWindow); at.Before(least) && b.m.requests[requestKey(r)] == r {
		return least
	}
	return at
}
