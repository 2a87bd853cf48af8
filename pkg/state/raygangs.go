package state

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// rayCluster is the gang of a RayCluster that runs for no RayJob, or nil for one that another
// scheduler serves.
func (b *builder) rayCluster(rc *rayv1.RayCluster, members []*snapshot.Pod) *snapshot.Gang {
	queue := ray.Queue(rc.Labels)
	if len(members) == 0 && queue == "" {
		return nil
	}
	g := gangOf("RayCluster", rc)
	g.Queue, g.Suspended = queue, ray.Suspended(rc)
	g.Ending = rc.DeletionTimestamp != nil
	owner := metav1.Object(rc) // who may be suspended
	if service := b.m.services[controlledBy(rc, "RayService")]; service != nil && service.Namespace == rc.Namespace {
		b.serve(g, rc, service)
		owner = service
	} else {
		g.Suspendable = g.Cluster
		b.idleAfter(g, rc)
	}
	g.Held = g.Suspended && heldByCapmgr(owner.GetAnnotations())
	b.fill(g, rc, members)
	return g
}

// serve adds what a RayService says of one of its clusters. While it is upgraded, its user waits for
// the second; the first is not to be its victim.
func (b *builder) serve(g *snapshot.Gang, rc *rayv1.RayCluster, s *rayv1.RayService) {
	g.Top = refOf("RayService", s)
	active, pending := s.Status.ActiveServiceStatus.RayClusterName, s.Status.PendingServiceStatus.RayClusterName
	g.Serves = rc.Name == active
	g.Surge = rc.Name == pending && active != ""
	g.TellsTop = rc.Name == cmp.Or(pending, active)
	if !g.Surge {
		g.Suspendable = g.Top
	}
}

// rayJob is the gang of a RayJob, from its cluster, or before there is one from the cluster's spec in
// the job; nil where there is nothing to run.
func (b *builder) rayJob(j *rayv1.RayJob, rc *rayv1.RayCluster, members []*snapshot.Pod) *snapshot.Gang {
	over := rayv1.IsJobDeploymentTerminal(j.Status.JobDeploymentStatus)
	queue := ray.Queue(j.Labels)
	if len(members) == 0 && (queue == "" || over && rc == nil) || rc == nil && j.Spec.RayClusterSpec == nil {
		return nil
	}
	g := gangOf("RayJob", j)
	g.Queue, g.Top, g.TellsTop = queue, refOf("RayJob", j), true
	g.Runtime = cmp.Or(expectedRuntime(j.Annotations), time.Duration(ptr.Deref(j.Spec.ActiveDeadlineSeconds, 0))*time.Second)
	g.Ending = j.DeletionTimestamp != nil || rc != nil && rc.DeletionTimestamp != nil
	g.Suspended = j.Spec.Suspend || rc != nil && ray.Suspended(rc)
	g.Starting = slices.Contains(starting, j.Status.JobDeploymentStatus)
	g.Held = j.Spec.Suspend && (heldByCapmgr(j.Annotations) || j.Status.StartTime == nil && j.Annotations[v1alpha1.HoldAnnotation] == v1alpha1.HoldSuspend)
	switch {
	case suspendable(j):
		g.Suspendable = g.Top
		g.Holds = b.m.holds(queue, j.Annotations)
	case over && rc != nil:
		g.Suspendable = clusterRef(rc)
		b.idleAfter(g, rc)
	}
	if j.Status.JobDeploymentStatus == rayv1.JobDeploymentStatusValidationFailed {
		g.Invalid = "KubeRay refuses it: " + j.Status.Message
	}
	if rc == nil {
		rc = &rayv1.RayCluster{ObjectMeta: metav1.ObjectMeta{Namespace: j.Namespace, Labels: j.Labels, Annotations: j.Annotations}, Spec: *j.Spec.RayClusterSpec}
	}
	b.fill(g, rc, members)
	if template := ray.SubmitterTemplate(j); template != nil && !over {
		submitter(g, template)
	}
	finish(g)
	return g
}

// starting are the phases in which KubeRay waits for all replicas of a RayJob's cluster before it submits.
var starting = []rayv1.JobDeploymentStatus{rayv1.JobDeploymentStatusNew, rayv1.JobDeploymentStatusInitializing}

// suspendable says whether KubeRay lets a RayJob be suspended as it is now. One that waits for its turn
// is suspended already.
func suspendable(j *rayv1.RayJob) bool {
	return j.Spec.ShutdownAfterJobFinishes && len(j.Spec.ClusterSelector) == 0 &&
		slices.Contains([]rayv1.JobDeploymentStatus{rayv1.JobDeploymentStatusNew, rayv1.JobDeploymentStatusInitializing,
			rayv1.JobDeploymentStatusRunning, rayv1.JobDeploymentStatusSuspended}, j.Status.JobDeploymentStatus)
}

// heldByCapmgr says whether a suspension is capmgr's own, and to be ended by it.
func heldByCapmgr(annotations map[string]string) bool {
	mode := snapshot.Suspension(annotations[v1alpha1.SuspensionAnnotation])
	return mode == snapshot.SuspendedUntilGranted || mode == snapshot.SuspendedForOthers
}

// Holds says whether RayJobs of a queue with such annotations wait suspended until they are granted.
func (m *Mirror) Holds(queue string, annotations map[string]string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holds(queue, annotations)
}

func (m *Mirror) holds(queue string, annotations map[string]string) bool {
	hold := annotations[v1alpha1.HoldAnnotation]
	queue = cmp.Or(queue, m.config.DefaultQueue)
	for seen := map[string]bool{}; hold == "" && queue != "" && !seen[queue]; {
		seen[queue] = true
		hold = m.config.Queues[queue].Hold
		q := m.queues[queue]
		if q == nil {
			break
		}
		queue = q.Spec.ParentQueue
	}
	return hold == v1alpha1.HoldSuspend
}

func gangOf(kind string, o metav1.Object) *snapshot.Gang {
	g := &snapshot.Gang{
		ID: gangID(o.GetNamespace(), kind, o.GetName(), string(o.GetUID())), APIVersion: rayv1.GroupVersion.String(), Kind: kind,
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()), Created: o.GetCreationTimestamp().Time,
		LastVerdict: o.GetAnnotations()[v1alpha1.VerdictAnnotation],
	}
	if kind == "RayCluster" {
		g.Cluster = refOf(kind, o)
	}
	return g
}

func refOf(kind string, o metav1.Object) snapshot.Ref {
	return snapshot.Ref{APIVersion: rayv1.GroupVersion.String(), Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}
}

// fill adds to a gang what its RayCluster says, which may be one that does not exist yet.
func (b *builder) fill(g *snapshot.Gang, rc *rayv1.RayCluster, members []*snapshot.Pod) {
	if rc.UID != "" {
		g.Cluster = clusterRef(rc)
	}
	g.Scaler, g.Grace = ray.ScalerOf(rc), grace(rc.Annotations)
	g.Runtime = cmp.Or(g.Runtime, expectedRuntime(rc.Annotations))
	g.Opportunistic = rc.Annotations[v1alpha1.ElasticAnnotation] == v1alpha1.ElasticOpportunistic
	if c := ray.ReadContention(rc.Annotations); c.Open(b.s.Now) {
		g.ContendedUntil, g.ContendedBy = c.Until, c.By
	}
	groups, err := ray.Groups(rc, fit.Requests)
	if err != nil {
		g.Invalid = cmp.Or(g.Invalid, err.Error())
	}
	g.Groups = groups
	for _, p := range members {
		p.Gang = g.ID
	}
	g.Members = members
	b.hear(g, rc)
	for k := range g.Groups {
		b.pattern(g, &g.Groups[k])
	}
	for _, j := range b.submitters(rc) {
		submitter(g, ray.SubmitterTemplate(j))
	}
	var first *corev1.Pod
	finish(g)
	if len(g.Members) > 0 {
		first = b.m.pods[types.UID(g.Members[0].UID)].object
	}
	b.rank(g, rc.Labels, first)
	if g.Surge { // it borrows for as long as both clusters are there: the quota is the other's
		g.NonPreemptible = false
	}
	for _, p := range g.Members {
		if !p.Terminating && (g.Suspended || named(g, p)) { // KubeRay will delete it
			p.Terminating, p.Lingers = true, p.Node != ""
		}
	}
	anyZone(g, rc.Annotations)
}

// named says whether the spec of its RayCluster has KubeRay delete a worker, with the other hosts of its
// replica.
func named(g *snapshot.Gang, p *snapshot.Pod) bool {
	k := slices.IndexFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Name == p.Group })
	if k < 0 || g.Groups[k].Workers == nil || len(g.Groups[k].Workers.ToDelete) == 0 {
		return false
	}
	list := g.Groups[k].Workers.ToDelete
	return slices.Contains(list, p.Name) || p.Unit != "" && slices.ContainsFunc(g.Members, func(o *snapshot.Pod) bool {
		return o.Unit == p.Unit && o.Group == p.Group && slices.Contains(list, o.Name)
	})
}

// submitters are the RayJobs that will submit, or do, to a RayCluster that is not theirs.
func (b *builder) submitters(rc *rayv1.RayCluster) (jobs []*rayv1.RayJob) {
	for uid := range b.m.selecting[types.NamespacedName{Namespace: rc.Namespace, Name: rc.Name}] {
		j := b.m.rayJobs[uid]
		if j != nil && rc.UID != "" && !rayv1.IsJobDeploymentTerminal(j.Status.JobDeploymentStatus) && ray.SubmitterTemplate(j) != nil {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(x, y *rayv1.RayJob) int { return cmp.Compare(x.UID, y.UID) })
	return jobs
}

// submitter adds to a gang the pod that will submit a job to it. It comes when the cluster is ready:
// it is outside the minimum, and given up only with all the rest.
func submitter(g *snapshot.Gang, template *corev1.Pod) {
	k := slices.IndexFunc(g.Groups, func(grp snapshot.Group) bool { return grp.Name == ray.SubmitterGroup })
	if k < 0 {
		k = len(g.Groups)
		g.Groups = append(g.Groups, snapshot.Group{Name: ray.SubmitterGroup, Steady: true, Request: fit.Requests(template), Template: patternOf(template, ray.SubmitterGroup)})
	}
	g.Groups[k].Want++
}

// pattern makes the template of a group whole. A pod that exists is the better pattern: it has what
// admission put into it.
func (b *builder) pattern(g *snapshot.Gang, grp *snapshot.Group) {
	object := grp.Template.Object
	for _, p := range g.Members {
		if p.Group == grp.Name {
			object = p.Object.DeepCopy()
			object.Name, object.UID, object.ResourceVersion, object.Spec.NodeName, object.Status = "", "", "", "", corev1.PodStatus{}
			break
		}
	}
	grp.Template = patternOf(object, grp.Name)
}

func patternOf(object *corev1.Pod, group string) *snapshot.Pod {
	class, alone := fit.PodClass(object)
	return &snapshot.Pod{Namespace: object.Namespace, Group: group, Request: fit.Requests(object), Class: class, Alone: alone, Object: object}
}

// finish sorts the members by group and makes the shape.
func finish(g *snapshot.Gang) {
	rank := map[string]int{}
	for i, grp := range g.Groups {
		rank[grp.Name] = i
	}
	slices.SortFunc(g.Members, func(x, y *snapshot.Pod) int {
		return cmp.Or(cmp.Compare(rank[x.Group], rank[y.Group]), x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name))
	})
	for k := range g.Groups {
		if t := g.Groups[k].Template; t != nil {
			t.Gang = g.ID
		}
	}
	shape := shapeOf(g.Groups, g.Members)
	if g.AnyZone {
		shape += anyZoneShape
	}
	g.Shape = shape
}

// idleAfter reads how long a cluster may idle.
func (b *builder) idleAfter(g *snapshot.Gang, rc *rayv1.RayCluster) {
	text := rc.Annotations[v1alpha1.IdleAfterAnnotation]
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		g.Invalid = fmt.Sprintf("annotation %s: %q is not a duration such as 30m", v1alpha1.IdleAfterAnnotation, text)
		return
	}
	g.IdleAfter = d
}
