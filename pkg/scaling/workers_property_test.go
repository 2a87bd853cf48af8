package scaling_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// drawTeam draws a gang in any state that KubeRay, its head and others may leave it in.
func drawTeam(t *rapid.T) team {
	number := func(name string, from, to int) int { return rapid.IntRange(from, to).Draw(t, name) }
	yes := func(name string) bool { return rapid.Bool().Draw(t, name) }
	m := newTeam(number("replicas", 0, 6), number("least", 0, 3), number("most", 3, 8))
	m.w.Hosts = number("hosts", 1, 3)
	m.w.Ceiling = m.w.Most + number("lowered", 0, 3)
	m.w.Wish = min(max(number("wish", 0, 8), m.w.Least), m.w.Ceiling)
	m.Groups[1].Min = number("min", 0, m.w.Wish*m.w.Hosts)
	m.Opportunistic = yes("opportunistic")
	m.w.Adopt = yes("adopt")
	if yes("governed") {
		m.Scaler = snapshot.ScaledByRay
	}
	if yes("asked") {
		n := m.w.Replicas + number("asked", 0, 3)
		m.w.Asked = &n
	}
	m.IdleAfter = time.Duration(number("idle after", 0, 5)) * time.Minute
	m.Heard.Fresh, m.Heard.Waiting = yes("fresh"), yes("waiting")
	for _, at := range []*time.Time{&m.w.Grown, &m.w.Shrunk} {
		*at = noon.Add(-time.Duration(number("ago", 0, 90)) * time.Second)
	}
	if yes("contended") {
		m.ContendedUntil = noon.Add(time.Duration(number("until", -1, 1)) * time.Minute)
	}
	for u := range number("units", 0, 7) {
		word := rapid.SampledFrom([]string{"", "waits", "idle", "ending", "draining", "unknown"}).Draw(t, "pod")
		for h := range m.w.Hosts {
			name := fmt.Sprintf("p%d-%d", u, h)
			if m.w.Hosts > 1 {
				name += fmt.Sprintf("@u%d", u)
			}
			m.pods(name + " " + word)
		}
	}
	m.pods("head idle")
	m.Members[len(m.Members)-1].Group = "headgroup"
	if yes("names wait") {
		m.w.ToDelete = []string{"theirs", "p0-0", "gone"}
		m.w.Named = rapid.SampledFrom([][]string{nil, {"gone"}, {"p0-0", "gone"}}).Draw(t, "named")
	}
	return m
}

func drawGrants(t *rapid.T, m team) []scaling.Grant {
	g := scaling.Grant{Gang: m.ID, Group: "w", Replicas: rapid.IntRange(-1, 9).Draw(t, "granted")}
	for _, p := range m.Members {
		if p.Group == "w" && rapid.IntRange(0, 9).Draw(t, "must") == 0 {
			g.Leave = append(g.Leave, p.UID)
		}
	}
	return []scaling.Grant{g}
}

// floorOf is the fewest replicas, counted the slow way.
func floorOf(m team) int {
	n := 0
	for n < m.w.Least || n*m.w.Hosts < m.Groups[1].Min {
		n++
	}
	return n
}

func TestResizesKeepTheirPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawTeam(t)
		s := &snapshot.Snapshot{Now: noon, Gangs: []*snapshot.Gang{m.Gang}}
		grants := drawGrants(t, m)
		steps, next := scaling.WorkerSteps(s, grants)
		if len(steps) > 1 {
			t.Fatalf("%d steps for one group", len(steps))
		}
		if !next.IsZero() && !next.After(noon) {
			t.Fatalf("looks again at %s, in the past", next)
		}
		if len(steps) == 0 {
			return
		}
		if noon.Before(m.ContendedUntil) {
			t.Fatal("wrote while somebody else does")
		}
		if c, ok := steps[0].(plan.Ceiling); ok {
			if c.To < floorOf(m) || c.To > max(m.w.Ceiling, floorOf(m)) || c.From != m.w.Most || c.To == c.From {
				t.Fatalf("moved the ceiling of %+v: %s", *m.w, c)
			}
			return
		}
		checkResize(t, m, steps[0].(plan.Resize), grants[0])
	})
}

func checkResize(t *rapid.T, m team, r plan.Resize, grant scaling.Grant) {
	highest := m.w.Wish
	if m.Opportunistic {
		highest = m.w.Ceiling // or less, on Ray's own demand
	}
	switch {
	case r.To < r.From && r.To < floorOf(m):
		t.Fatalf("below the minimum of %d: %s", floorOf(m), r)
	case r.To > r.From && r.To > max(highest, floorOf(m)):
		t.Fatalf("above what is wished for: %s", r)
	case r.To > r.From && r.To > max(grant.Replicas, floorOf(m)):
		t.Fatalf("above the %d granted: %s", grant.Replicas, r)
	case r.To >= r.From && len(r.Leavers) > 0:
		t.Fatalf("named somebody without need: %s", r)
	}
	leaves := map[string]bool{}
	units := map[string]int{}
	for _, l := range r.Leavers {
		k := slices.IndexFunc(m.Members, func(p *snapshot.Pod) bool { return p.UID == l.UID && p.Name == l.Name && p.Group == "w" })
		if k < 0 {
			t.Fatalf("%s is no pod of this group: %s", l.Name, r)
		}
		name := l.Unit
		if name == "" {
			name = l.Name
		}
		leaves[l.UID], units[name] = true, units[name]+1
	}
	if r.To < r.From && len(units) != r.From-r.To {
		t.Fatalf("lowered by %d and named %d: %s", r.From-r.To, len(units), r)
	}
	for name, hosts := range units {
		if hosts != m.w.Hosts {
			t.Fatalf("named %d of %d hosts of %s: %s", hosts, m.w.Hosts, name, r)
		}
	}
	checkOrder(t, m, r, grant, leaves)
}

// checkOrder holds that nobody who works leaves while a replica that idles or waits stays, but who must.
func checkOrder(t *rapid.T, m team, r plan.Resize, grant scaling.Grant, leaves map[string]bool) {
	hosts := map[string][]*snapshot.Pod{}
	for _, p := range m.Members {
		if p.Group == "w" {
			name := p.Unit
			if name == "" {
				name = p.Name
			}
			hosts[name] = append(hosts[name], p)
		}
	}
	busyLeaves, spareStays := "", ""
	for name, pods := range hosts {
		must, spare, asked := false, true, false // asked to go before, which nobody can take back
		for _, p := range pods {
			must = must || slices.Contains(grant.Leave, p.UID)
			idle := m.Heard.Fresh && p.Ray != nil && !p.Ray.IdleSince.IsZero()
			asked = asked || m.Heard.Fresh && p.Ray != nil && p.Ray.Draining
			spare = spare && (p.Node == "" || p.Terminating || idle)
		}
		switch {
		case leaves[pods[0].UID] && !must && !spare && !asked:
			busyLeaves = name
		case !leaves[pods[0].UID] && spare:
			spareStays = name
		}
	}
	if busyLeaves != "" && spareStays != "" {
		t.Fatalf("%s works and leaves, %s does not and stays: %s", busyLeaves, spareStays, r)
	}
}

// TestResizesComeToRest applies steps as the executor and KubeRay would until nothing is left to do.
func TestResizesComeToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawTeam(t)
		m.ContendedUntil = time.Time{}
		m.w.ToDelete, m.w.Named = nil, nil
		if m.Heard.Fresh && m.w.Asked == nil { // a head that tells of idleness tells of demand
			m.w.Asked = &m.w.Replicas
		}
		grants := drawGrants(t, m)
		grants[0].Leave = nil
		now := noon
		for round := 0; ; round++ {
			steps, next := scaling.WorkerSteps(&snapshot.Snapshot{Now: now, Gangs: []*snapshot.Gang{m.Gang}}, grants)
			if len(steps) == 0 && next.IsZero() {
				return
			}
			if round > 12 {
				t.Fatalf("still at it after %d rounds: %v", round, steps)
			}
			if len(steps) == 0 {
				now = next
				continue
			}
			now = now.Add(time.Second)
			m.apply(steps[0], now, round)
		}
	})
}

func (m team) apply(step plan.Step, now time.Time, round int) {
	switch s := step.(type) {
	case plan.Ceiling:
		m.w.Most = s.To
		if s.To > s.From {
			m.w.Grown = now
		} else {
			m.w.Shrunk = now
		}
	case plan.Resize:
		m.w.Replicas, m.w.ToDelete, m.w.Named, m.w.Adopt = s.To, nil, nil, false
		if m.w.Asked != nil { // as much as it has, and what it lacks
			m.w.Asked = &m.w.Replicas
		}
		for _, l := range s.Leavers {
			m.w.ToDelete = append(m.w.ToDelete, l.Name)
			m.w.Named = append(m.w.Named, l.Name)
		}
		m.Members = slices.DeleteFunc(m.Members, func(p *snapshot.Pod) bool { return slices.Contains(m.w.Named, p.Name) })
		if s.To > s.From {
			m.w.Grown = now
		} else if s.To < s.From {
			m.w.Shrunk = now
		}
		// KubeRay makes what is missing.
		have := map[string]bool{}
		for _, p := range m.Members {
			if p.Group == "w" {
				have[p.Unit+p.Name] = true
			}
		}
		for k := len(have) / m.w.Hosts; k < m.w.Replicas; k++ {
			for h := range m.w.Hosts {
				p := &snapshot.Pod{UID: fmt.Sprintf("new-%d-%d-%d", round, k, h), Name: fmt.Sprintf("new-%d-%d-%d", round, k, h), Group: "w", Created: now}
				if m.w.Hosts > 1 {
					p.Unit = fmt.Sprintf("new-%d-%d", round, k)
				}
				m.Members = append(m.Members, p)
			}
		}
	}
}
