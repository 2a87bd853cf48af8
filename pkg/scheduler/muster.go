package scheduler

import (
	"fmt"
	"strings"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// muster is who of a gang is there: the minimum is counted per group.
type muster struct {
	running []*snapshot.Pod   // bound and not on their way out
	missing []*snapshot.Pod   // waiting, needed for the minimum
	elastic [][]*snapshot.Pod // waiting, beyond the minimum, one unit each
	absent  map[string]int    // per group: pods of the minimum that do not exist
}

func musterOf(g *snapshot.Gang) muster {
	m := muster{absent: map[string]int{}}
	for _, grp := range g.Groups {
		need := grp.Min
		for _, p := range g.Members {
			if p.Group == grp.Name && p.Node != "" && !p.Terminating {
				m.running = append(m.running, p)
				need--
			}
		}
		for _, unit := range unitsOf(g, grp.Name, func(p *snapshot.Pod) bool { return p.Node == "" && !p.Terminating }) {
			if need > 0 {
				m.missing = append(m.missing, unit...)
				need -= len(unit)
			} else {
				m.elastic = append(m.elastic, unit)
			}
		}
		if need > 0 {
			m.absent[grp.Name] = need
		}
	}
	return m
}

// unitsOf splits the pods of a group that are kept into units, in the order of their first pods.
func unitsOf(g *snapshot.Gang, group string, keep func(*snapshot.Pod) bool) (units [][]*snapshot.Pod) {
	index := map[string]int{}
	for _, p := range g.Members {
		if p.Group != group || !keep(p) {
			continue
		}
		if p.Unit == "" {
			units = append(units, []*snapshot.Pod{p})
			continue
		}
		k, ok := index[p.Unit]
		if !ok {
			k = len(units)
			index[p.Unit] = k
			units = append(units, nil)
		}
		units[k] = append(units[k], p)
	}
	return units
}

// whole says whether the gang has its minimum bound.
func (m muster) whole() bool { return len(m.missing) == 0 && len(m.absent) == 0 }

func sumOf(pods []*snapshot.Pod) (sum snapshot.Resources) {
	for _, p := range pods {
		sum = sum.Add(p.Request)
	}
	return sum
}

// incomplete says which pods of the minimum do not exist yet, or nil.
func (m muster) incomplete(g *snapshot.Gang) *blocked {
	if len(m.absent) == 0 {
		return nil
	}
	var parts []string
	for _, grp := range g.Groups {
		if n := m.absent[grp.Name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d in group %s", n, grp.Min, grp.Name))
		}
	}
	return &blocked{plan.GangIncomplete, "pods that it needs do not exist yet: " + strings.Join(parts, ", "),
		"If this stays, look at the events of the " + g.Kind}
}

// minimum is what the gang needs at least in all, from its spec: pods need not exist yet.
func minimum(g *snapshot.Gang) (sum snapshot.Resources) {
	for _, grp := range g.Groups {
		n := int64(grp.Min)
		sum = sum.Add(snapshot.Resources{
			MilliCPU: grp.Request.MilliCPU * n, Memory: grp.Request.Memory * n, MilliGPU: grp.Request.MilliGPU * n})
	}
	return sum
}
