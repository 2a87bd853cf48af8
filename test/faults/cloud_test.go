package faults

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// group is a node group as the cloud has it.
type group struct {
	name      string
	max       int
	shape     cloud.Shape
	zone      string
	price     float64
	instances []*instance
	serial    int
	short     time.Time // until when the market has nothing to sell
	spare     int       // but for these
	throttled time.Time // until when launches are too many calls
	least     int       // instances that the configuration keeps
	lost      time.Time // when it last lost a machine
}

// instance is one machine and its fate.
type instance struct {
	id, intent string
	token      string
	launched   time.Time
	listed     time.Time // from when the listing shows it
	boots      time.Time // zero: it never joins
	gpus       time.Time // zero: they are never advertised
	ends       time.Time // zero: it was not terminated
	node       string

	joined time.Time
	worked time.Time // when its node last had work; zero: never
	busy   time.Time // the same, or when it could first take pods
}

// launch is a token and what it brought.
type launch struct {
	request cloud.LaunchRequest
	ids     []string
	err     error
}

func (g *group) alive() (n int) {
	for _, i := range g.instances {
		if i.ends.IsZero() {
			n++
		}
	}
	return n
}

// provider is the cloud's API.
type provider struct{ l *life }

func (p provider) Observe(ctx context.Context, groups []cloud.GroupConfig) (out []cloud.Group, err error) {
	w := p.l.w
	return out, p.l.call(ctx, "observe", false, cloud.ErrThrottled, nil, p.l.locked(func() error {
		for _, c := range groups {
			g := w.groups[c.Name]
			seen := cloud.Group{Name: g.name, InstanceType: "type-" + g.name, Zone: g.zone, CapacityType: "on-demand",
				Max: g.max, Desired: g.alive(), Shape: g.shape, PricePerHour: g.price}
			for _, i := range g.instances {
				if time.Now().Before(i.listed) {
					continue
				}
				seen.Instances = append(seen.Instances, cloud.Instance{ID: i.id, ProviderID: "aws:///" + g.zone + "/" + i.id,
					Zone: g.zone, InService: i.node != "", Terminating: !i.ends.IsZero(), Launched: i.launched.Truncate(time.Second), Intent: i.intent})
			}
			out = append(out, seen)
		}
		return nil
	}))
}

func (p provider) Launch(ctx context.Context, r cloud.LaunchRequest) (ids []string, err error) {
	w := p.l.w
	lost := cloud.ErrUnknownOutcome
	if w.dice.roll("throttle "+r.Token).IntN(2) == 0 {
		lost = cloud.ErrThrottled
	}
	err = p.l.call(ctx, "launch "+r.Token, true, cloud.ErrUnknownOutcome, lost, p.l.locked(func() error {
		if time.Now().Before(w.groups[r.Group.Name].throttled) {
			return cloud.ErrThrottled
		}
		if old := w.tokens[r.Token]; old != nil {
			if !reflect.DeepEqual(old.request, r) {
				w.violate("token %s used for %+v and %+v", r.Token, old.request, r)
			}
			ids = slices.Clone(old.ids)
			return old.err
		}
		g := w.groups[r.Group.Name]
		got, why := r.Count, error(nil)
		if time.Now().Before(g.short) && got > g.spare {
			got, why = g.spare, cloud.ErrInsufficientCapacity
		}
		if room := max(0, g.max-g.alive()); got > room {
			got, why = room, cloud.ErrQuota
		}
		g.spare -= min(g.spare, got)
		done := &launch{request: r}
		if why != nil {
			done.err = &cloud.Shortfall{Group: g.name, Asked: r.Count, Got: got, Err: why, Detail: "no more"}
		}
		for range got {
			done.ids = append(done.ids, w.start(g, r.Intent, r.Token).id)
		}
		w.tokens[r.Token] = done
		w.note("launched %d of %d %s for %s: %v %v", got, r.Count, g.name, r.Intent, done.ids, why)
		w.checkLaunch(g, got)
		ids = slices.Clone(done.ids)
		return done.err
	}))
	if err == errDead { //nolint:errorlint // our own
		return nil, cloud.ErrUnknownOutcome
	}
	return ids, err
}

// start makes an instance and draws its fate.
func (w *world) start(g *group, intent, token string) *instance {
	g.serial++
	i := &instance{id: fmt.Sprintf("i-%s-%02d", g.name, g.serial), intent: intent, token: token, launched: time.Now()}
	r := w.dice.roll("fate " + i.id)
	second := func(from, to int) time.Duration { return time.Duration(from+r.IntN(to-from)) * time.Second }
	i.listed, i.boots = i.launched, i.launched.Add(second(40, 90))
	i.gpus = i.boots.Add(second(5, 20))
	switch p := r.IntN(100); {
	case w.dice.calm:
	case p < 8:
		i.boots, i.gpus = time.Time{}, time.Time{}
	case p < 14 && g.shape.GPUs > 0:
		i.gpus = time.Time{}
	case p < 30:
		late := second(60, 400)
		i.boots, i.gpus = i.boots.Add(late), i.gpus.Add(late)
	}
	if r.IntN(4) == 0 && !w.dice.calm {
		i.listed = i.launched.Add(second(1, 15))
	}
	g.instances = append(g.instances, i)
	return i
}

func (p provider) Terminate(ctx context.Context, c cloud.GroupConfig, ids []string) error {
	w := p.l.w
	return p.l.call(ctx, "terminate "+ids[0], true, cloud.ErrUnknownOutcome, cloud.ErrThrottled, p.l.locked(func() error {
		g := w.groups[c.Name]
		for _, i := range g.instances {
			if slices.Contains(ids, i.id) && i.ends.IsZero() {
				w.note("terminated %s", i.id)
				w.checkTerminate(g, i)
				i.ends = time.Now().Add(15 * time.Second)
			}
		}
		return nil
	}))
}

// run lets the machines of every group go their way.
func (w *world) run() {
	t := time.Now()
	w.occupied = map[string]bool{}
	for _, p := range w.pods.list() {
		if !over(p) && !foreign(p) { // another scheduler's may come and go between two looks
			w.occupied[p.Spec.NodeName] = true
		}
	}
	for _, name := range sorted(w.groups) {
		g := w.groups[name]
		g.instances = slices.DeleteFunc(g.instances, func(i *instance) bool {
			gone := !i.ends.IsZero() && t.After(i.ends)
			if n := w.nodes.get("/" + i.node); gone && n != nil {
				w.nodes.drop(n)
			}
			return gone
		})
		for _, i := range g.instances {
			if i.node == "" && i.ends.IsZero() && !i.boots.IsZero() && t.After(i.boots) {
				w.join(g, i)
			}
			n := w.nodes.get("/" + i.node)
			if n == nil {
				continue
			}
			if have := n.Status.Allocatable[v1alpha1.GPUResource]; g.shape.GPUs > have.Value() && !i.gpus.IsZero() && t.After(i.gpus) {
				w.nodes.edit(n, func(n *corev1.Node) {
					q := *resource.NewQuantity(g.shape.GPUs, resource.DecimalSI)
					n.Status.Capacity[v1alpha1.GPUResource], n.Status.Allocatable[v1alpha1.GPUResource] = q, q
				})
			}
			w.look(g, i)
		}
	}
}

// look notes what an instance's node is doing.
func (w *world) look(g *group, i *instance) {
	if w.occupied[i.node] {
		i.worked = time.Now()
	}
	if w.usable(g, i) && i.busy.IsZero() || w.occupied[i.node] {
		i.busy = time.Now()
	}
}

// usable says whether an instance's node takes pods.
func (w *world) usable(g *group, i *instance) bool {
	n := w.nodes.get("/" + i.node)
	if n == nil {
		return false
	}
	have := n.Status.Allocatable[v1alpha1.GPUResource]
	return have.Value() >= g.shape.GPUs && readyNode(n) && !n.Spec.Unschedulable
}

func readyNode(n *corev1.Node) bool { return n.Status.Conditions[0].Status == corev1.ConditionTrue }

// join makes an instance a Ready node that advertises no GPUs yet.
func (w *world) join(g *group, i *instance) {
	i.node, i.joined = i.id[len("i-"):], time.Now()
	var taints []corev1.Taint
	for _, t := range g.shape.Taints {
		taints = append(taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	n := fit.Template(i.node, fit.Shape{InstanceType: "type-" + g.name, Zone: g.zone, Taints: taints,
		Allocatable: snapshot.Resources{MilliCPU: g.shape.MilliCPU, Memory: g.shape.Memory}, MaxPods: int(g.shape.Pods)})
	n.UID = ""
	n.Spec.ProviderID = "aws:///" + g.zone + "/" + i.id
	w.nodes.put(n)
	w.note("%s joined", n.Name)
}
