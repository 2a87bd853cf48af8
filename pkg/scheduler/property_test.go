package scheduler_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// The properties hold for every decision on every snapshot. They are computed from the snapshot and
// the steps alone.

// TestDecisionIsSafe: no step does harm.
func TestDecisionIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		p := scheduler.Decide(s, tolerance{})
		for _, broken := range harm(s, p) {
			t.Error(broken)
		}
		if t.Failed() {
			t.Logf("the plan:\n%s", printed(p))
		}
	})
}

// TestDecisionIsPure: deciding changes nothing that it was given, and the same bytes in are the same
// bytes out.
func TestDecisionIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		before := encode(t, s)
		first := encode(t, scheduler.Decide(s, tolerance{}))
		if encode(t, s) != before {
			t.Fatal("deciding changed the snapshot")
		}
		if second := encode(t, scheduler.Decide(clone(s), tolerance{})); first != second {
			t.Fatalf("the same snapshot gave two plans:\n%s\n%s", first, second)
		}
	})
}

// TestDecisionComesToRest: deciding on one's own results comes to an end, while the clock stands
// still, and every decision on the way is safe.
func TestDecisionComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		const rounds = 16
		var told []string
		for range rounds {
			p := scheduler.Decide(s, tolerance{})
			if broken := harm(s, p); len(broken) > 0 {
				t.Fatalf("%s\n%s", strings.Join(broken, "\n"), printed(p))
			}
			if !acts(p) {
				return
			}
			told = append(told, printed(p))
			s = apply(s, p)
		}
		t.Fatalf("no rest after %d rounds:\n%s", rounds, strings.Join(told, "\n"))
	})
}

// acts says whether a plan does anything that was not done before: that nodes are ready is said again until
// their gang is seen to run.
func acts(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Steps, func(step plan.Step) bool {
		st, ok := step.(plan.Settle)
		return !ok || st.State != plan.RequestReady
	})
}

// TestNoGangWaitsBesideRoomForIt: a gang of equal pods that is told that it finds no room, or that
// nothing may be bought for it, does not find any by trying every node in turn, once all that was
// decided is done. For unequal pods trying is no proof: which goes where first matters.
func TestNoGangWaitsBesideRoomForIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		p := scheduler.Decide(s, tolerance{})
		for _, v := range p.Verdicts {
			if v.Reason == plan.WaitingForNodes || v.Reason == plan.WaitingForPreemption || strings.Contains(v.Message, "the next waits: WaitingFor") ||
				strings.Contains(v.Message, "being made") {
				return // room may be held for those
			}
		}
		if slices.ContainsFunc(stepsOf[plan.Resize](p), func(r plan.Resize) bool { return r.To > r.From }) {
			return // and for pods that are to come
		}
		after := apply(s, p)
		for _, v := range p.Verdicts {
			switch v.Reason {
			case plan.NoNodeFits, plan.NoMatchingNodeGroup, plan.BoundReached, plan.BudgetExceeded, plan.CapacityUnavailable, plan.BackingOff:
				if places := placesFor(s, after, p, v.Gang); places != nil {
					t.Fatalf("%s waits (%s) beside room for it: %v\n%s", v.Gang, v.Reason, places, printed(p))
				}
			}
		}
	})
}

// TestNobodyIsEvictedInVain: whoever others are evicted for gets its place as soon as they have gone, by the
// next decision. For unequal pods that is no certainty: which goes where first matters.
func TestNobodyIsEvictedInVain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		p := scheduler.Decide(s, tolerance{})
		served := beneficiaries(p)
		if len(served) == 0 || slices.ContainsFunc(s.Gangs, wantsMoreSoon) {
			return
		}
		next := scheduler.Decide(withoutLeaving(apply(s, p)), tolerance{})
		for _, b := range stepsOf[plan.Bind](next) {
			delete(served, b.Gang.UID)
		}
		for _, r := range stepsOf[plan.Resume](next) {
			delete(served, r.Gang.UID)
		}
		for _, r := range stepsOf[plan.Resize](next) {
			if r.To > r.From {
				delete(served, r.Gang.UID)
			}
		}
		for _, gang := range served {
			if !equalPods(s.Gang(gang.Gang())) {
				continue
			}
			t.Fatalf("others were evicted for %s, and it gets nothing:\n%s\nthen:\n%s", gang, printed(p), printed(next))
		}
	})
}

// wantsMoreSoon says whether a gang asks for more when its own have left: it was let go on before they had.
func wantsMoreSoon(g *snapshot.Gang) bool {
	return !g.ResumedAt.IsZero() && slices.ContainsFunc(g.Members, func(p *snapshot.Pod) bool { return p.Terminating })
}

// equalPods says whether all pods of a gang, those that do not exist yet included, ask for the same.
func equalPods(g *snapshot.Gang) bool {
	return !slices.ContainsFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Request != g.Groups[0].Request })
}

// beneficiaries are those for whom others leave, by UID.
func beneficiaries(p *plan.Plan) map[string]plan.Owner {
	out := map[string]plan.Owner{}
	for _, e := range stepsOf[plan.Evict](p) {
		if e.For.UID != "" {
			out[e.For.UID] = e.For
		}
	}
	for _, r := range stepsOf[plan.Resize](p) {
		for _, o := range r.For {
			out[o.UID] = o
		}
	}
	return out
}

// withoutLeaving is a snapshot in which all that are on their way out have gone.
func withoutLeaving(s *snapshot.Snapshot) *snapshot.Snapshot {
	leaves := func(p *snapshot.Pod) bool { return p.Terminating }
	for _, g := range s.Gangs {
		g.Members = slices.DeleteFunc(g.Members, leaves)
	}
	for _, n := range s.Nodes {
		n.Pods = slices.DeleteFunc(n.Pods, leaves)
	}
	return s
}

// placesFor finds nodes for all that a gang lacks of its minimum, first fit, or returns nil.
func placesFor(before, s *snapshot.Snapshot, p *plan.Plan, gang plan.Owner) []string {
	booked := map[string]bool{}
	for _, r := range p.Reservations { // it is kept for another
		for _, name := range r.Nodes {
			if n := s.Node(name); r.Gang != gang && n != nil && n.InstanceID != "" {
				booked[n.InstanceID] = true
			} else if r.Gang != gang {
				booked[name] = true
			}
		}
	}
	for _, b := range before.Bookings {
		for _, part := range b.Nodes {
			for _, id := range part.Instances {
				booked[id] = true
			}
		}
	}
	for _, step := range p.Steps { // it goes, or its pods do
		if st, ok := step.(plan.TerminateNode); ok {
			booked[st.Instance] = true
		}
	}
	room := map[string]snapshot.Resources{}
	slots := map[string]int{}
	for _, n := range s.Nodes {
		room[n.Name], slots[n.Name] = n.Free(), n.FreePods()
	}
	var places []string
	for _, g := range s.Gangs {
		if g.UID != gang.UID {
			continue
		}
		lacks := missing(g)
		for _, m := range lacks {
			if m.Request != lacks[0].Request {
				return nil
			}
			k := slices.IndexFunc(s.Nodes, func(n *snapshot.Node) bool {
				return n.Usable && !booked[n.InstanceID] && !booked[n.Name] && m.Request.FitsIn(room[n.Name]) && slots[n.Name] > 0 && (tolerance{}).Fits(m, n, nil) == ""
			})
			if k < 0 {
				return nil
			}
			n := s.Nodes[k]
			room[n.Name] = room[n.Name].Sub(m.Request)
			slots[n.Name]--
			places = append(places, m.Name+" on "+n.Name)
		}
	}
	return places
}

// missing are the waiting pods that a gang needs for its minimum.
func missing(g *snapshot.Gang) (out []*snapshot.Pod) {
	for _, grp := range g.Groups {
		need := grp.Min - running(g, grp.Name)
		for _, m := range g.Members {
			if m.Group == grp.Name && m.Node == "" && !m.Terminating && need > 0 {
				out = append(out, m)
				need--
			}
		}
	}
	return out
}

func running(g *snapshot.Gang, group string) (n int) {
	for _, m := range g.Members {
		if m.Group == group && m.Node != "" && !m.Terminating {
			n++
		}
	}
	return n
}

// harm lists what a plan breaks.
func harm(s *snapshot.Snapshot, p *plan.Plan) []string {
	h := &harms{s: s, p: p, after: apply(s, p)}
	h.nodes()
	h.gangs()
	h.limits()
	h.purchases()
	h.terminations()
	h.evictions()
	h.resizes()
	h.verdicts()
	return h.found
}

type harms struct {
	s, after *snapshot.Snapshot
	p        *plan.Plan
	found    []string
}

func (h *harms) say(format string, args ...any) {
	h.found = append(h.found, fmt.Sprintf(format, args...))
}

func stepsOf[T plan.Step](p *plan.Plan) (out []T) {
	for _, step := range p.Steps {
		if st, ok := step.(T); ok {
			out = append(out, st)
		}
	}
	return out
}

// nodes: what is bound has room, on a usable node that nobody else has booked and keeps.
func (h *harms) nodes() {
	owner := map[string]snapshot.GangID{}
	for _, b := range h.after.Bookings {
		for _, part := range b.Nodes {
			for _, id := range part.Instances {
				owner[id] = b.Gang
			}
		}
	}
	seen := map[string]bool{}
	for _, b := range stepsOf[plan.Bind](h.p) {
		for _, a := range b.Assignments {
			n := h.s.Node(a.Node)
			pod := h.pod(h.s, a.UID)
			switch {
			case n == nil || !n.Usable || n.Draining:
				h.say("%s is bound to %s, which is not usable", a.Pod, a.Node)
			case pod.Node != "" || pod.Terminating || seen[a.UID]:
				h.say("%s is bound twice", a.Pod)
			case owner[n.InstanceID] != "" && owner[n.InstanceID] != pod.Gang:
				h.say("%s is bound to %s, which %s has booked", a.Pod, a.Node, owner[n.InstanceID])
			case (tolerance{}).Fits(pod, n, nil) != "":
				h.say("%s is bound to %s, whose taint it does not tolerate", a.Pod, a.Node)
			}
			seen[a.UID] = true
		}
	}
	for _, n := range h.after.Nodes {
		if left := n.Free(); left.MilliCPU < 0 || left.Memory < 0 || left.MilliGPU < 0 || n.FreePods() < 0 {
			h.say("node %s is over its allocatable by %v, %d places", n.Name, left, n.FreePods())
		}
	}
}

func (h *harms) pod(s *snapshot.Snapshot, uid string) *snapshot.Pod {
	for _, g := range s.Gangs {
		for _, m := range g.Members {
			if m.UID == uid {
				return m
			}
		}
	}
	return nil
}

// gangs: whoever has pods bound has its minimum afterwards, and one bind step.
func (h *harms) gangs() {
	seen := map[string]bool{}
	for _, b := range stepsOf[plan.Bind](h.p) {
		if seen[b.Gang.UID] {
			h.say("%s is bound in two steps", b.Gang)
		}
		seen[b.Gang.UID] = true
		for _, g := range h.after.Gangs {
			if g.UID != b.Gang.UID {
				continue
			}
			for _, grp := range g.Groups {
				if n := running(g, grp.Name); n < grp.Min {
					h.say("%s is bound in part: %d of %d of group %s", b.Gang, n, grp.Min, grp.Name)
				}
			}
		}
	}
}

// limits: no bind puts a queue or an ancestor over a limit of what it asks for.
func (h *harms) limits() {
	used := h.used()
	for _, b := range stepsOf[plan.Bind](h.p) {
		asked := snapshot.Resources{}
		for _, a := range b.Assignments {
			asked = asked.Add(h.pod(h.s, a.UID).Request)
		}
		chain := lineage(h.s, b.Queue)
		if len(chain) == 0 {
			h.say("%s is bound in the queue %q, which there is not", b.Gang, b.Queue)
		}
		for k, q := range chain {
			if dim := q.Limit.Exceeded(used[q.Name], asked); dim != "" {
				h.say("binding %s puts queue %s over its %s limit: %v", b.Gang, q.Name, dim, used[q.Name])
			}
			if k > 0 && q.Name == b.Queue {
				h.say("%s is bound in a queue with children", b.Gang)
			}
		}
	}
}

func lineage(s *snapshot.Snapshot, queue string) (out []*snapshot.Queue) {
	for q := s.Queue(queue); q != nil; q = s.Queue(q.Parent) {
		out = append(out, q)
	}
	return out
}

// purchases: each is launched as it was booked, for one gang once, and within every bound.
func (h *harms) purchases() {
	books := stepsOf[plan.Book](h.p)
	grown := map[string]int{}
	for _, g := range stepsOf[plan.GrowNodeGroup](h.p) {
		grown[g.Request+" "+g.Purchase.Group] += g.Purchase.Count
	}
	gangs, tokens := map[string]bool{}, map[string]bool{}
	for _, b := range books {
		if gangs[b.Gang.UID] || len(b.Purchases) == 0 {
			h.say("%s has two purchases, or an empty one", b.Gang)
		}
		gangs[b.Gang.UID] = true
		for _, pu := range b.Purchases {
			if pu.Count <= 0 || tokens[pu.Token] || len(pu.Token) > 64 || grown[b.Request+" "+pu.Group] != pu.Count {
				h.say("%s: the purchase %+v is not launched as it was booked", b.Gang, pu)
			}
			tokens[pu.Token] = true
			g := h.s.NodeGroup(pu.Group)
			if h.s.Now.Before(g.BlockedUntil) {
				h.say("%s: bought of %s, which refuses", b.Gang, pu.Group)
			}
		}
	}
	if len(books) == 0 {
		return
	}
	total, cost := 0, snapshot.Dollars(0)
	for _, g := range h.s.NodeGroups {
		n := membersOf(h.s, g)
		bought := 0
		for _, b := range books {
			for _, pu := range b.Purchases {
				if pu.Group == g.Name {
					bought += pu.Count
				}
			}
		}
		if bought > 0 && n+bought > g.Max {
			h.say("node group %s has %d nodes, %d are bought, and its maximum is %d", g.Name, n, bought, g.Max)
		}
		total += n + bought
		cost += g.Price * snapshot.Dollars(n+bought)
	}
	if l := h.s.Limits; l.MaxNodes > 0 && total > l.MaxNodes || l.MaxHourlyCost > 0 && cost > l.MaxHourlyCost {
		h.say("the cluster has %d bought nodes for %s/h, and its bounds are %+v", total, cost, l)
	}
	h.queueBounds(books)
}

// queueBounds counts what is booked for a queue, from before and now, in full.
func (h *harms) queueBounds(books []plan.Book) {
	for _, q := range h.s.Queues {
		bounds, ok := h.s.Bounds[q.Name]
		if !ok {
			continue
		}
		gpus, cost, moreGPUs, more := int64(0), snapshot.Dollars(0), false, false
		add := func(queue, group string, count int) {
			if slices.ContainsFunc(lineage(h.s, queue), func(a *snapshot.Queue) bool { return a.Name == q.Name }) {
				g := h.s.NodeGroup(group)
				gpus += gpusOf(h.s, g) * int64(count)
				cost += g.Price * snapshot.Dollars(count)
			}
		}
		for _, b := range books {
			for _, pu := range b.Purchases {
				gpusBefore, costBefore := gpus, cost
				add(b.Queue, pu.Group, pu.Count)
				moreGPUs, more = moreGPUs || gpus != gpusBefore, more || cost != costBefore
			}
		}
		for _, b := range h.after.Bookings {
			if slices.ContainsFunc(books, func(n plan.Book) bool { return n.Request == b.Request }) {
				continue
			}
			for _, g := range h.s.Gangs {
				for _, part := range b.Nodes {
					if g.ID == b.Gang {
						add(g.Queue, part.Group, part.Count)
					}
				}
			}
		}
		// What was bought before may be above a bound that was lowered since.
		if bounds.MaxGPUs != nil && moreGPUs && gpus > *bounds.MaxGPUs*1000 || bounds.MaxHourlyCost != nil && more && cost > *bounds.MaxHourlyCost {
			h.say("queue %s has %s booked for %s/h, above its bounds %s", q.Name, snapshot.GPUs(gpus), cost, show(bounds))
			for _, b := range h.after.Bookings {
				h.say("booking %s of %s: %+v", b.Request, b.Gang, b.Nodes)
			}
		}
	}
}

func gpusOf(s *snapshot.Snapshot, g *snapshot.NodeGroup) int64 {
	for _, n := range s.Nodes {
		if n.Group == g.Name && n.Usable {
			return n.Allocatable.MilliGPU
		}
	}
	return g.Template.Allocatable.MilliGPU
}

func membersOf(s *snapshot.Snapshot, g *snapshot.NodeGroup) int {
	n := 0
	for _, i := range g.Instances {
		if i.State != snapshot.InstanceTerminating {
			n++
		}
	}
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			if part.Group == g.Name {
				n += part.Count - len(part.Instances)
			}
		}
	}
	return n
}

// terminations: nobody works there or is about to, nobody has booked it, and the minimum stays.
func (h *harms) terminations() {
	gone := map[string]int{}
	for _, st := range stepsOf[plan.TerminateNode](h.p) {
		gone[st.Group]++
		if n := h.s.Node(st.Node); n != nil && len(n.Pods) > 0 {
			h.say("%s is ended with %d pods on it", st.Node, len(n.Pods))
		}
		for _, b := range h.s.Bookings {
			for _, part := range b.Nodes {
				if slices.Contains(part.Instances, st.Instance) {
					h.say("%s is ended and booked by %s", st.Instance, b.Request)
				}
			}
		}
		for _, b := range stepsOf[plan.Bind](h.p) {
			for _, a := range b.Assignments {
				if a.Node == st.Node {
					h.say("%s is ended and %s bound to it", st.Node, a.Pod)
				}
			}
		}
	}
	for name, n := range gone {
		g := h.s.NodeGroup(name)
		there := 0
		for _, i := range g.Instances {
			if i.State != snapshot.InstanceTerminating {
				there++
			}
		}
		if there-n < g.Min {
			h.say("node group %s is left with %d nodes, and its minimum is %d", name, there-n, g.Min)
		}
	}
}

// evictions: only who runs and may be evicted goes; whole, or keeping its minimum.
func (h *harms) evictions() {
	ends := map[string]bool{}
	for _, e := range stepsOf[plan.Evict](h.p) {
		ends[e.Gang.UID] = ends[e.Gang.UID] || e.Whole
	}
	for _, e := range stepsOf[plan.Evict](h.p) {
		for _, ref := range e.Pods {
			if m := h.pod(h.s, ref.UID); m == nil || m.Node == "" || m.Terminating {
				h.say("%s is evicted and does not run", ref.Name)
			} else if m.Guarded != "" {
				h.say("%s is evicted, and %s", ref.Name, m.Guarded)
			}
		}
		for _, g := range h.after.Gangs {
			if g.UID != e.Gang.UID {
				continue
			}
			if g.NonPreemptible && e.For.UID != "" {
				h.say("%s may not be evicted, and is, for %s", e.Gang, e.For)
			}
			for _, grp := range g.Groups {
				n := running(g, grp.Name)
				lost := slices.ContainsFunc(e.Pods, func(ref plan.PodRef) bool { return h.pod(h.s, ref.UID).Group == grp.Name })
				if ends[g.UID] && n > 0 || !ends[g.UID] && lost && n < grp.Min {
					h.say("%s keeps %d pods of group %s (minimum %d, whole: %t)", e.Gang, n, grp.Name, grp.Min, e.Whole)
				}
			}
		}
	}
}

// resizes: a group stays within its bounds and what is asked for, keeps the minimum of its gang, and loses
// nobody who has just been given a node. Only who was held is resumed, within its queue's limits.
func (h *harms) resizes() {
	bound := map[string]bool{}
	for _, b := range stepsOf[plan.Bind](h.p) {
		for _, a := range b.Assignments {
			bound[a.UID] = true
		}
	}
	for _, r := range stepsOf[plan.Resize](h.p) {
		g := h.s.Gang(r.Gang.Gang())
		grp := g.Groups[slices.IndexFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Name == r.Name })]
		w := grp.Workers
		if g.Scaler != snapshot.ScaledByCapmgr || r.From != w.Replicas || r.To < max(w.Least, grp.Min) || r.To > max(scaling.Highest(g, &grp), w.Least, grp.Min, r.From) {
			h.say("%s, of %+v", r, *w)
		}
		if r.To < r.From && len(r.Leavers) != r.From-r.To {
			h.say("%s names %d", r, len(r.Leavers))
		}
		for _, l := range r.Leavers {
			if p := h.pod(h.s, l.UID); p == nil || p.Gang != g.ID || p.Group != r.Name || bound[l.UID] {
				h.say("%s: %s does not leave", r, l.Name)
			}
		}
		after := h.after.Gang(g.ID)
		if n := running(after, r.Name); running(g, r.Name) >= grp.Min && n < grp.Min {
			h.say("%s leaves %d of at least %d", r, n, grp.Min)
		}
		if used := h.used(); r.To > r.From {
			for _, q := range lineage(h.s, g.Queue) {
				more := grp.Request.Times(int64(r.To - r.From))
				if dim := q.Limit.Exceeded(used[q.Name].Add(more), more); dim != "" {
					h.say("%s puts queue %s over its %s limit", r, q.Name, dim)
				}
			}
		}
	}
	for _, r := range stepsOf[plan.Resume](h.p) {
		if g := h.s.Gang(r.Gang.Gang()); !g.Suspended || !g.Held || len(g.Members) > 0 {
			h.say("%s, which was not held", r)
		}
	}
	for _, st := range stepsOf[plan.Suspend](h.p) {
		if g := h.s.Gang(st.Gang.Gang()); g.Suspendable.UID != st.Object.UID || g.NonPreemptible && st.For.UID != "" {
			h.say("%s, which may not be", st)
		}
	}
}

// used is what queues use when the plan was carried out.
func (h *harms) used() map[string]snapshot.Resources {
	used := map[string]snapshot.Resources{}
	for _, g := range h.after.Gangs {
		for _, m := range g.Members {
			if m.Node != "" && !m.Terminating {
				for _, q := range lineage(h.s, g.Queue) {
					used[q.Name] = used[q.Name].Add(m.Request)
				}
			}
		}
	}
	return used
}

// verdicts: every gang has one, in words, and is said to run when it does.
func (h *harms) verdicts() {
	if len(h.p.Verdicts) != len(h.s.Gangs) {
		h.say("%d gangs have %d verdicts", len(h.s.Gangs), len(h.p.Verdicts))
	}
	for _, v := range h.p.Verdicts {
		if v.Reason == "" || v.Message == "" || strings.Contains(v.Message, "%!") {
			h.say("%s has no verdict in words: %+v", v.Gang, v)
		}
		for _, g := range h.after.Gangs {
			if g.UID != v.Gang.UID || v.Reason != plan.Running {
				continue
			}
			evicted := slices.ContainsFunc(stepsOf[plan.Evict](h.p), func(e plan.Evict) bool { return e.Gang.UID == g.UID })
			for _, grp := range g.Groups {
				if running(g, grp.Name) < grp.Min && !evicted {
					h.say("%s is said to run and has %d of %d pods of group %s", v.Gang, running(g, grp.Name), grp.Min, grp.Name)
				}
			}
		}
	}
}

func encode(t *rapid.T, v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func printed(p *plan.Plan) string {
	var b strings.Builder
	plan.Fprint(&b, p)
	return b.String()
}

func show(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
}
