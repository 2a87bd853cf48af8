package state

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/demand"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// heard is what one head says.
type heard struct {
	answer gcs.Answer
	idle   map[string]time.Time // by node of Ray's: since when; those that work are left out
	fresh  bool                 // as the last snapshot had it
}

// jitter is how far two answers may disagree on since when a node has idled, and mean the same.
const jitter = 5 * time.Second

// Hear takes what is known of a RayCluster's head. An answer that says nothing new changes nothing
// but its age: nobody decides anew because a cluster is as it was.
func (m *Mirror) Hear(uid string, a gcs.Answer) {
	m.mu.Lock()
	h := m.heard[types.UID(uid)]
	known := h != nil
	if !known {
		h = &heard{}
		m.heard[types.UID(uid)] = h
	}
	next := &heard{answer: a, idle: idleness(h.idle, a), fresh: h.fresh}
	same := known && next.says(h)
	m.heard[types.UID(uid)] = next
	m.mu.Unlock()
	if !same {
		m.note(func() { m.kept.units[types.UID(uid)] = true })
	}
}

// unhear forgets heads that are not asked any more. The caller holds the lock.
func (m *Mirror) unhear(still map[types.UID]bool) {
	for uid := range m.heard {
		if !still[uid] {
			delete(m.heard, uid)
			m.kept.units[uid] = true
		}
	}
}

// idleness is since when nodes have idled. What was said before stands, as long as the new answer does
// not contradict it: otherwise every answer would be news.
func idleness(before map[string]time.Time, a gcs.Answer) map[string]time.Time {
	out := map[string]time.Time{}
	for _, n := range a.State.Nodes {
		if n.IdleFor <= 0 || n.Status != demand.Idle && n.Status != demand.Draining {
			continue
		}
		since := a.At.Add(-n.IdleFor)
		if old, there := before[n.ID]; there && since.Sub(old).Abs() <= jitter {
			since = old
		}
		out[n.ID] = since
	}
	return out
}

// says whether two answers mean the same.
func (h *heard) says(o *heard) bool {
	return h.answer.Failed.Equal(o.answer.Failed) && gcs.Explain(h.answer.Err) == gcs.Explain(o.answer.Err) &&
		h.answer.Known() == o.answer.Known() && maps.Equal(h.idle, o.idle) &&
		reflect.DeepEqual(h.meaning(), o.meaning())
}

// meaning is an answer without what moves with time alone.
func (h *heard) meaning() demand.State {
	s := h.answer.State
	s.Nodes = slices.Clone(s.Nodes)
	for k := range s.Nodes {
		s.Nodes[k].IdleFor, s.Nodes[k].Activity = 0, nil
	}
	return s
}

// hear adds to a gang what its head says.
func (b *builder) hear(g *snapshot.Gang, rc *rayv1.RayCluster) {
	h := b.m.heard[rc.UID]
	if h == nil {
		if asks := b.m.config.Ray.AskHeads; asks != nil && *asks && g.Scaler != snapshot.ScaledByNobody {
			g.Heard = &snapshot.Heard{} // it will be asked
		}
		return
	}
	a := &h.answer
	h.fresh = a.Fresh(b.s.Now, gcs.FreshWithin)
	g.Heard = &snapshot.Heard{Fresh: h.fresh, Waiting: a.State.Waiting(), Silent: a.Failed}
	if a.Err != nil {
		g.Heard.Error = gcs.Explain(a.Err)
	}
	for _, p := range g.Members {
		if n, there := a.State.Node(p.Name); there {
			p.Ray = &snapshot.RayNode{ID: n.ID, IdleSince: h.idle[n.ID], Draining: n.Status == demand.Draining}
		}
	}
	if h.fresh {
		b.ask(g, rc, &a.State)
	}
}

// ask works out how many replicas Ray's own demand would use.
func (b *builder) ask(g *snapshot.Gang, rc *rayv1.RayCluster, s *demand.State) {
	var groups []demand.Group
	for _, grp := range g.Groups {
		w := grp.Workers
		if w == nil {
			continue
		}
		host, labels := ray.HostOf(rc, w.Index)
		// A node that is there tells more than the spec: the model of its GPU, for one.
		if k := slices.IndexFunc(s.Nodes, func(n demand.Node) bool { return n.Group == grp.Name }); k >= 0 {
			host = s.Nodes[k].Total
		}
		groups = append(groups, demand.Group{Name: grp.Name, Host: host, Labels: labels, Hosts: w.Hosts,
			Replicas: min(max(w.Replicas, w.Least), w.Most), Max: min(w.Ceiling, math.MaxInt32)})
	}
	wish, _ := demand.Wish(s, groups)
	for k := range g.Groups {
		if w := g.Groups[k].Workers; w != nil {
			growth := wish[g.Groups[k].Name]
			w.Asked, w.Batches = &growth.Replicas, growth.Batches
		}
	}
}
