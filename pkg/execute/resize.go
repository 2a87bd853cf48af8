package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// resize changes one worker group in the background: those who leave are asked to first, which may
// take until the step's deadline.
func (e *Executor) resize(ctx context.Context, s plan.Resize) {
	e.once("workers "+s.Cluster.UID+"/"+s.Name, func() {
		err := e.resizeNow(ctx, s)
		var overtaken stale
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.As(err, &overtaken), apierrors.IsInvalid(err), apierrors.IsConflict(err), apierrors.IsNotFound(err):
			// A test of the patch failed, or what was read is different: the next decision sees it.
			e.Log.V(1).Info("Left out a change of workers that was overtaken", "cluster", s.Cluster.String(), "group", s.Name, "reason", err.Error())
		default:
			e.Log.Error(err, "Could not change workers", "cluster", s.Cluster.String(), "group", s.Name)
		}
	})
}

// resizeNow looks, asks, looks again and writes.
func (e *Executor) resizeNow(ctx context.Context, s plan.Resize) error {
	if e.unheard(s) {
		return stalef("the head has not been heard yet")
	}
	if _, err := e.resizable(ctx, s, s.Leavers); err != nil {
		return fmt.Errorf("resize %s of %s: %w", s.Name, s.Cluster, err)
	}
	for _, o := range s.For {
		e.Mirror.RememberEviction(o.Gang(), e.Now())
	}
	staying := e.expectToLeave(s)
	defer func() { e.Mirror.AssumeStaying(staying) }()
	named, err := e.askToLeave(ctx, s)
	if err != nil {
		return fmt.Errorf("resize %s of %s: %w", s.Name, s.Cluster, err)
	}
	if s.To < s.From {
		if s.To = s.From - replicasOf(named); s.To == s.From && len(s.Gone) == 0 {
			e.Log.V(1).Info("Nobody left: all were given work again", "cluster", s.Cluster.String(), "group", s.Name)
			return nil
		}
	}
	w, err := e.resizable(ctx, s, named)
	if err != nil {
		return fmt.Errorf("resize %s of %s: %w", s.Name, s.Cluster, err)
	}
	yield, contention := false, ""
	if s.To != s.From { // else nothing of anybody's is written over
		yield, contention, err = e.contended(ctx, w, s.Gang, s.Group, "replicas", s.From, func(r ray.GroupRecord) *int { return r.Replicas })
	}
	if yield || err != nil {
		return err
	}
	p := w.guard(s.Group)
	p.test(w.path+"/replicas", s.From)
	if s.To != s.From {
		p.set(w.path+"/replicas", s.To)
	}
	w.setList(&p, s.NewList(named))
	notes, err := e.remember(w, s, named)
	if err != nil {
		return fmt.Errorf("resize %s of %s: %w", s.Name, s.Cluster, err)
	}
	if contention != "" {
		notes[v1alpha1.ContentionAnnotation] = contention
	}
	p.annotate(w.cluster.GetAnnotations(), notes)
	if err := e.writeGroup(ctx, w, p); err != nil {
		return fmt.Errorf("resize %s of %s: %w", s.Name, s.Cluster, err)
	}
	staying = slices.DeleteFunc(staying, func(uid types.UID) bool {
		return slices.ContainsFunc(named, func(l plan.Leaver) bool { return l.UID == string(uid) })
	})
	e.announceResize(s, named)
	return nil
}

// expectToLeave has the decisions meanwhile count with the room of those who are asked to leave for others,
// and returns them.
func (e *Executor) expectToLeave(s plan.Resize) (leavers []types.UID) {
	if len(s.For) == 0 {
		return nil
	}
	for _, l := range s.Leavers {
		if l.Bound {
			leavers = append(leavers, types.UID(l.UID))
		}
	}
	e.Mirror.AssumeLeaving(leavers)
	return leavers
}

func (e *Executor) announceResize(s plan.Resize, named []plan.Leaver) {
	if s.From == s.To {
		return
	}
	text := fmt.Sprintf("Resized worker group %s from %d to %d: %s", s.Name, s.From, s.To, s.Because)
	var names []string
	for _, l := range named {
		names = append(names, l.Name)
	}
	if len(names) > 0 {
		text += "; leaving: " + strings.Join(names, ", ")
	}
	e.Log.Info("Resized a worker group", "cluster", s.Cluster.String(), "group", s.Name, "from", s.From, "to", s.To, "leaving", names, "because", s.Because)
	e.event(s.Cluster, "Normal", "WorkerGroupResized", text)
}

// resizable reads the group and its pods, and checks all that the step assumes.
func (e *Executor) resizable(ctx context.Context, s plan.Resize, leavers []plan.Leaver) (*workerGroup, error) {
	w, err := e.readGroup(ctx, s.Cluster, s.Group)
	if err != nil {
		return nil, err
	}
	if n := w.number("replicas"); n != s.From {
		return nil, stalef("it has %d replicas by now, not %d", n, s.From)
	}
	if list := w.list(); !slices.Equal(list, s.OldList) {
		return nil, stalef("workersToDelete is %v by now, not %v", list, s.OldList)
	}
	if len(leavers) == 0 && len(s.Gone) == 0 {
		return w, nil
	}
	pods, err := e.podsOf(ctx, s.Cluster)
	if err != nil {
		return nil, err
	}
	for _, name := range s.Gone {
		if pods[name] != nil {
			return nil, stalef("pod %s has not left yet", name)
		}
	}
	return w, checkLeavers(s, leavers, pods)
}

// checkLeavers says why pods cannot be named: KubeRay deletes what it is told to, whoever it belongs
// to, and then makes the number right with pods of its own choice.
func checkLeavers(s plan.Resize, leavers []plan.Leaver, pods map[string]*corev1.Pod) error {
	named := map[string]bool{}
	for _, l := range leavers {
		p := pods[l.Name]
		switch {
		case p == nil || string(p.UID) != l.UID:
			return stalef("pod %s is gone, or no pod of this cluster", l.Name)
		case p.Labels[ray.GroupLabel] != s.Name || p.Labels[ray.NodeTypeLabel] != "worker":
			return stalef("pod %s is no worker of this group", l.Name)
		case !l.Bound && p.Spec.NodeName != "" && p.DeletionTimestamp == nil:
			return stalef("pod %s has got a node", l.Name)
		}
		named[l.Name] = true
	}
	left, running, leaving := 0, 0, 0
	for _, p := range pods {
		if p.Labels[ray.GroupLabel] != s.Name || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		runs := p.Spec.NodeName != "" && p.DeletionTimestamp == nil
		switch {
		case named[p.Name] && runs:
			leaving++
		case runs:
			running++
		}
		if named[p.Name] {
			continue
		}
		left++
		for _, l := range leavers {
			if l.Unit != "" && p.Labels[ray.ReplicaLabel] == l.Unit {
				return stalef("pod %s belongs to the replica %s, and is not named with it", p.Name, l.Unit)
			}
		}
	}
	if leaving > 0 && running < s.Min {
		return stalef("%d pods would go on running, and the gang needs %d", running, s.Min)
	}
	if to := s.From - replicasOf(leavers); len(leavers) > 0 && left > to*s.Hosts {
		return stalef("%d pods would stay, more than %d replicas have: KubeRay would choose who else leaves", left, to)
	}
	return nil
}

// replicasOf counts the replicas that pods are of.
func replicasOf(leavers []plan.Leaver) int {
	units := map[string]bool{}
	for _, l := range leavers {
		units[unitOf(l)] = true
	}
	return len(units)
}

func unitOf(l plan.Leaver) string {
	if l.Unit != "" {
		return "of " + l.Unit
	}
	return l.Name
}
