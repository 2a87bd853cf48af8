package scaling_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// team is a gang of one worker group, built in few words.
type team struct {
	*snapshot.Gang
	w *snapshot.Workers
}

// newTeam has so many replicas by its spec, all of them wished for.
func newTeam(replicas, least, most int) team {
	w := &snapshot.Workers{Hosts: 1, Replicas: replicas, Least: least, Most: most, Wish: replicas, Ceiling: most}
	return team{&snapshot.Gang{ID: "g", Kind: "RayCluster", Namespace: "ml", Name: "rc", UID: "u", Scaler: snapshot.ScaledByCapmgr,
		Cluster: snapshot.Ref{Kind: "RayCluster", Namespace: "ml", Name: "rc", UID: "u"},
		Heard:   &snapshot.Heard{Fresh: true},
		Groups:  []snapshot.Group{{Name: "headgroup", Min: 1, Want: 1}, {Name: "w", Min: least, Workers: w}}}, w}
}

// pods adds workers, each told in words: "a", or "a waits", "b idle", "c ending", "d draining", "e@2"
// (of the replica 2). Who is added later is younger.
func (m team) pods(words ...string) team {
	for _, text := range words {
		name, rest, _ := strings.Cut(text, " ")
		name, unit, _ := strings.Cut(name, "@")
		age := time.Duration(len(m.Members)) * time.Second
		p := &snapshot.Pod{UID: "uid-" + name, Namespace: "ml", Name: name, Group: "w", Unit: unit, Node: "n", Created: noon.Add(-time.Hour + age), Started: noon.Add(-time.Hour + age),
			Ray: &snapshot.RayNode{ID: "id-" + name}}
		switch rest {
		case "waits":
			p.Node, p.Started, p.Ray = "", time.Time{}, nil
		case "ending":
			p.Terminating = true
		case "idle":
			p.Ray.IdleSince = noon.Add(-10*time.Minute + age)
		case "draining":
			p.Ray.Draining = true
		case "unknown":
			p.Ray = nil
		}
		m.Members = append(m.Members, p)
	}
	return m
}

func (m team) steps(replicas int, leave ...string) ([]plan.Step, time.Time) {
	return scaling.WorkerSteps(&snapshot.Snapshot{Now: noon, Gangs: []*snapshot.Gang{m.Gang}},
		[]scaling.Grant{{Gang: "g", Group: "w", Replicas: replicas, Leave: leave, Grace: scaling.PreemptGrace, Because: "so it is"}})
}

// TestUrgentLeaveIsNotAskedFor: who leaves for work that is not kept waiting is named at once, and who has
// just been given a node is not taken for one that waits.
func TestUrgentLeaveIsNotAskedFor(t *testing.T) {
	m := newTeam(3, 1, 8).pods("a", "b", "c waits")
	steps, _ := scaling.WorkerSteps(&snapshot.Snapshot{Now: noon, Gangs: []*snapshot.Gang{m.Gang}},
		[]scaling.Grant{{Gang: "g", Group: "w", Replicas: 2, Leave: []string{"uid-a"}, Keep: []string{"uid-c"}}})
	if diff := cmp.Diff("3>2 -a", told(steps)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r, ok := steps[0].(plan.Resize); !ok || !r.Deadline.IsZero() {
		t.Errorf("nobody is given time, and it is %v", steps)
	}
}

// told is a plan in few words: "4>2 -a(idle) -b gone:c".
func told(steps []plan.Step) string {
	var out []string
	for _, s := range steps {
		switch s := s.(type) {
		case plan.Resize:
			text := fmt.Sprintf("%d>%d", s.From, s.To)
			for _, l := range s.Leavers {
				text += " -" + l.Name
				if l.Drain != plan.DrainNone {
					text += "(" + string(l.Drain) + ")"
				}
			}
			if len(s.Gone) > 0 {
				text += " gone:" + strings.Join(s.Gone, ",")
			}
			out = append(out, text)
		case plan.Ceiling:
			out = append(out, fmt.Sprintf("max %d>%d of %d", s.From, s.To, s.Own))
		default:
			out = append(out, s.String())
		}
	}
	return strings.Join(out, "; ")
}

func TestGrantsBecomeReplicas(t *testing.T) {
	with := func(m team, change func(team)) team { change(m); return m }
	lowered := func(replicas, wish int) team {
		return with(newTeam(replicas, 1, 8), func(m team) { m.w.Wish = wish })
	}
	cases := map[string]struct {
		reason  string
		team    team
		granted int
		leave   []string
		want    string
		due     time.Duration // until the next look; zero: none
	}{
		"AsGranted":         {"nothing to change is nothing to do", newTeam(2, 1, 8).pods("a", "b"), 2, nil, "", 0},
		"StartsSmall":       {"a job starts with what it has when those that wait are named", newTeam(4, 2, 8).pods("a", "b", "c waits", "d waits"), 2, nil, "4>2 -d -c", 0},
		"Grows":             {"room came", lowered(2, 4).pods("a", "b"), 4, nil, "2>4", 0},
		"UpToTheWish":       {"and no further", lowered(2, 4).pods("a", "b"), 7, nil, "2>4", 0},
		"Opportunistic":     {"up to the ceiling where the user says so", with(lowered(2, 4).pods("a", "b"), func(m team) { m.Opportunistic = true }), 12, nil, "2>8", 0},
		"NeverBelowMinimum": {"a running gang keeps its minimum", newTeam(4, 3, 8).pods("a", "b", "c", "d"), 0, nil, "4>3 -d(preempt)", 0},
		"MinReplicas":       {"KubeRay would raise it again", with(newTeam(3, 1, 8).pods("a", "b", "c"), func(m team) { m.w.Least = 2 }), 1, nil, "3>2 -c(preempt)", 0},
		"Order":             {"who waits, who idles longest, the youngest busy", newTeam(6, 1, 8).pods("busy", "young", "rests idle", "later idle", "w waits", "e ending"), 1, nil, "6>1 -e -w -rests(idle) -later(idle) -young(preempt)", 0},
		"Must":              {"whose room is needed goes first, busy or not", newTeam(3, 1, 8).pods("a", "b", "c waits"), 2, []string{"uid-a"}, "3>2 -a(preempt)", 0},
		"DrainingFirst":     {"who was asked to go already is not spared for another", newTeam(3, 1, 8).pods("a draining", "b", "c idle"), 2, nil, "3>2 -a(preempt)", 0},
		"StaleIdleness": {"what a silent head once said of idleness counts for nothing", with(newTeam(3, 1, 8).pods("a idle", "b", "c"), func(m team) { m.Heard.Fresh = false }), 2, nil,
			"3>2 -c(preempt)", 0},
		"WithoutGCS": {"without a head that tells, nobody can be asked", with(newTeam(2, 1, 8).pods("a unknown", "b unknown"), func(m team) { m.Heard = nil }), 1, nil, "2>1 -b", 0},
		"Unborn":     {"while a replica does not exist yet, nobody who runs goes in its place", newTeam(3, 1, 8).pods("a", "b"), 2, nil, "", 0},
		"UnbornMust": {"but for who must", newTeam(3, 1, 8).pods("a", "b"), 2, []string{"uid-b"}, "3>2 -b(preempt)", 0},
		"MultiHost": {"a replica goes with all its hosts, and a busy host makes it busy",
			with(newTeam(2, 1, 4).pods("a0@a idle", "b0@b", "a1@a idle", "b1@b idle"), func(m team) { m.w.Hosts = 2; m.Groups[1].Min = 2 }), 1, nil, "2>1 -a0(idle) -a1(idle)", 0},
		"MultiHostMinimum": {"the minimum is counted in pods, the floor in replicas",
			with(newTeam(3, 1, 4).pods("a0@a", "a1@a", "b0@b", "b1@b", "c0@c", "c1@c"), func(m team) { m.w.Hosts = 2; m.Groups[1].Min = 3 }), 0, nil, "3>2 -c0(preempt) -c1(preempt)", 0},
		"Leaving": {"one change at a time: KubeRay does nothing else before they are gone",
			with(newTeam(2, 1, 8).pods("a", "b", "c ending"), func(m team) { m.w.ToDelete, m.w.Named = []string{"c"}, []string{"c"} }), 1, nil, "", 0},
		"TheirsLeaving": {"nor while somebody else's names wait", with(newTeam(2, 1, 8).pods("a", "b", "c"), func(m team) { m.w.ToDelete = []string{"c"} }), 1, nil, "", 0},
		"Cleared":       {"names go when their pods have", with(newTeam(2, 1, 8).pods("a", "b"), func(m team) { m.w.ToDelete, m.w.Named = []string{"c", "d"}, []string{"c"} }), 2, nil, "2>2 gone:c", 0},
		"ClearedOnTheWay": {"in one patch with the next change",
			with(lowered(2, 4).pods("a", "b"), func(m team) { m.w.ToDelete, m.w.Named = []string{"c"}, []string{"c"} }), 4, nil, "2>4 gone:c", 0},
		"Adopted":    {"somebody asks for what may be had: it is taken for the wish, and nothing is written over", with(newTeam(2, 1, 8).pods("a", "b"), func(m team) { m.w.Adopt = true }), 4, nil, "2>2", 0},
		"NotYet":     {"nor is a number adopted that is only waiting to be written over", with(newTeam(3, 1, 8).pods("a", "b"), func(m team) { m.w.Adopt = true }), 2, nil, "", 0},
		"NotAdopted": {"more than may be had is written over", with(newTeam(3, 1, 8).pods("a", "b", "c waits"), func(m team) { m.w.Adopt = true }), 2, nil, "3>2 -c", 0},
		"Contended":  {"somebody else writes the same field: nothing, until it is quiet", with(lowered(2, 4).pods("a", "b"), func(m team) { m.ContendedUntil = noon.Add(time.Minute) }), 4, nil, "", time.Minute},
		"Suspended":  {"it has no pods", with(newTeam(2, 1, 8), func(m team) { m.Suspended = true }), 1, nil, "", 0},
		"Nobodys":    {"another manager's", with(newTeam(2, 1, 8).pods("a", "b"), func(m team) { m.Scaler = snapshot.ScaledByNobody }), 1, nil, "", 0},
		"CalmAfterGrowth": {"room that did not come is waited for a little", with(newTeam(4, 1, 8).pods("a", "b waits", "c waits", "d waits"), func(m team) { m.w.Grown = noon.Add(-10 * time.Second) }), 1, nil,
			"", 20 * time.Second},
		"ReclaimDoesNotWait": {"but not where others are entitled to what runs", with(newTeam(2, 1, 8).pods("a", "b"), func(m team) { m.w.Grown = noon.Add(-10 * time.Second) }), 1, nil, "2>1 -b(preempt)", 0},
		"CalmAfterShrinking": {"nor does it grow again at once", with(lowered(2, 4).pods("a", "b"), func(m team) { m.w.Shrunk = noon.Add(-10 * time.Second) }), 4, nil,
			"", 20 * time.Second},
		"IdleCluster": {"nothing has run anywhere for as long as its user allows", with(newTeam(3, 1, 8).pods("a idle", "b idle", "c idle"), func(m team) { m.IdleAfter = 9 * time.Minute }), 3, nil,
			"3>1 -a(idle) -b(idle)", 0},
		"NotIdleEverywhere": {"one works", with(newTeam(3, 1, 8).pods("a idle", "b idle", "c"), func(m team) { m.IdleAfter = time.Minute }), 3, nil, "", 0},
		"IdleButWaiting":    {"it waits for room that may come", with(newTeam(2, 1, 8).pods("a idle", "b idle"), func(m team) { m.IdleAfter = time.Minute; m.Heard.Waiting = true }), 2, nil, "", 0},
		"IdleOnceUponATime": {"silence is not idleness", with(newTeam(2, 1, 8).pods("a idle", "b idle"), func(m team) { m.IdleAfter = time.Minute; m.Heard.Fresh = false }), 2, nil, "", 0},
		"SurplusSoon": {"what has idled for a minute is looked at again in another", with(newTeam(4, 1, 8).pods("a", "b", "c", "d idle"), func(m team) {
			m.w.Wish = 3
			m.Opportunistic = true
			m.Members[3].Ray.IdleSince = noon.Add(-time.Minute)
		}), 4, nil, "", time.Minute},
		"Surplus": {"what was taken beyond the wish goes when it idles", with(newTeam(4, 1, 8).pods("a", "b idle", "c idle", "d idle"), func(m team) { m.w.Wish = 3; m.Opportunistic = true }), 4, nil, "4>3 -b(idle)", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			steps, next := tc.team.steps(tc.granted, tc.leave...)
			if diff := cmp.Diff(tc.want, told(steps)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			want := time.Time{}
			if tc.due > 0 {
				want = noon.Add(tc.due)
			}
			if !next.Equal(want) {
				t.Errorf("%s: looks again at %s, want %s", tc.reason, next, want)
			}
		})
	}
}

func TestAStepSaysAllThatIsToBeChecked(t *testing.T) {
	m := newTeam(3, 1, 8).pods("a", "b")
	m.w.Index, m.w.Wish, m.w.ToDelete, m.w.Named = 2, 5, []string{"theirs", "gone"}, []string{"gone"}
	m.Members = append(m.Members, &snapshot.Pod{UID: "uid-c", Namespace: "ml", Name: "c", Group: "w"})
	steps, _ := m.steps(2)
	owner := plan.Owner{Kind: "RayCluster", Namespace: "ml", Name: "rc", UID: "u"}
	want := []plan.Step{plan.Resize{Gang: owner, Cluster: owner, Group: plan.Group{Name: "w", Index: 2, Hosts: 1}, From: 3, To: 2, Wish: 5, Min: 1,
		Leavers: []plan.Leaver{{PodRef: plan.PodRef{Namespace: "ml", Name: "c", UID: "uid-c"}}}, OldList: []string{"theirs", "gone"}, Gone: []string{"gone"}, Because: "so it is"}}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRaysAutoscalerIsGovernedByItsCeiling(t *testing.T) {
	governed := func(most, ceiling, least int, words ...string) team {
		m := newTeam(2, least, ceiling).pods(words...)
		m.Scaler, m.w.Most = snapshot.ScaledByRay, most
		return m
	}
	cases := map[string]struct {
		reason  string
		team    team
		granted int
		want    string
	}{
		"Lowered":     {"it is told no at once", governed(8, 8, 1, "a", "b"), 3, "max 8>3 of 8"},
		"Restored":    {"to the user's own", governed(3, 8, 1, "a", "b"), 20, "max 3>8 of 8"},
		"Minimum":     {"never below the minimum", governed(8, 8, 2, "a", "b"), 0, "max 8>2 of 8"},
		"AsGranted":   {"nothing to change", governed(3, 8, 1, "a", "b"), 3, ""},
		"CalmLower":   {"room that comes and goes", func() team { m := governed(8, 8, 1, "a"); m.w.Grown = noon.Add(-time.Second); return m }(), 3, ""},
		"ReclaimNow":  {"what runs is needed by others", func() team { m := governed(8, 8, 1, "a", "b"); m.w.Grown = noon.Add(-time.Second); return m }(), 1, "max 8>1 of 8"},
		"CalmRaise":   {"nor the other way", func() team { m := governed(3, 8, 1, "a"); m.w.Shrunk = noon.Add(-time.Second); return m }(), 8, ""},
		"NamesNobody": {"its own names are its own business", func() team { m := governed(8, 8, 1, "a", "b"); m.w.ToDelete = []string{"a"}; return m }(), 1, "max 8>1 of 8"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			steps, _ := tc.team.steps(tc.granted)
			if diff := cmp.Diff(tc.want, told(steps)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	asked := func(n int) *int { return &n }
	cases := map[string]struct {
		reason string
		change func(team)
		want   int
	}{
		"Wish":          {"what the user asked for", func(team) {}, 4},
		"Opportunistic": {"all there may be, where nobody knows better", func(m team) { m.Opportunistic, m.Heard = true, nil }, 8},
		"NotHeardYet":   {"no more than there is, while its head may yet say what it needs", func(m team) { m.Opportunistic, m.w.Wish, m.Heard = true, 1, &snapshot.Heard{} }, 2},
		"Silent": {"nor when the head falls silent", func(m team) {
			m.Opportunistic, m.w.Wish, m.Heard = true, 1, &snapshot.Heard{Silent: noon.Add(-time.Minute)}
		}, 2},
		"SilentForLong": {"but for ever nobody waits", func(m team) { m.Opportunistic, m.Heard = true, &snapshot.Heard{Silent: noon.Add(-6 * time.Minute)} }, 8},
		"Asked":         {"what Ray's demand would use", func(m team) { m.Opportunistic, m.w.Asked = true, asked(6) }, 6},
		"AskedLess":     {"never less than the wish", func(m team) { m.Opportunistic, m.w.Asked = true, asked(1) }, 4},
		"AskedMore":     {"never more than the ceiling", func(m team) { m.Opportunistic, m.w.Asked = true, asked(99) }, 8},
		"AskedUnbidden": {"demand alone raises no wish", func(m team) { m.w.Asked = asked(6) }, 4},
		"Idle":          {"a cluster that idles wants its minimum", func(m team) { m.IdleAfter = time.Minute }, 1},
		"Governed":      {"Ray's autoscaler asks for itself", func(m team) { m.Scaler = snapshot.ScaledByRay }, 8},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := newTeam(2, 1, 8).pods("a idle")
			m.w.Wish = 4
			tc.change(m)
			if got := scaling.Wanted(m.Gang, &m.Groups[1], noon); got != tc.want {
				t.Errorf("%s: got %d, want %d", tc.reason, got, tc.want)
			}
		})
	}
}

func TestIdleClustersAreSuspended(t *testing.T) {
	idle := func() team {
		m := newTeam(1, 1, 8).pods("head idle", "a idle")
		m.Members[0].Group = "headgroup"
		m.Suspendable = m.Cluster
		m.IdleAfter = 4 * time.Minute // twice that is less than the ten minutes that they idle
		return m
	}
	cases := map[string]struct {
		reason string
		change func(team)
		want   string
		due    time.Duration
	}{
		"Idle":       {"twice as long as allowed", func(team) {}, "suspend raycluster/ml/rc: nothing has run there for 8m0s", 0},
		"NotYet":     {"its workers leave first", func(m team) { m.IdleAfter = 6 * time.Minute }, "", 12*time.Minute - 10*time.Minute + time.Second},
		"LongBefore": {"looks again when its workers are due", func(m team) { m.IdleAfter = 15 * time.Minute }, "", 15*time.Minute - 10*time.Minute + time.Second},
		"Off":        {"nobody asked for it", func(m team) { m.IdleAfter = 0 }, "", 0},
		"HeadBusy":   {"a driver or an actor on the head is work", func(m team) { m.Members[0].Ray.IdleSince = time.Time{} }, "", 0},
		"Large":      {"it comes down to its minimum first", func(m team) { m.w.Replicas = 2 }, "", 0},
		"Stale":      {"silence is not idleness", func(m team) { m.Heard.Fresh = false }, "", 0},
		"NoGCS":      {"nor is ignorance", func(m team) { m.Heard = nil }, "", 0},
		"OfAJob":     {"where nothing may be suspended", func(m team) { m.Suspendable = snapshot.Ref{} }, "", 0},
		"Contended":  {"not while somebody else writes its spec", func(m team) { m.ContendedUntil = noon.Add(time.Hour) }, "", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := idle()
			tc.change(m)
			steps, next := scaling.Suspensions(&snapshot.Snapshot{Now: noon, Gangs: []*snapshot.Gang{m.Gang}})
			if diff := cmp.Diff(tc.want, told(steps)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if got := next.Sub(noon); tc.due > 0 && got != tc.due || tc.due == 0 && !next.IsZero() {
				t.Errorf("%s: looks again in %s, want %s", tc.reason, got, tc.due)
			}
		})
	}
}

func TestStepsComeInTheOrderOfTheGangs(t *testing.T) {
	s := &snapshot.Snapshot{Now: noon}
	var grants []scaling.Grant
	for _, id := range []string{"a", "b", "c"} {
		m := newTeam(2, 1, 4).pods("x", "y")
		m.ID = snapshot.GangID(id)
		m.Name, m.Cluster.Name = id, id
		s.Gangs = append(s.Gangs, m.Gang)
		grants = append(grants, scaling.Grant{Gang: m.ID, Group: "w", Replicas: 1})
	}
	first, _ := scaling.WorkerSteps(s, grants)
	slices.Reverse(grants)
	second, _ := scaling.WorkerSteps(s, grants)
	if diff := cmp.Diff(first, second); diff != "" || len(first) != 3 {
		t.Errorf("the order of the grants changed the plan:\n%s", diff)
	}
}
