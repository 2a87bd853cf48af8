package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// explainNodeGroup prints what a decision knows of a node group: its members and who holds them, its
// bounds, and why nothing is bought from it at the moment. All of it is read from the cluster and the
// cloud: what the cloud refused lately stands in the status of the CapacityRequests.
func explainNodeGroup(out io.Writer, s *snapshot.Snapshot, name string) error {
	g := s.NodeGroup(name)
	if g == nil {
		var names []string
		for _, g := range s.NodeGroups {
			names = append(names, g.Name)
		}
		return fmt.Errorf("node group %q is not configured; there is %s", name, strings.Join(names, ", "))
	}
	line := func(what, format string, args ...any) {
		fmt.Fprintf(out, "  %-10s %s.\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(out, "nodegroup/%s: %s\n\n", g.Name, kindOf(g))
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.AppendHeader(table.Row{"Instance", "Node", "State", "Age", "Held by"})
	count := map[string]int{}
	for _, i := range g.Instances {
		state, why := memberState(s, i)
		count[state]++
		t.AppendRow(table.Row{i.ID, i.Node, state + why, s.Now.Sub(i.Launched).Round(time.Second), holder(s, i)})
	}
	line("Nodes", "%d usable, %d coming, %d leaving; at least %d, at most %d", count[usable], count[coming], count[leaving], g.Min, g.Max)
	if n := count[usable] + count[coming]; g.Desired > n {
		line("", "The cloud is told to keep %d: %d more are expected", g.Desired, g.Desired-n)
	}
	for _, text := range awaited(s, g) {
		line("", "%s", text)
	}
	line("Price", "%s/h each, %s/h now", g.Price, g.Price*snapshot.Dollars(count[usable]+count[coming]))
	if g.BootsLearned > 0 {
		line("Boot", "%s from launch to usable, the median of the last %d purchases", g.ExpectedBootTime, g.BootsLearned)
	} else {
		line("Boot", "%s expected from launch to usable; none has been watched yet", g.ExpectedBootTime)
	}
	switch {
	case g.Delegated:
		line("Idle", "the autoscaler that made a node removes it")
	case g.Flaps > 0:
		line("Idle", "a node goes after %s, longer than configured: %d times lately nodes were bought soon after others went", g.IdleAfter, g.Flaps)
	default:
		line("Idle", "a node goes after %s", g.IdleAfter)
	}
	switch {
	case g.Unknown != "":
		line("Not used", "%s", g.Unknown)
	case s.Now.Before(g.BlockedUntil):
		line("Refused", "%s; tried again at %s, in %s", g.BlockedBecause, clock(g.BlockedUntil), g.BlockedUntil.Sub(s.Now).Round(time.Second))
	}
	for _, u := range g.Unfit {
		why := "its nodes came and did not fit"
		if u.Late {
			why = "its nodes did not become usable in time"
		}
		line("Unfit", "%s for work of shape %s; bought for it again from %s", why, u.Shape, clock(u.Until))
	}
	if t.Length() > 0 {
		fmt.Fprintf(out, "\n%s\n", t.Render())
	}
	return nil
}

// kindOf is what is known of a group's machines, in a few words.
func kindOf(g *snapshot.NodeGroup) string {
	words := []string{g.Provider, g.CapacityType, g.InstanceType}
	if g.Zone != "" {
		words = append(words, "in", g.Zone)
	}
	return strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), " ")
}

// awaited says which nodes another autoscaler has been asked for and has not made yet.
func awaited(s *snapshot.Snapshot, g *snapshot.NodeGroup) (out []string) {
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			if more := part.Count - len(part.Instances); g.Delegated && part.Group == g.Name && more > 0 {
				out = append(out, fmt.Sprintf("%d more asked for %s ago for %s", more, s.Now.Sub(b.Created).Round(time.Second), gangName(b.Gang)))
			}
		}
	}
	return out
}

// States of a member, for people.
const (
	usable  = "usable"
	coming  = "coming"
	leaving = "leaving"
)

// memberState says where a member is in its life, and what it still lacks.
func memberState(s *snapshot.Snapshot, i snapshot.Instance) (state, why string) {
	n := s.Node(i.Node)
	switch {
	case i.Leaves() || n != nil && n.Draining:
		return leaving, ""
	case n == nil:
		return coming, ": not a node yet"
	case !n.Usable:
		return coming, ": " + n.NotUsable
	}
	return usable, ""
}

// holder says whose an instance is: the gang that it was bought for, those that run there, or nobody.
func holder(s *snapshot.Snapshot, i snapshot.Instance) string {
	for _, b := range s.Bookings {
		for _, part := range b.Nodes {
			if slices.Contains(part.Instances, i.ID) {
				return "bought for " + gangName(b.Gang)
			}
		}
	}
	n := s.Node(i.Node)
	switch {
	case n == nil && i.Orphan != "":
		return "nobody: launched for " + i.Orphan + ", which is gone"
	case n == nil:
		return ""
	}
	var who []string
	for _, p := range n.Pods {
		switch {
		case p.Resident:
		case p.Gang != "":
			who = append(who, gangName(p.Gang))
		default:
			who = append(who, "pod "+p.Namespace+"/"+p.Name)
		}
	}
	slices.Sort(who)
	if who = slices.Compact(who); len(who) > 0 {
		return strings.Join(who, ", ")
	}
	if n.Protected != "" {
		return "kept by " + n.Protected
	}
	return "nobody"
}

// gangName is a gang's ID as people know the object: kind/namespace/name.
func gangName(id snapshot.GangID) string {
	parts := strings.Split(string(id), "/")
	if len(parts) != 4 {
		return string(id)
	}
	return strings.ToLower(parts[1]) + "/" + parts[0] + "/" + parts[2]
}

func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) + " UTC" }
