package faults

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/scaling"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/test/model"
)

//go:embed testdata/worker-seeds
var crewsFailedOnce string

var crewRuns = flag.Int("faults.crews", 60, "how many seeds of worker groups are run, besides those that failed once")

const (
	crewEvents = 6 * time.Minute
	// crewRest is enough for a pause after a contest to end, and for all that comes after.
	crewRest  = 40 * time.Minute
	crewQuiet = 5 * time.Minute // without a write at the end
)

// TestWorkers runs seeds of worker groups under random grants.
func TestWorkers(t *testing.T) {
	seeds := seedsIn(t, "worker-seeds", crewsFailedOnce)
	for k := range *crewRuns {
		seeds = append(seeds, *from+uint64(k)) //nolint:gosec // not negative
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runCrew(t, newCrewWorld(seed)) })
		})
	}
}

// TestWorkersBesideAStubbornTool runs a fifth of the seeds with tools that put back at once whatever
// differs from their manifests: capmgr writes over that as often as its grants change, and no more.
func TestWorkersBesideAStubbornTool(t *testing.T) {
	for k := range *crewRuns / 5 {
		seed := *from + uint64(k) //nolint:gosec // not negative
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCrewWorld(seed)
				w.stubborn = true
				for name, rc := range w.clusters {
					if !autoscaledCluster(rc) {
						w.manifest[name] = *rc.Spec.WorkerGroupSpecs[0].DeepCopy()
					}
				}
				runCrew(t, w)
			})
		})
	}
}

func runCrew(t *testing.T, w *crewWorld) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.manage(ctx) }()
	_ = rest(ctx, 250*time.Millisecond) // never at the same instant as the manager
	for len(w.broken) == 0 {
		at := time.Since(epoch)
		w.locked(func() {
			if at < crewEvents {
				w.event()
			} else if !w.dice.isCalm() {
				w.note("the faults end")
				w.dice.endFaults()
				w.settle()
			}
			w.tick()
		})
		if at > crewEvents+crewRest {
			break
		}
		step := time.Second
		if at > crewEvents+2*time.Minute {
			step = 10 * time.Second
		}
		_ = rest(ctx, step)
	}
	stop()
	<-ended
	w.locked(w.atRest)
	if len(w.broken) > 0 || *tell {
		t.Logf("story of seed %d:\n%s", w.dice.seed, strings.Join(w.story, "\n"))
	}
	if len(w.broken) > 0 {
		t.Errorf("seed %d (add it to testdata/worker-seeds):\n%s", w.dice.seed, strings.Join(w.broken, "\n"))
	}
}

// manage runs one life of the manager after the other.
func (w *crewWorld) manage(ctx context.Context) {
	for ctx.Err() == nil {
		living, end := context.WithCancel(ctx)
		lasts := time.Hour * 24
		if r := w.dice.roll("life"); r.IntN(2) == 0 {
			lasts = time.Duration(20+r.IntN(200)) * time.Second
		}
		go func() { _ = rest(living, lasts); end() }()
		m := state.New(&v1alpha1.Config{SchedulerNames: []string{"capmgr"}, Ray: v1alpha1.RayConfiguration{AskHeads: ptr.To(true)}})
		w.locked(func() { w.reread(m) })
		api := crewAPI{w: w, ctx: living}
		e := &execute.Executor{Kube: api, Client: api, Mirror: m, Heads: crewHeads{w}, Events: nobody{}, Log: logr.Discard(), Now: time.Now}
		for living.Err() == nil {
			s := m.Snapshot(time.Now())
			var grants []scaling.Grant
			w.locked(func() {
				for _, g := range s.Gangs {
					grants = append(grants, w.grantsOf(g)...)
				}
			})
			steps, _ := scaling.WorkerSteps(s, grants)
			_ = e.Execute(living, &plan.Plan{Steps: steps})
			e.Resume(living)
			wait := time.Second
			if w.dice.isCalm() {
				wait = 5 * time.Second
			}
			_ = rest(living, wait)
		}
		e.Wait()
		w.locked(func() { w.mirror = nil; w.note("a life of the manager ends") })
		_ = rest(ctx, 3*time.Second)
	}
}

// nobody listens to events.
type nobody struct{ record.EventRecorder }

// Event goes nowhere.
func (nobody) Event(runtime.Object, string, string, string) {}

func newCrewWorld(seed uint64) *crewWorld {
	r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // reproducible, not secret
	w := &crewWorld{r: r, dice: &dice{seed: seed, count: map[string]uint64{}}, clusters: map[string]*rayv1.RayCluster{}, nodes: map[string]*rayNode{},
		operator: &model.Operator{}, silent: map[string]time.Time{}, answers: map[string]gcs.Answer{}, manifest: map[string]rayv1.WorkerGroupSpec{},
		grants: map[string]grant{}, wishes: map[string]int32{}, foreign: map[string]bool{}, contests: map[string]int{}}
	for k := range 2 + r.IntN(2) {
		name := fmt.Sprintf("rc%d", k)
		least := int32(r.IntN(3)) //nolint:gosec // small
		most := least + 1 + int32(r.IntN(6))
		replicas := least + int32(r.IntN(int(most-least+1))) //nolint:gosec // small
		g := rayv1.WorkerGroupSpec{GroupName: "w", Replicas: &replicas, MinReplicas: &least, MaxReplicas: &most, NumOfHosts: 1}
		if r.IntN(4) == 0 {
			g.NumOfHosts = 2
		}
		g.Template.Spec = podSpec("1", "1Gi", 0)
		rc := &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, Labels: map[string]string{v1alpha1.QueueLabel: "q"}}}
		rc.Spec.HeadGroupSpec.Template.Spec = podSpec("1", "1Gi", 0)
		rc.Spec.WorkerGroupSpecs = []rayv1.WorkerGroupSpec{g}
		if r.IntN(4) == 0 {
			rc.Spec.EnableInTreeAutoscaling = ptr.To(true)
		}
		if r.IntN(4) == 0 {
			rc.Annotations = map[string]string{v1alpha1.ElasticAnnotation: v1alpha1.ElasticOpportunistic}
		}
		if r.IntN(3) == 0 && rc.Spec.EnableInTreeAutoscaling == nil {
			w.manifest[name] = *g.DeepCopy()
		}
		w.putCluster(rc)
		w.wishes[name] = replicas
		w.grants[name] = grant{replicas: int(most)}
		w.note("%s: %d (%d to %d) of %d hosts, autoscaled %v, git %v", name, replicas, least, most, g.NumOfHosts, rc.Spec.EnableInTreeAutoscaling != nil, w.manifest[name].GroupName != "")
	}
	return w
}

// event lets a user, a tool, the cluster or Ray do something, or nothing.
func (w *crewWorld) event() {
	names := sorted(w.clusters)
	name := names[w.r.IntN(len(names))]
	rc := w.clusters[name].DeepCopy()
	g := &rc.Spec.WorkerGroupSpecs[0]
	switch p := w.r.IntN(1000); {
	case p < 40: // the decision grants another number
		next := grant{replicas: w.r.IntN(int(*w.bounds(name).MaxReplicas) + 2), must: w.r.IntN(3) == 0, musts: w.grants[name].musts}
		if w.grants[name].must {
			next.musts = time.Now()
		}
		w.grants[name] = next
		w.contests[name]-- // a reason to write once more
		w.note("%s is granted %d (%v)", name, w.grants[name].replicas, w.grants[name].must)
	case p < 50 && !autoscaledCluster(rc): // a user wants another number
		n := *g.MinReplicas + int32(w.r.IntN(int(*g.MaxReplicas-*g.MinReplicas)+1)) //nolint:gosec // small
		if n == *g.Replicas || n == w.wrote(rc) {
			return // an edit that changes nothing is none, and one to capmgr's very number says nothing
		}
		w.others(rc, "kubectl-edit", func() { g.Replicas = &n })
		w.wishes[name] = n
	case p < 80 && w.manifest[name].GroupName != "": // a tool puts back what git has
		w.sync(name)
	case p < 90:
		w.operator.Restart()
		w.down = time.Now().Add(time.Duration(w.r.IntN(20)) * time.Second)
		w.note("KubeRay is down until %s", w.down.Sub(epoch))
	case p < 100:
		w.silent[name] = time.Now().Add(time.Duration(5+w.r.IntN(60)) * time.Second)
		w.note("the head of %s is silent until %s", name, w.silent[name].Sub(epoch))
	case p < 115 && len(w.pods) > 0: // a pod ends by itself
		pod := w.pods[w.r.IntN(len(w.pods))]
		if pod.Status.Phase == corev1.PodRunning && pod.Labels[ray.GroupLabel] == "w" {
			w.end(pod, "it failed")
		}
	case p < 122 && len(w.pods) > 0: // somebody deletes a pod by hand
		pod := w.pods[w.r.IntN(len(w.pods))]
		if pod.Labels[ray.GroupLabel] == "w" {
			w.deletePod(pod, "by hand")
		}
	}
}

// wrote is the number of replicas that capmgr wrote last; -1 when it did not.
func (w *crewWorld) wrote(rc *rayv1.RayCluster) int32 {
	record, err := ray.ReadRecord(rc.Annotations)
	if err != nil {
		w.violate("%s: %v", rc.Name, err)
	}
	if n := record["w"].Replicas; n != nil {
		return int32(*n) //nolint:gosec // small
	}
	return -1
}

// settle is the world that the end is judged by: the decision grants what it likes best, nobody else
// writes any more.
func (w *crewWorld) settle() {
	w.down = time.Time{}
	clear(w.silent)
	for _, name := range sorted(w.clusters) {
		w.grants[name] = grant{replicas: 99}
	}
}

// others writes a RayCluster's spec as somebody else.
func (w *crewWorld) others(rc *rayv1.RayCluster, who string, change func()) {
	change()
	at := metav1.NewTime(time.Now())
	rc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: who, Time: &at, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:workerGroupSpecs":{}}}`)}}}
	w.foreign[rc.Name] = true
	w.note("%s writes %s: %d replicas", who, rc.Name, *rc.Spec.WorkerGroupSpecs[0].Replicas)
	w.putCluster(rc)
}

// sync writes the manifest: the list is one field, so all of it.
func (w *crewWorld) sync(name string) {
	rc := w.clusters[name].DeepCopy()
	switch n := *w.manifest[name].Replicas; n {
	case *rc.Spec.WorkerGroupSpecs[0].Replicas: // says nothing new
	case w.wrote(rc):
		w.wishes[name] = -1 // capmgr's very number, over somebody's: nobody can tell what is wished for
	default:
		w.wishes[name] = n
	}
	w.others(rc, "argocd-controller", func() { rc.Spec.WorkerGroupSpecs[0] = *ptr.To(w.manifest[name]).DeepCopy() })
}

// heal puts back what differs from the manifests.
func (w *crewWorld) heal() {
	for _, name := range sorted(w.manifest) {
		if *w.clusters[name].Spec.WorkerGroupSpecs[0].Replicas != *w.manifest[name].Replicas {
			w.sync(name)
		}
	}
}

func autoscaledCluster(rc *rayv1.RayCluster) bool { return rc.Spec.EnableInTreeAutoscaling != nil }

// bounds are the user's own: what capmgr lowered counts as it was.
func (w *crewWorld) bounds(name string) *rayv1.WorkerGroupSpec {
	rc := w.clusters[name]
	g := rc.Spec.WorkerGroupSpecs[0].DeepCopy()
	workers, err := ray.WorkersOf(rc)
	if err != nil {
		w.violate("%s: %v", name, err)
		return g
	}
	g.MaxReplicas = ptr.To(int32(workers[0].Ceiling)) //nolint:gosec // small
	return g
}

func (w *crewWorld) deletePod(p *corev1.Pod, why string) {
	if p.DeletionTimestamp != nil {
		return
	}
	w.note("%s is deleted: %s", p.Name, why)
	if p.Spec.NodeName == "" {
		w.dropPod(p)
		return
	}
	p = p.DeepCopy()
	at := metav1.NewTime(time.Now())
	p.DeletionTimestamp = &at
	w.putPod(p)
}

func (w *crewWorld) end(p *corev1.Pod, why string) {
	w.note("%s ends: %s", p.Name, why)
	p = p.DeepCopy()
	p.Status.Phase = corev1.PodFailed
	delete(w.nodes, p.Name)
	w.putPod(p)
}

// tick lets a second pass.
func (w *crewWorld) tick() {
	w.deliver()
	w.kubelets()
	w.programs()
	if w.stubborn {
		w.heal()
	}
	if at := time.Since(epoch); int(at.Seconds())%5 == 0 {
		w.autoscaler()
	}
	if !time.Now().Before(w.down) {
		w.kuberay()
	}
	if at := time.Since(epoch); int(at.Seconds())%3 == 0 || w.dice.isCalm() {
		w.speak()
	}
	w.watchOver()
}

// kubelets bind and start pods, some at once and some never, and end those that were deleted.
func (w *crewWorld) kubelets() {
	for _, p := range slices.Clone(w.pods) {
		switch {
		case p.DeletionTimestamp != nil && time.Since(p.DeletionTimestamp.Time) > 4*time.Second:
			w.dropPod(p)
		case p.Spec.NodeName == "" && p.DeletionTimestamp == nil && (w.dice.isCalm() || w.r.IntN(6) == 0):
			p = p.DeepCopy()
			p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning
			at := metav1.NewTime(time.Now().Truncate(time.Second))
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at}}
			w.putPod(p)
			w.serial++
			w.nodes[p.Name] = &rayNode{id: fmt.Sprintf("%056x", w.serial), since: time.Now()}
		}
	}
}

// programs give work to nodes and take it away, and end nodes that drain and are done.
func (w *crewWorld) programs() {
	for _, p := range slices.Clone(w.pods) {
		n := w.nodes[p.Name]
		if n == nil || p.Labels[ray.GroupLabel] != "w" {
			continue
		}
		switch {
		case n.draining && !n.busy:
			w.end(p, "it was drained")
		case n.busy && w.r.IntN(40) == 0, w.dice.isCalm() && n.busy:
			n.busy, n.since = false, time.Now()
		case !n.busy && !n.draining && w.r.IntN(30) == 0 && !w.dice.isCalm():
			n.busy, n.since = true, time.Now()
		}
	}
}

// autoscaler is Ray's own: every five seconds it writes replicas by index, without looking who else did.
func (w *crewWorld) autoscaler() {
	for _, name := range sorted(w.clusters) {
		rc := w.clusters[name]
		if !autoscaledCluster(rc) {
			continue
		}
		g := rc.Spec.WorkerGroupSpecs[0]
		base := max(*g.Replicas, *g.MinReplicas)
		next := base
		var names []string
		switch w.r.IntN(4) {
		case 0:
			next += int32(w.r.IntN(3)) //nolint:gosec // small
		case 1:
			for _, p := range w.pods {
				n := w.nodes[p.Name]
				if n != nil && !n.busy && p.Labels[ray.ClusterLabel] == name && p.Labels[ray.GroupLabel] == "w" && next > *g.MinReplicas && g.NumOfHosts == 1 {
					names, next = append(names, p.Name), next-1
				}
			}
		}
		next = min(next, *g.MaxReplicas)
		pending := slices.ContainsFunc(w.pods, func(p *corev1.Pod) bool { return slices.Contains(g.ScaleStrategy.WorkersToDelete, p.Name) })
		if w.dice.isCalm() || pending || next == *g.Replicas && len(names) == 0 && len(g.ScaleStrategy.WorkersToDelete) == 0 {
			continue
		}
		rc = rc.DeepCopy()
		rc.Spec.WorkerGroupSpecs[0].Replicas = &next
		rc.Spec.WorkerGroupSpecs[0].ScaleStrategy = rayv1.ScaleStrategy{WorkersToDelete: names}
		w.putCluster(rc)
	}
}

// kuberay is one round of the operator for every cluster.
func (w *crewWorld) kuberay() {
	for _, name := range sorted(w.clusters) {
		rc := w.clusters[name]
		gone, made := w.operator.Reconcile(rc, w.pods, func() int { w.serial++; return w.serial })
		for _, d := range gone {
			k := slices.IndexFunc(w.pods, func(p *corev1.Pod) bool { return p.Name == d.Name })
			if d.Why == model.TooMany && !w.foreign[name] && w.pods[k].DeletionTimestamp == nil {
				w.violate("KubeRay chose %s of %s to be deleted, and only capmgr had written", d.Name, name)
			}
			w.deletePod(w.pods[k], string(d.Why))
		}
		if g := rc.Spec.WorkerGroupSpecs[0]; len(gone)+len(made) == 0 && w.count(rc, true) == int(*g.Replicas*g.NumOfHosts) {
			w.foreign[name] = false // KubeRay is content
		}
		for _, c := range made {
			w.makePod(rc, c)
		}
	}
}

func (w *crewWorld) makePod(rc *rayv1.RayCluster, c model.Creation) {
	w.serial++
	kind := "worker"
	if c.Group == ray.HeadGroup {
		kind = "head"
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: fmt.Sprintf("%s-%s-%d", rc.Name, c.Group, w.serial),
		Labels:          map[string]string{ray.ClusterLabel: rc.Name, ray.GroupLabel: c.Group, ray.NodeTypeLabel: kind},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "ray.io/v1", Kind: "RayCluster", Name: rc.Name, UID: rc.UID, Controller: ptr.To(true)}}},
		Spec: podSpec("1", "1Gi", 0)}
	p.Spec.SchedulerName = "capmgr"
	p.Status.Phase = corev1.PodPending
	if c.Replica != "" {
		p.Labels[ray.ReplicaLabel] = c.Replica
	}
	w.putPod(p)
}
