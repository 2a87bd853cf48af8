package scheduler_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// clone copies a snapshot down to the pods, which nodes and gangs share.
func clone(s *snapshot.Snapshot) *snapshot.Snapshot {
	out := *s
	out.WarmAttempts = map[string]int32{}
	maps.Copy(out.WarmAttempts, s.WarmAttempts)
	pods := map[*snapshot.Pod]*snapshot.Pod{}
	copyPods := func(in []*snapshot.Pod) []*snapshot.Pod {
		var all []*snapshot.Pod
		for _, p := range in {
			if pods[p] == nil {
				c := *p
				pods[p] = &c
			}
			all = append(all, pods[p])
		}
		return all
	}
	out.Nodes, out.Gangs, out.NodeGroups, out.Bookings = nil, nil, nil, nil
	for _, n := range s.Nodes {
		c := *n
		c.Pods = copyPods(n.Pods)
		out.Nodes = append(out.Nodes, &c)
	}
	for _, g := range s.Gangs {
		c := *g
		c.Members = copyPods(g.Members)
		c.Groups = slices.Clone(g.Groups)
		for k := range c.Groups {
			if w := c.Groups[k].Workers; w != nil {
				was := *w
				c.Groups[k].Workers = &was
			}
		}
		out.Gangs = append(out.Gangs, &c)
	}
	for _, g := range s.NodeGroups {
		c := *g
		c.Instances, c.Unfit = slices.Clone(g.Instances), slices.Clone(g.Unfit)
		out.NodeGroups = append(out.NodeGroups, &c)
	}
	for _, b := range s.Bookings {
		c := *b
		c.Nodes = slices.Clone(b.Nodes)
		out.Bookings = append(out.Bookings, &c)
	}
	return &out
}

// apply is what the world looks like right after a plan was carried out. Pods that were evicted are
// still there, on their way out; nodes that were bought boot.
func apply(s *snapshot.Snapshot, p *plan.Plan) *snapshot.Snapshot {
	out := clone(s)
	out.Rev++
	gangs := map[string]*snapshot.Gang{}
	pods := map[string]*snapshot.Pod{}
	for _, g := range out.Gangs {
		gangs[g.UID] = g
		for _, m := range g.Members {
			pods[m.UID] = m
		}
	}
	for _, step := range p.Steps {
		switch st := step.(type) {
		case plan.Book:
			book(out, st)
			if g := gangs[st.Gang.UID]; g != nil {
				g.Attempts = st.Attempt
			} else {
				out.WarmAttempts[st.Gang.UID] = st.Attempt
			}
		case plan.GrowNodeGroup:
			grow(out, st)
		case plan.Settle:
			settle(out, st, gangs)
		case plan.Evict:
			for _, ref := range st.Pods {
				pods[ref.UID].Terminating = true
			}
			if g := gangs[st.For.UID]; g != nil {
				g.EvictedAt = out.Now
			}
		case plan.Bind:
			if g := gangs[st.Gang.UID]; g != nil && !p.EvictsFor(st.Gang) {
				g.EvictedAt = time.Time{}
			}
			for _, a := range st.Assignments {
				n := out.Node(a.Node)
				pods[a.UID].Node, pods[a.UID].Started = a.Node, out.Now
				n.Pods, n.IdleSince = append(n.Pods, pods[a.UID]), time.Time{}
			}
		case plan.Suspend:
			suspend(gangs[st.Gang.UID])
			if g := gangs[st.For.UID]; g != nil {
				g.EvictedAt = out.Now
			}
		case plan.Resume:
			resume(out, gangs[st.Gang.UID])
		case plan.Resize:
			resize(out, st, gangs)
		case plan.Ceiling:
			g := gangs[st.Gang.UID]
			w := g.Groups[slices.IndexFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Name == st.Name })].Workers
			if w.Most = st.To; st.To > st.From {
				w.Grown = out.Now
			} else {
				w.Shrunk = out.Now
			}
		case plan.TerminateNode:
			g := out.NodeGroup(st.Group)
			g.Instances = slices.DeleteFunc(g.Instances, func(i snapshot.Instance) bool { return i.ID == st.Instance })
			out.Nodes = slices.DeleteFunc(out.Nodes, func(n *snapshot.Node) bool { return n.InstanceID == st.Instance })
		}
	}
	return out
}

// suspend has KubeRay delete the pods of a gang: those that run are on their way out.
func suspend(g *snapshot.Gang) {
	g.Suspended, g.Held = true, true
	g.Members = slices.DeleteFunc(g.Members, func(p *snapshot.Pod) bool { return p.Node == "" })
	for _, p := range g.Members {
		p.Terminating = true
	}
}

// resume has KubeRay make the pods of a gang.
func resume(s *snapshot.Snapshot, g *snapshot.Gang) {
	g.Suspended, g.Held, g.ResumedAt = false, false, s.Now
	for k := range g.Groups {
		grp := &g.Groups[k]
		n := grp.Min
		if grp.Workers != nil {
			n = max(n, grp.Workers.Replicas)
		}
		spawn(g, grp, n)
	}
}

func spawn(g *snapshot.Gang, grp *snapshot.Group, n int) {
	for range n {
		p := *grp.Template
		p.Name = fmt.Sprintf("%s-new-%s-%d", g.Name, grp.Name, len(g.Members))
		p.UID = p.Name
		g.Members = append(g.Members, &p)
	}
}

// resize has KubeRay delete who is named, and make who is missing.
func resize(s *snapshot.Snapshot, st plan.Resize, gangs map[string]*snapshot.Gang) {
	g := gangs[st.Gang.UID]
	grp := &g.Groups[slices.IndexFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Name == st.Name })]
	w := grp.Workers
	for _, o := range st.For {
		if by := gangs[o.UID]; by != nil {
			by.EvictedAt = s.Now
		}
	}
	named := func(p *snapshot.Pod) bool {
		return slices.ContainsFunc(st.Leavers, func(l plan.Leaver) bool { return l.UID == p.UID })
	}
	g.Members = slices.DeleteFunc(g.Members, func(p *snapshot.Pod) bool { return named(p) && p.Node == "" })
	have := 0
	for _, p := range g.Members {
		if p.Terminating = p.Terminating || named(p); p.Group == grp.Name && !p.Terminating {
			have++
		}
	}
	w.Replicas, w.ToDelete = st.To, nil
	switch {
	case st.To > st.From:
		w.Grown = s.Now
	case st.To < st.From:
		w.Shrunk = s.Now
	}
	spawn(g, grp, st.To-have)
}

func book(s *snapshot.Snapshot, b plan.Book) {
	booking := &snapshot.Booking{Gang: snapshot.GangID(b.Gang.Namespace + "/" + b.Gang.Kind + "/" + b.Gang.Name + "/" + b.Gang.UID),
		Namespace: b.Gang.Namespace, Request: b.Request, Attempt: b.Attempt, Created: s.Now,
		Queue: b.Queue, Warm: b.Shape == "warm"}
	for _, p := range b.Purchases {
		booking.Nodes = append(booking.Nodes, snapshot.BookedNodes{Group: p.Group, Count: p.Count})
	}
	s.Bookings = append(s.Bookings, booking)
}

func grow(s *snapshot.Snapshot, st plan.GrowNodeGroup) {
	g := s.NodeGroup(st.Purchase.Group)
	for _, b := range s.Bookings {
		if b.Request != st.Request {
			continue
		}
		for k := range b.Nodes {
			if b.Nodes[k].Group != g.Name {
				continue
			}
			for range st.Purchase.Count {
				id := fmt.Sprintf("i-%s-%s-%d", g.Name, st.Request, len(b.Nodes[k].Instances))
				b.Nodes[k].Instances = append(b.Nodes[k].Instances, id)
				g.Instances = append(g.Instances, snapshot.Instance{ID: id, State: snapshot.InstancePending, Launched: s.Now})
			}
		}
	}
}

func settle(s *snapshot.Snapshot, st plan.Settle, gangs map[string]*snapshot.Gang) {
	if st.State == plan.RequestReady {
		return
	}
	s.Bookings = slices.DeleteFunc(s.Bookings, func(b *snapshot.Booking) bool {
		if b.Request != st.Request {
			return false
		}
		for _, part := range b.Nodes {
			for _, g := range gangs {
				if g.ID == b.Gang && (st.Reason == "NodeDidNotFit" || st.Reason == "ProvisionTimeout") {
					grp := s.NodeGroup(part.Group)
					grp.Unfit = append(grp.Unfit, snapshot.Unfit{Shape: g.Shape, Until: s.Now.Add(5 * time.Minute), Late: st.Reason == "ProvisionTimeout"})
				}
			}
		}
		return true
	})
}
