// The pace of repeated calls has jitter from the old global source; with this it follows the seed.
//
//go:debug randseednop=0

package faults

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	oldrand "math/rand"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/loop"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/scheduler"
	"github.com/capmgr/capmgr/pkg/snapshot"
	"github.com/capmgr/capmgr/pkg/state"
)

//go:embed testdata/seeds
var failedOnce string

var (
	runs = flag.Int("faults.runs", 5, "how many seeds are run, besides those that failed once")
	from = flag.Uint64("faults.from", 1, "the first of the seeds")
	only = flag.Bool("faults.story", false, "tell what happened, also of a run that holds")
)

const (
	faultsLast  = 20 * time.Minute
	restWithin  = 150 * time.Minute
	timeout     = 6 * time.Minute
	partialGang = 3 * time.Minute
)

// TestFaults runs seeds: every one that ever failed, and a number of others.
func TestFaults(t *testing.T) {
	makeCheckers(t)
	var seeds []uint64
	for _, line := range strings.Split(failedOnce, "\n") {
		word, _, _ := strings.Cut(line, " ")
		if word == "" || word == "#" {
			continue
		}
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds: %v", err)
		}
		seeds = append(seeds, n)
	}
	for k := range *runs {
		seeds = append(seeds, *from+uint64(k)) //nolint:gosec // not negative
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			oldrand.Seed(int64(seed)) //nolint:gosec,staticcheck // see randseednop above
			synctest.Test(t, func(t *testing.T) { run(t, seed) })
		})
	}
}

// run lives through one seed.
func run(t *testing.T, seed uint64) {
	w := newWorld(seed)
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // reproducible, not secret
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.manage(ctx)
	}()
	var end string
	quiet := 0
	for tick := 1; ; tick++ {
		_ = rest(ctx, time.Second)
		at := time.Since(epoch)
		w.locked(func() {
			if at < faultsLast {
				w.event(r)
			}
			w.run()
			w.collect()
			w.reconcile()
			w.watchOver(w.alive())
		})
		if at > faultsLast && !w.dice.isCalm() {
			w.tell("the faults end")
			w.dice.endFaults()
		}
		if at < faultsLast+2*time.Minute || tick%30 != 0 {
			continue
		}
		if end = w.unrest(t); end == "" {
			quiet++
		} else {
			quiet = 0
		}
		if quiet == 2 || at > faultsLast+restWithin || len(w.broken) > 0 {
			break
		}
	}
	stop()
	<-ended
	if end != "" && len(w.broken) == 0 {
		w.broken = append(w.broken, "does not come to rest: "+end)
	}
	if len(w.broken) > 0 || *only {
		t.Logf("story of seed %d:\n%s", seed, w.text())
	}
	if len(w.broken) > 0 {
		t.Errorf("seed %d (add it to testdata/seeds):\n%s", seed, strings.Join(w.broken, "\n"))
	}
}

// manage runs one life of the manager after the other.
func (w *world) manage(ctx context.Context) {
	for ctx.Err() == nil {
		living, cancel := context.WithCancel(ctx)
		l := &life{w: w, ctx: living, cancel: cancel}
		w.locked(func() { w.lives++; w.born = time.Now(); w.note("life %d begins", w.lives) })
		w.live(living, l)
		w.locked(func() { w.born = time.Time{} })
		cancel()
		_ = rest(ctx, time.Duration(1+w.dice.roll("restart").IntN(30))*time.Second)
	}
}

// alive is how long the manager lived of the last second. A process needs some to come up.
func (w *world) alive() time.Duration {
	if w.born.IsZero() || time.Since(w.born) < 15*time.Second {
		return 0
	}
	return time.Second
}

// live is one process, wired as the program wires it.
func (w *world) live(ctx context.Context, l *life) {
	mirror := state.New(w.config)
	synced := make(chan struct{})
	providers := map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: provider{l}}
	observer := &state.Observer{Mirror: mirror, Providers: providers, Groups: w.config.NodeGroups, Interval: 10 * time.Second}
	go l.watch(ctx, mirror, synced)
	go func() { _ = observer.Run(ctx) }()
	main := &loop.Loop{
		Mirror: mirror, Fit: checkers[0], Log: logr.Discard(), Now: time.Now,
		Synced: func(ctx context.Context) bool {
			select {
			case <-synced:
				return true
			case <-ctx.Done():
				return false
			}
		},
		Executor: &execute.Executor{Kube: kube{l: l}, Client: objects{l: l}, Mirror: mirror, Observe: observer.Observe,
			Providers: providers, Events: recorder{w: w}, Log: logr.Discard(), Now: time.Now},
	}
	if err := main.Start(ctx); err != nil {
		w.tell("the manager gave up: %v", err)
	}
	l.cancel()
}

// checkers are made outside the bubbles: the plugins of the fit check keep a goroutine. The first is
// the manager's, the second that of the last look.
var checkers [2]*fit.Checker

func makeCheckers(t *testing.T) {
	for k := range checkers {
		c, err := fit.New(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
		if err != nil {
			t.Fatal(err)
		}
		checkers[k] = c
	}
}

// unrest decides once more, on everything there is, and says what is still to be done or is left
// over; "" when all is well.
func (w *world) unrest(t *testing.T) string {
	m := state.New(w.config)
	l := &life{w: w, ctx: t.Context(), cancel: func() {}}
	_ = (&state.Observer{Mirror: m, Groups: w.config.NodeGroups,
		Providers: map[v1alpha1.Provider]cloud.Provider{v1alpha1.ProviderAWS: provider{l}}}).Observe(t.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	shown := map[string]client.Object{}
	show(w.queues, "q", shown, m.Queues(), true)
	show(w.clusters, "c", shown, m.RayClusters(), true)
	show(w.requests, "r", shown, m.CapacityRequests(), true)
	show(w.nodes, "n", shown, m.Nodes(), true)
	show(w.pods, "p", shown, m.Pods(), true)
	s := m.Snapshot(time.Now())
	c := checkers[1]
	c.Begin(s)
	p := scheduler.Decide(s, c)
	if len(p.Steps) > 0 {
		return "a further decision has a step: " + fmt.Sprint(p.Steps[0])
	}
	if left := w.leaks(); len(left) > 0 {
		return fmt.Sprintf("left over: %v", left)
	}
	reasons := map[string]plan.Verdict{}
	for _, v := range p.Verdicts {
		reasons[v.Gang.UID] = *v
	}
	for _, k := range sorted(w.clusters) {
		rc := w.clusters[k]
		if w.whole(rc) {
			continue
		}
		if why := w.untrue(rc, reasons[string(rc.UID)]); why != "" {
			return why
		}
	}
	return ""
}

// untrue says why a gang that does not run has no true verdict.
func (w *world) untrue(rc *rayv1.RayCluster, v plan.Verdict) string {
	used := int64(0)
	for _, p := range w.pods {
		if p.Spec.NodeName != "" && queueOf(p) == queueOf(rc) {
			used += fit.Requests(p).MilliGPU
		}
	}
	need, limit := w.leastGPUs(rc), int64(w.queues["/"+queueOf(rc)].Spec.Resources.GPU.Limit*1000)
	bounded := false
	if s := w.config.Queues[queueOf(rc)].Scaling; s != nil {
		bounded = used+need > int64(*s.MaxGPUs)*1000
	}
	switch v.Reason {
	case plan.ExceedsLimit:
		if need > limit {
			return ""
		}
	case plan.WaitingForQuota:
		if used+need > limit {
			return ""
		}
	case plan.BoundReached:
		if bounded || w.full() {
			return ""
		}
	case plan.BudgetExceeded, plan.NoMatchingNodeGroup, plan.NoNodeFits:
		return ""
	}
	return fmt.Sprintf("%s does not run (%d used, %d needed, limit %d): %s: %s", rc.Name, used, need, limit, v.Reason, v.Message)
}

// full says whether some group or the cluster has little room to grow.
func (w *world) full() bool {
	total := 0
	for _, g := range w.groups {
		total += g.alive()
		if g.alive()+4 > g.max {
			return true
		}
	}
	return w.config.Limits.MaxNodes != nil && total+5 > int(*w.config.Limits.MaxNodes)
}

// newWorld draws a cluster.
func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // reproducible, not secret
	w := &world{dice: &dice{seed: seed, count: map[string]uint64{}},
		config: &v1alpha1.Config{Queues: map[string]v1alpha1.QueueConfiguration{}},
		pods:   map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}, queues: map[string]*queuev2.Queue{},
		clusters: map[string]*rayv1.RayCluster{}, requests: map[string]*v1alpha1.CapacityRequest{},
		groups: map[string]*group{}, tokens: map[string]*launch{}, unwhole: map[types.UID]time.Duration{}, kept: map[string]time.Duration{}, ran: map[types.UID]bool{}, evicted: map[string]time.Time{}}
	number := func(from, to int) *int32 { n := int32(from + r.IntN(to-from+1)); return &n } //nolint:gosec // small
	var ladder []string
	for k := range 2 + r.IntN(2) {
		g := &group{name: fmt.Sprintf("g%d", k), max: 4 + r.IntN(6), zone: "z-" + fmt.Sprint(k%2), price: 1 + float64(k)*0.5,
			shape: cloud.Shape{MilliCPU: 4000, Memory: 14 << 30, GPUs: 1, Pods: 20}}
		switch k {
		case 1:
			g.shape.MilliCPU, g.shape.Memory, g.shape.GPUs, g.price = 46000, 180<<30, 4, 5.6
		case 2:
			g.shape.MilliCPU, g.shape.GPUs, g.price = 8000, 0, 0.2
		}
		w.groups[g.name] = g
		ladder = append(ladder, g.name)
		most := int32(g.max) //nolint:gosec // small
		w.config.NodeGroups = append(w.config.NodeGroups, v1alpha1.NodeGroup{Name: g.name, Provider: v1alpha1.ProviderAWS,
			AWS: &v1alpha1.AWSNodeGroup{AutoScalingGroup: g.name}, MaxNodes: &most, IdleAfter: &metav1.Duration{Duration: 2 * time.Minute},
			ExpectedBootTime: &metav1.Duration{Duration: 90 * time.Second}, ProvisionTimeout: &metav1.Duration{Duration: timeout}})
	}
	w.config.Limits.MaxNodes = number(8, 14)
	if r.IntN(2) == 0 {
		d := v1alpha1.Dollars(10+r.IntN(30)) * 1e6
		w.config.Limits.MaxHourlyCost = &d
	}
	for k := range 2 + r.IntN(2) {
		q := &queuev2.Queue{}
		q.Name = fmt.Sprintf("q%d", k)
		free := queuev2.QueueResource{Quota: queuev2.Unlimited, OverQuotaWeight: 1, Limit: queuev2.Unlimited}
		gpu := free
		gpu.Limit = float64(3 + r.IntN(8))
		gpu.Quota = float64(r.IntN(int(gpu.Limit)))
		q.Spec.Resources = &queuev2.QueueResources{GPU: gpu, CPU: free, Memory: free}
		w.stamp(&q.ObjectMeta, "queue")
		w.queues[key(q)] = q
		s := &v1alpha1.Scaling{MaxGPUs: number(2, 12)}
		if r.IntN(2) == 0 {
			s.Ladder = slices.Clone(ladder)
		}
		if r.IntN(3) == 0 {
			d := v1alpha1.Dollars(3+r.IntN(20)) * 1e6
			s.MaxHourlyCost = &d
		}
		if r.IntN(2) == 0 {
			s.PreferScaleUpFor = &metav1.Duration{Duration: 3 * time.Minute}
		}
		w.config.Queues[q.Name] = v1alpha1.QueueConfiguration{Scaling: s}
	}
	for k := range 1 + r.IntN(2) {
		n := fit.Template(fmt.Sprintf("own-%d", k), fit.Shape{InstanceType: "cpu", Zone: "z-0",
			Allocatable: snapshot.Resources{MilliCPU: 8000, Memory: 32 << 30}, MaxPods: 50})
		n.UID = ""
		w.stamp(&n.ObjectMeta, "node")
		w.nodes[n.Name] = n
	}
	v1alpha1.SetDefaults(w.config)
	return w
}

// event lets the users, the market and others do something, or nothing.
func (w *world) event(r *rand.Rand) {
	switch p := r.IntN(1000); {
	case p < 12 && len(w.clusters) < 8:
		gpus := int64(r.IntN(3))
		if gpus == 2 {
			gpus = 1
		}
		n := int32(1 + r.IntN(4)) //nolint:gosec // small
		least := n
		if r.IntN(3) == 0 {
			least = 1 + int32(r.IntN(int(n))) //nolint:gosec // small
		}
		rc := newCluster(fmt.Sprintf("rc%d", w.serial), fmt.Sprintf("q%d", r.IntN(len(w.queues))), n, least, gpus)
		w.stamp(&rc.ObjectMeta, "raycluster")
		w.clusters[key(rc)] = rc
		w.note("created %s in %s: %d (%d) workers of %d GPUs", rc.Name, queueOf(rc), n, least, gpus)
	case p < 18 && len(w.clusters) > 0:
		k := sorted(w.clusters)[r.IntN(len(w.clusters))]
		delete(w.clusters, k)
		w.note("deleted %s", k)
	case p < 23:
		g := w.groups[sorted(w.groups)[r.IntN(len(w.groups))]]
		g.short, g.spare = time.Now().Add(time.Duration(1+r.IntN(5))*time.Minute), r.IntN(3)
		w.note("%s is short but for %d", g.name, g.spare)
	case p < 25:
		g := w.groups[sorted(w.groups)[r.IntN(len(w.groups))]]
		if len(g.instances) > 0 {
			i := g.instances[r.IntN(len(g.instances))]
			if i.ends.IsZero() {
				i.ends = time.Now().Add(time.Second)
				w.note("lost %s", i.id)
			}
		}
	case p < 27:
		g := w.groups[sorted(w.groups)[r.IntN(len(w.groups))]]
		if g.alive() < g.max {
			w.note("somebody raised %s: %s", g.name, w.start(g, "", "").id)
		}
	}
}
