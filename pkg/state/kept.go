package state

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// kept is what the last snapshot was made of and what has changed since, so that the next one makes
// only that again. What has not changed is the same pointer in both, which tells readers so.
type kept struct {
	all      bool               // anything may have changed
	allNodes bool               // any node may have
	units    map[types.UID]bool // changed units, by key
	nodes    map[string]bool    // changed nodes

	unit   map[types.UID]*unit
	family map[types.UID]map[types.UID]bool // the units that become one gang, by the unit that it is named after
	list   []*snapshot.Node                 // by name
	onNode map[string][]*snapshot.Pod       // by UID; published, so it is copied before it is changed
	copied map[string]bool                  // those that this snapshot may change
	gangs  []*snapshot.Gang                 // by ID

	queues        []*snapshot.Queue // by name
	queuesChanged bool
}

// unit is the pods of one owner, or one pod. The units of one family become gangs together.
type unit struct {
	pods  []*pod
	gangs []*snapshot.Gang
	root  types.UID // the unit that its family is named after; often itself; "" before it was made
}

func newKept() kept {
	return kept{all: true, units: map[types.UID]bool{}, nodes: map[string]bool{}, unit: map[types.UID]*unit{},
		family: map[types.UID]map[types.UID]bool{}, onNode: map[string][]*snapshot.Pod{}, copied: map[string]bool{}}
}

// keyOf names the unit of a pod.
func keyOf(p *pod) types.UID {
	if p.ours && p.owner != "" {
		return p.owner
	}
	return p.object.UID
}

// enter adds a pod that is new or replaces what was known of it.
func (k *kept) enter(old, p *pod) {
	k.leave(old)
	key := keyOf(p)
	u := k.unit[key]
	if u == nil {
		u = &unit{}
		k.unit[key] = u
	}
	u.pods = append(u.pods, p)
	k.units[key] = true
}

// leave takes out a pod; nil is nobody.
func (k *kept) leave(p *pod) {
	if p == nil {
		return
	}
	key := keyOf(p)
	u := k.unit[key]
	u.pods = slices.DeleteFunc(u.pods, func(o *pod) bool { return o == p })
	k.units[key] = true
	if p.out != nil {
		k.gone(p.out)
		p.out = nil
	}
}

// gone takes a published pod off its node.
func (k *kept) gone(out *snapshot.Pod) {
	if out.Node == "" {
		return
	}
	k.own(out.Node)
	pods := k.onNode[out.Node]
	k.onNode[out.Node] = slices.DeleteFunc(pods, func(o *snapshot.Pod) bool { return o == out })
}

// own makes a node's pods this snapshot's to change.
func (k *kept) own(node string) {
	k.nodes[node] = true
	if !k.copied[node] {
		k.copied[node] = true
		k.onNode[node] = slices.Clone(k.onNode[node])
	}
}

// publish replaces what the last snapshot said of a pod; nil: nothing.
func (k *kept) publish(p *pod, out *snapshot.Pod) {
	if p.out != nil {
		k.gone(p.out)
	}
	p.out = out
	if out != nil && out.Node != "" {
		k.own(out.Node)
		k.onNode[out.Node] = append(k.onNode[out.Node], out)
	}
}

// bulk is from how many changes on it is cheaper to sort everything anew.
const bulk = 256

// merged returns a list that is sorted by name without those that are gone and with those that were
// made. The old list stays as it is: somebody may be reading it.
func merged[T any](list, gone, made []*T, name func(*T) string) []*T {
	list = slices.Clone(list)
	if len(gone)+len(made) > bulk {
		out := make(map[*T]bool, len(gone))
		for _, v := range gone {
			out[v] = true
		}
		list = append(slices.DeleteFunc(list, func(v *T) bool { return out[v] }), made...)
		slices.SortFunc(list, func(x, y *T) int { return cmp.Compare(name(x), name(y)) })
		return list
	}
	for _, v := range gone {
		if at, there := find(list, name(v), name); there {
			list = slices.Delete(list, at, at+1)
		}
	}
	for _, v := range made {
		at, _ := find(list, name(v), name)
		list = slices.Insert(list, at, v)
	}
	return list
}

func find[T any](list []*T, name string, nameOf func(*T) string) (at int, there bool) {
	return slices.BinarySearchFunc(list, name, func(v *T, name string) int { return cmp.Compare(nameOf(v), name) })
}

func gangName(g *snapshot.Gang) string { return string(g.ID) }

func nodeName(n *snapshot.Node) string { return n.Name }

// done starts over: what has changed so far is in the snapshot.
func (k *kept) done() {
	k.all, k.allNodes = false, false
	clear(k.units)
	clear(k.nodes)
	clear(k.copied)
}
