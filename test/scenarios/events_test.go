package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/test/model"
)

// teller carries out the events of one story.
type teller struct {
	world *model.World
	start time.Time
	files map[string][]byte
	plan  *plan.Plan // the last one decided

	stolen   int            // pods that another scheduler has bound
	rejected map[string]int // pods that a node's kubelet would not run
}

// event is what one line of a story does. It returns what the line prints.
type event func(t *teller, args []string) (string, error)

// events are the words of a story. Node groups and nodes go by name, everything else as kind/name or
// kind/namespace/name; times are Go durations.
var events = map[string]struct {
	args  int    // the fewest
	usage string // what follows the word
	do    event
}{
	"decide":           {0, ": make the plan, and print it", decide},
	"decide-quietly":   {0, ": make the plan", func(t *teller, args []string) (string, error) { _, err := decide(t, args); return "", err }},
	"apply":            {0, ": carry the last plan out, and print what something had overtaken", apply},
	"run":              {0, ": decide and apply until there is nothing left to do; print all steps and the last verdicts", run},
	"expect":           {2, "GANG REASON: fail unless the last verdict on it has that reason", expect},
	"expect-evictions": {2, "GANG N: fail if it has been evicted more often, in whole or in part", expectEvictions},
	"expect-purchases": {2, "GROUP N: fail if more nodes of it have ever been bought", expectPurchases},
	"expect-victims":   {1, "N: fail if the last plan evicts more pods, and say how many there are", expectVictims},
	"expect-rejected":  {2, "NODE N: fail if its kubelet has rejected more pods, and say how many it did", expectRejected},
	"expect-idle":      {0, ": fail if there is anything to do", expectIdle},
	"show":             {1, "requests|pods|nodes|next: print what there is, or when time alone may change the plan", show},

	"at":    {1, "TIME since the start: move the clock", at},
	"after": {1, "DURATION: move the clock", after},

	"create":  {1, "FILE: put everything of another file of the scenario into the cluster", createFile},
	"delete":  {1, "raycluster/NAME|pod/NAME|queue/NAME: delete it with all that it owns", remove},
	"finish":  {1, "pod/NAME: it has succeeded", finish},
	"scale":   {3, "raycluster/NAME GROUP REPLICAS: write a worker group's replicas", scale},
	"suspend": {1, "raycluster/NAME", suspend(true)},
	"resume":  {1, "raycluster/NAME", suspend(false)},
	"limit":   {3, "QUEUE gpus|cpus N: set a limit", limit},

	"launch":    {2, "GROUP N: instances that nobody of ours asked for", launch},
	"boot":      {2, "GROUP N [memory=QUANTITY] [taint=TAINT]: the oldest N instances become Ready nodes without GPUs", boot},
	"advertise": {1, "NODE...: the device plugin reports the GPUs", advertise},
	"ready":     {2, "GROUP N [...]: boot, then advertise", ready},
	"ready-all": {1, "GROUP: boot and advertise every instance that has no node", readyAll},
	"cordon":    {1, "NODE", cordon(true)},
	"uncordon":  {1, "NODE", cordon(false)},
	"not-ready": {1, "NODE", notReady},
	"node-gone": {1, "NODE: the node, its instance and its pods vanish", nodeGone},

	"refuse":     {2, "GROUP insufficient capacity|quota exceeded|rejected: every launch fails", refuse},
	"deliver":    {3, "GROUP N REASON: N more instances come before it refuses", deliver},
	"accept":     {1, "GROUP: launches succeed again, and the group can be read", accept},
	"unreadable": {2, "GROUP WHY: the cloud does not answer about the group", unreadable},
	"template":   {2, "GROUP VERSION: new instances are of another version of the launch template", template},
	"unlisted":   {2, "GROUP N: the listing does not show the newest N instances", unlisted},

	"reject":   {3, "NODE gpus|all REASON: its kubelet runs none of the pods there that ask for GPUs, or none of ours at all", reject},
	"steal":    {0, ": another scheduler fills every GPU that is free with pods of its own", steal},
	"operator": {1, "stopped|running: whether KubeRay makes and deletes pods", operator},
	"budget":   {2, "NAME N: a disruption budget allows N more evictions", budget},
	"protect":  {2, "pod/NAME|NODE ANNOTATION: it carries the annotation with the value true", protect},

	"restart": {0, ": the manager starts anew and knows only what the cluster and the cloud tell it", restart},
}

func (t *teller) tell(line string) (string, error) {
	words := strings.Fields(line)
	e, ok := events[words[0]]
	if !ok {
		return "", fmt.Errorf("there is no event %q; there are:\n%s", words[0], usage())
	}
	if len(words)-1 < e.args {
		return "", fmt.Errorf("usage: %s %s", words[0], e.usage)
	}
	return e.do(t, words[1:])
}

func usage() string {
	var b strings.Builder
	for _, word := range slices.Sorted(maps.Keys(events)) {
		fmt.Fprintf(&b, "  %s %s\n", word, events[word].usage)
	}
	return b.String()
}

func decide(t *teller, _ []string) (string, error) {
	t.plan = t.world.Decide()
	if again := t.world.Decide(); text(again) != text(t.plan) {
		return "", fmt.Errorf("the same world gave two plans:\n%s\nand\n%s", text(t.plan), text(again))
	}
	return text(t.plan), nil
}

func text(p *plan.Plan) string {
	var b strings.Builder
	plan.Fprint(&b, p)
	return b.String()
}

func apply(t *teller, _ []string) (string, error) {
	if t.plan == nil {
		return "", errors.New("nothing has been decided yet")
	}
	p := t.plan
	t.plan = nil
	err := t.world.Apply(p)
	return strings.Join(append(t.world.Notes(), ""), "\n"), err
}

// run decides and applies until nothing is left to do, and prints all steps and the last verdicts.
func run(t *teller, _ []string) (string, error) {
	var b strings.Builder
	const rounds = 8
	for range rounds {
		p := t.world.Decide()
		if len(p.Steps) == 0 {
			b.WriteString(strings.TrimPrefix(text(p), "nothing to do\n"))
			return b.String(), nil
		}
		for _, s := range p.Steps {
			fmt.Fprintln(&b, s)
		}
		if err := t.world.Apply(p); err != nil {
			return b.String(), err
		}
	}
	return b.String(), fmt.Errorf("there are still steps after %d rounds", rounds)
}

// expectIdle fails unless there is nothing to do, whatever the verdicts say.
func expectIdle(t *teller, _ []string) (string, error) {
	if p := t.world.Decide(); len(p.Steps) > 0 {
		return "", fmt.Errorf("there is something to do:\n%s", text(p))
	}
	return "", nil
}

// expect looks at the verdict on a gang that the world's next decision would give.
func expect(t *teller, args []string) (string, error) {
	for _, v := range t.world.Decide().Verdicts {
		kind, ns, name := object(args[0])
		if strings.ToLower(v.Gang.Kind) == kind && v.Gang.Namespace == ns && v.Gang.Name == name {
			if string(v.Reason) != args[1] {
				return "", fmt.Errorf("%s: %s", args[0], v.Sentence())
			}
			return "", nil
		}
	}
	return "", fmt.Errorf("there is no verdict on %s", args[0])
}

func expectEvictions(t *teller, args []string) (string, error) {
	most, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	kind, ns, name := object(args[0])
	if n := t.world.Evictions[kind+"/"+ns+"/"+name]; n > most {
		return "", fmt.Errorf("%s has been evicted %d times", args[0], n)
	}
	return "", nil
}

func expectPurchases(t *teller, args []string) (string, error) {
	most, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	g := t.world.Groups[args[0]]
	switch {
	case g == nil:
		return "", fmt.Errorf("there is no node group %s", args[0])
	case g.Bought() > most:
		return "", fmt.Errorf("%d nodes of %s have been bought", g.Bought(), args[0])
	}
	return "", nil
}

func expectVictims(t *teller, args []string) (string, error) {
	most, err := strconv.Atoi(args[0])
	if err != nil {
		return "", err
	}
	n := 0
	for _, step := range t.plan.Steps {
		switch s := step.(type) {
		case plan.Evict:
			n += len(s.Pods)
		case plan.Resize:
			for _, l := range s.Leavers {
				if l.Bound {
					n++
				}
			}
		}
	}
	if n > most {
		return "", fmt.Errorf("the plan evicts %d pods", n)
	}
	return fmt.Sprintf("the plan evicts %d pods\n", n), nil
}

// reject fails pods as a kubelet does that does not admit them. Their controllers delete them and make others.
func reject(t *teller, args []string) (string, error) {
	for _, p := range t.world.Pods() {
		if p.Spec.NodeName != args[0] || state.Resident(p) || args[1] == "gpus" && fit.Requests(p).MilliGPU == 0 {
			continue
		}
		if err := t.world.ChangePod(p.Namespace, p.Name, func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: args[2], Message: "Pod was rejected: " + args[2]}
		}); err != nil {
			return "", err
		}
		if err := t.world.DeletePod(p.Namespace, p.Name); err != nil {
			return "", err
		}
		t.rejected[args[0]]++
	}
	return "", nil
}

func expectRejected(t *teller, args []string) (string, error) {
	most, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	n := t.rejected[args[0]]
	if n > most {
		return "", fmt.Errorf("the kubelet of %s has rejected %d pods", args[0], n)
	}
	return fmt.Sprintf("the kubelet of %s has rejected %d pods\n", args[0], n), nil
}

// steal binds a foreign pod to every GPU that no pod holds. One that is on its way out holds its own
// until it is gone, which in this world is at once.
func steal(t *teller, _ []string) (string, error) {
	free := map[string]int64{}
	for _, n := range t.world.Nodes() {
		free[n.Name] = n.Status.Allocatable.Name(v1alpha1.GPUResource, resource.DecimalSI).Value()
	}
	for _, p := range t.world.Pods() {
		free[p.Spec.NodeName] -= fit.Requests(p).MilliGPU / 1000
	}
	for _, node := range slices.Sorted(maps.Keys(free)) {
		for range free[node] {
			t.stolen++
			f := podForm{podAsks: podAsks{asks: asks{GPUs: 1}}, Name: "foreign-" + strconv.Itoa(t.stolen), Scheduler: "default-scheduler", Node: node}
			t.world.PutPod(f.pod())
		}
	}
	return "", nil
}

func operator(t *teller, args []string) (string, error) {
	t.world.KubeRayStopped = args[0] == "stopped"
	t.world.Reconcile()
	return "", nil
}

func budget(t *teller, args []string) (string, error) {
	n, err := strconv.ParseInt(args[1], 10, 32)
	if err != nil {
		return "", err
	}
	return "", t.world.AllowEvictions(namespace, args[0], int32(n))
}

func protect(t *teller, args []string) (string, error) {
	if kind, ns, name := object(args[0]); kind == "pod" {
		return "", t.world.ChangePod(ns, name, func(p *corev1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, args[1], "true") })
	}
	return "", t.world.ChangeNode(args[0], func(n *corev1.Node) { metav1.SetMetaDataAnnotation(&n.ObjectMeta, args[1], "true") })
}

func show(t *teller, args []string) (string, error) {
	var b strings.Builder
	switch args[0] {
	case "requests":
		for _, r := range t.world.Requests() {
			fmt.Fprintf(&b, "%s/%s: attempt %d, %s", r.Namespace, r.Name, r.Spec.Attempt, counts(r))
			for _, c := range r.Status.Conditions {
				if c.Status == "True" && c.Type != v1alpha1.ConditionAccepted {
					fmt.Fprintf(&b, "; %s (%s)", c.Type, c.Reason)
				}
			}
			fmt.Fprintln(&b)
		}
	case "pods":
		for _, p := range t.world.Pods() {
			where := or(p.Spec.NodeName, "waits")
			if p.DeletionTimestamp != nil {
				where += ", leaving"
			}
			fmt.Fprintf(&b, "%s/%s: %s\n", p.Namespace, p.Name, where)
		}
	case "nodes":
		for _, n := range t.world.Nodes() {
			fmt.Fprintln(&b, n.Name)
		}
	case "next":
		p := t.world.Decide()
		if p.NextLook.IsZero() {
			return "only an event can change this\n", nil
		}
		fmt.Fprintf(&b, "next look at %s\n", p.NextLook.Sub(t.start))
	default:
		return "", fmt.Errorf("show knows requests, pods, nodes and next, not %q", args[0])
	}
	return b.String(), nil
}

func counts(r *v1alpha1.CapacityRequest) string {
	var parts []string
	for _, n := range r.Spec.Nodes {
		parts = append(parts, fmt.Sprintf("%d x %s", n.Count, n.NodeGroup))
	}
	return strings.Join(parts, ", ")
}

// at moves the clock to a time since the start of the story.
func at(t *teller, args []string) (string, error) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return "", err
	}
	if now := t.start.Add(d); now.Before(t.world.Now) {
		return "", fmt.Errorf("it is %s already", t.world.Now.Sub(t.start))
	}
	t.world.Advance(t.start.Add(d))
	return "", nil
}

func after(t *teller, args []string) (string, error) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return "", err
	}
	t.world.Advance(t.world.Now.Add(d))
	return "", nil
}

func createFile(t *teller, args []string) (string, error) {
	data, ok := t.files[args[0]]
	if !ok {
		return "", fmt.Errorf("the scenario has no file %s", args[0])
	}
	return "", create(t.world, data)
}

// object splits "kind/name" or "kind/namespace/name".
func object(text string) (kind, ns, name string) {
	parts := strings.Split(text, "/")
	switch len(parts) {
	case 2:
		return parts[0], namespace, parts[1]
	case 3:
		return parts[0], parts[1], parts[2]
	}
	return "", "", text
}

func remove(t *teller, args []string) (string, error) {
	switch kind, ns, name := object(args[0]); kind {
	case "raycluster":
		return "", t.world.DeleteRayCluster(ns, name)
	case "pod":
		return "", t.world.DeletePod(ns, name)
	case "queue":
		return "", t.world.DeleteQueue(name)
	}
	return "", fmt.Errorf("cannot delete %q", args[0])
}

func finish(t *teller, args []string) (string, error) {
	_, ns, name := object(args[0])
	return "", t.world.ChangePod(ns, name, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
}

// scale writes a worker group's replicas, as a user or the Ray autoscaler does.
func scale(t *teller, args []string) (string, error) {
	_, ns, name := object(args[0])
	n, err := strconv.ParseInt(args[2], 10, 32)
	if err != nil {
		return "", err
	}
	found := false
	err = t.world.ChangeRayCluster(ns, name, func(rc *rayv1.RayCluster) {
		for i := range rc.Spec.WorkerGroupSpecs {
			if g := &rc.Spec.WorkerGroupSpecs[i]; g.GroupName == args[1] {
				replicas := int32(n)
				g.Replicas, found = &replicas, true
			}
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("%s has no worker group %s", args[0], args[1])
	}
	return "", err
}

func suspend(is bool) event {
	return func(t *teller, args []string) (string, error) {
		_, ns, name := object(args[0])
		return "", t.world.ChangeRayCluster(ns, name, func(rc *rayv1.RayCluster) { rc.Spec.Suspend = &is })
	}
}

// launch adds instances that nobody of ours asked for: those that ran before the story began.
func launch(t *teller, args []string) (string, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) {
		_, err = g.Launch(t.world.Now, n, "", "")
	})
}

// boot makes nodes that are Ready without their GPUs. "memory=10Gi" and "label=key=value" tell what
// they turn out to be.
func boot(t *teller, args []string) (string, error) {
	_, err := bootNodes(t, args)
	return "", err
}

func bootNodes(t *teller, args []string) ([]string, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, err
	}
	var wrong error
	names, err := t.world.Boot(args[0], n, func(n *corev1.Node) {
		for _, arg := range args[2:] {
			key, value, _ := strings.Cut(arg, "=")
			switch key {
			case "memory":
				q, err := resource.ParseQuantity(value)
				if err != nil {
					wrong = err
				}
				n.Status.Allocatable[corev1.ResourceMemory] = q
			case "taint":
				t, err := taint(value)
				if err != nil {
					wrong = err
				}
				n.Spec.Taints = append(n.Spec.Taints, t)
			default:
				wrong = fmt.Errorf("boot does not know %q", arg)
			}
		}
	})
	return names, errors.Join(err, wrong)
}

func advertise(t *teller, args []string) (string, error) {
	for _, name := range args {
		if err := t.world.Advertise(name); err != nil {
			return "", err
		}
	}
	return "", nil
}

// ready boots nodes and advertises their GPUs.
func ready(t *teller, args []string) (string, error) {
	names, err := bootNodes(t, args)
	if err != nil {
		return "", err
	}
	return advertise(t, names)
}

func readyAll(t *teller, args []string) (string, error) {
	g := t.world.Groups[args[0]]
	if g == nil {
		return "", fmt.Errorf("there is no node group %s", args[0])
	}
	n := 0
	for _, i := range g.Instances {
		if i.Node == "" {
			n++
		}
	}
	return ready(t, []string{args[0], strconv.Itoa(n)})
}

func cordon(is bool) event {
	return func(t *teller, args []string) (string, error) {
		return "", t.world.ChangeNode(args[0], func(n *corev1.Node) { n.Spec.Unschedulable = is })
	}
}

func notReady(t *teller, args []string) (string, error) {
	return "", t.world.ChangeNode(args[0], func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			if n.Status.Conditions[i].Type == corev1.NodeReady {
				n.Status.Conditions[i].Status = corev1.ConditionFalse
			}
		}
	})
}

func nodeGone(t *teller, args []string) (string, error) { return "", t.world.DeleteNode(args[0]) }

// refuse makes every launch of a group fail: "refuse g5 insufficient capacity".
func refuse(t *teller, args []string) (string, error) {
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) { g.Spare, g.Refusal, g.Detail = 0, kindOf(args[1:]), "as the scenario says" })
}

// deliver makes a group give a few more instances before it refuses: "deliver g5 2 insufficient capacity".
func deliver(t *teller, args []string) (string, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) { g.Spare, g.Refusal, g.Detail = n, kindOf(args[2:]), "as the scenario says" })
}

func kindOf(words []string) error {
	all := []error{cloud.ErrInsufficientCapacity, cloud.ErrQuota, cloud.ErrRejected}
	k := slices.IndexFunc(all, func(err error) bool { return err.Error() == strings.Join(words, " ") })
	if k < 0 {
		return fmt.Errorf("%s", strings.Join(words, " "))
	}
	return all[k]
}

func accept(t *teller, args []string) (string, error) {
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) { g.Refusal, g.Unread = nil, nil })
}

// unreadable makes the cloud answer nothing about a group.
func unreadable(t *teller, args []string) (string, error) {
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) { g.Unread = errors.New(strings.Join(args[1:], " ")) })
}

// template gives a group another version of its launch template.
func template(t *teller, args []string) (string, error) {
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) { g.LaunchVersion = args[1] })
}

// unlisted hides the newest instances of a group from its listing, as a lagging describe does.
func unlisted(t *teller, args []string) (string, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return "", err
	}
	return "", t.world.ChangeGroup(args[0], func(g *model.Group) { g.Unlisted = n })
}

func restart(t *teller, _ []string) (string, error) {
	t.world.Restart()
	return "", nil
}

// limit sets a queue's limit of one resource: "limit team-a gpus 4".
func limit(t *teller, args []string) (string, error) {
	n, err := strconv.ParseFloat(args[2], 64)
	if err != nil {
		return "", err
	}
	return "", t.world.LimitQueue(args[0], args[1], n)
}
