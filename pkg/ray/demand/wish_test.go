package demand

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

func shape(gpus, cpus int64) Shape {
	return Shape{Resources: snapshot.Resources{MilliGPU: 1000 * gpus, MilliCPU: 1000 * cpus}}
}

func bundles(n int, s Shape) []Shape { return slices.Repeat([]Shape{s}, n) }

func TestWish(t *testing.T) {
	cpu := Group{Name: "cpu", Host: shape(0, 8), Max: 10}
	small := Group{Name: "small", Host: shape(1, 4), Max: 4}
	big := Group{Name: "big", Host: shape(4, 48), Max: 2}
	has := func(g Group, replicas int) Group { g.Replicas = replicas; return g }
	cases := map[string]struct {
		reason string
		state  State
		groups []Group
		want   map[string]int
		unmet  int
	}{
		"Nothing":      {"what there is stays", State{}, []Group{has(small, 2)}, map[string]int{"small": 2}, 0},
		"WholeGang":    {"one replica per bundle", State{Gangs: []Gang{{Bundles: bundles(4, shape(1, 0))}}}, []Group{small}, map[string]int{"small": 4}, 0},
		"GangTooBig":   {"a gang that cannot be whole asks for nothing", State{Gangs: []Gang{{Bundles: bundles(5, shape(1, 0))}}}, []Group{small}, map[string]int{"small": 0}, 1},
		"NextGang":     {"a gang that cannot be whole leaves room to the next", State{Gangs: []Gang{{Bundles: bundles(5, shape(1, 0))}, {Bundles: bundles(2, shape(1, 0))}}}, []Group{small}, map[string]int{"small": 2}, 1},
		"Spread":       {"no two bundles on one node", State{Gangs: []Gang{{Bundles: bundles(2, shape(1, 0)), Spread: true}}}, []Group{big}, map[string]int{"big": 2}, 0},
		"SpreadTooFar": {"three nodes where two may be had", State{Gangs: []Gang{{Bundles: bundles(3, shape(1, 0)), Spread: true}}}, []Group{big}, map[string]int{"big": 0}, 1},
		"Together":     {"all bundles on one node skip the nodes that are too small", State{Gangs: []Gang{{Bundles: bundles(3, shape(1, 0)), Together: true}}}, []Group{small, big}, map[string]int{"small": 0, "big": 1}, 0},
		"LooseShares":  {"tasks fill nodes", State{Loose: []Loose{{shape(0, 1), 20}}}, []Group{cpu}, map[string]int{"cpu": 3}, 0},
		"LoosePartly":  {"tasks need not all run", State{Loose: []Loose{{shape(1, 1), 9}}}, []Group{small}, map[string]int{"small": 4}, 1},
		"OnItsWay":     {"granted replicas without a node are used first", State{Loose: []Loose{{shape(1, 1), 2}}}, []Group{has(small, 2)}, map[string]int{"small": 2}, 0},
		"Free":         {"free room of nodes is used first", State{Loose: []Loose{{shape(1, 1), 1}}, Nodes: []Node{{Group: "small", Status: Idle, Free: shape(1, 4), Total: shape(1, 4)}}}, []Group{has(small, 1)}, map[string]int{"small": 1}, 0},
		"DrainingNode": {"a draining node's room is none", State{Loose: []Loose{{shape(1, 1), 1}}, Nodes: []Node{{Group: "small", Status: Draining, Free: shape(1, 4)}}}, []Group{has(small, 1)}, map[string]int{"small": 2}, 0},
		"PlainWork":    {"work without GPUs grows the group without", State{Loose: []Loose{{shape(0, 4), 1}}}, []Group{small, cpu}, map[string]int{"small": 0, "cpu": 1}, 0},
		"MultiHost":    {"a replica of two hosts brings both", State{Loose: []Loose{{shape(1, 1), 2}}}, []Group{{Name: "pair", Host: shape(1, 4), Hosts: 2, Max: 3}}, map[string]int{"pair": 1}, 0},
		"Model":        {"a task that insists on a model skips other GPUs", State{Loose: []Loose{{Shape{Resources: shape(1, 0).Resources, Accelerator: "A10G"}, 1}}}, []Group{small, {Name: "g5", Host: Shape{Resources: shape(1, 4).Resources, Accelerator: "A10G"}, Max: 1}}, map[string]int{"small": 0, "g5": 1}, 0},
		"Labels":       {"a selector chooses the group", State{Loose: []Loose{{Shape{Resources: shape(1, 0).Resources, Selector: []Selector{{Key: "zone", Values: []string{"b"}}}}, 1}}}, []Group{small, {Name: "b", Host: shape(1, 4), Labels: map[string]string{"zone": "b"}, Max: 1}}, map[string]int{"small": 0, "b": 1}, 0},
		"Backlog":      {"a backlog of what asks for nothing is not counted out", State{Loose: []Loose{{Shape{}, 1 << 60}}}, []Group{cpu}, map[string]int{"cpu": 1}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprintf("%+v", c.state)
			got, unmet := Wish(&c.state, c.groups)
			if diff := cmp.Diff(c.want, replicas(got)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
			if len(unmet) != c.unmet {
				t.Errorf("%s: unmet are %+v", c.reason, unmet)
			}
			if fmt.Sprintf("%+v", c.state) != before {
				t.Error("the state was changed")
			}
		})
	}
}

func replicas(wish map[string]Growth) map[string]int {
	out := map[string]int{}
	for name, g := range wish {
		out[name] = g.Replicas
	}
	return out
}

// What a placement group grows a worker group by helps only as a whole; tasks are content with less.
func TestBatches(t *testing.T) {
	s := &State{
		Gangs: []Gang{{Bundles: bundles(3, shape(1, 0))}, {Bundles: bundles(9, shape(1, 0))}, {Bundles: bundles(2, shape(1, 0))}},
		Loose: []Loose{{shape(1, 0), 2}},
		Nodes: []Node{{Group: "w", Status: Idle, Free: shape(1, 4), Total: shape(1, 4)}},
	}
	got, _ := Wish(s, []Group{{Name: "w", Host: shape(1, 4), Replicas: 1, Max: 8}})
	if diff := cmp.Diff(map[string]Growth{"w": {Replicas: 7, Batches: []int{2, 2}}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCustomResourcesAreUsedUp(t *testing.T) {
	license := Shape{Custom: []Custom{{Name: "license", Milli: 500}}}
	host := Shape{Resources: shape(0, 1).Resources, Custom: []Custom{{Name: "license", Milli: 1000}}}
	s := &State{Loose: []Loose{{license, 3}}, Nodes: []Node{{Group: "w", Free: host, Total: host}}}
	got, _ := Wish(s, []Group{{Name: "w", Host: host, Replicas: 1, Max: 5}})
	if got["w"].Replicas != 2 || s.Nodes[0].Free.Custom[0].Milli != 1000 || host.Custom[0].Milli != 1000 {
		t.Errorf("got %v, and the state is %+v", got, s)
	}
}

// A head is another program, in its user's namespace: whatever it claims, a decision is not held up.
func TestWorkIsBounded(t *testing.T) {
	huge := &State{Loose: []Loose{{shape(0, 1), 1 << 60}}, Gangs: []Gang{{Bundles: bundles(100_000, shape(1, 0))}}}
	for n := range 5000 {
		huge.Loose = append(huge.Loose, Loose{Shape{Resources: shape(1, 0).Resources, Custom: []Custom{{Name: fmt.Sprint(n), Milli: 1}}}, 1})
	}
	started := time.Now()
	wish, unmet := Wish(huge, []Group{{Name: "cpu", Host: shape(0, 8), Max: math.MaxInt32}, {Name: "gpu", Host: shape(1, 8), Max: math.MaxInt32}})
	if took := time.Since(started); took > 5*time.Second { // some 50 ms, where nobody else works
		t.Errorf("took %s", took)
	}
	if len(unmet) == 0 || wish["cpu"].Replicas > mostGrown || wish["gpu"].Replicas > mostGrown {
		t.Errorf("%v, and %d unmet", wish, len(unmet))
	}
}

func TestTasksFillNodesAtOnce(t *testing.T) {
	host := Shape{Resources: snapshot.Resources{MilliCPU: 8000, Memory: 10}}
	got, unmet := Wish(&State{Loose: []Loose{{Shape{Resources: snapshot.Resources{MilliCPU: 1000, Memory: 3}}, 7}}}, []Group{{Name: "w", Host: host, Max: 9}})
	if got["w"].Replicas != 3 || len(unmet) > 0 { // three on each for their memory
		t.Errorf("got %v, unmet %+v", got, unmet)
	}
}
