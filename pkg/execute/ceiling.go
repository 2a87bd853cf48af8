package execute

import (
	"context"
	"errors"
	"fmt"
	"math"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// moveCeiling moves maxReplicas of a group whose replicas Ray's autoscaler writes.
func (e *Executor) moveCeiling(ctx context.Context, s plan.Ceiling) {
	e.once("workers "+s.Cluster.UID+"/"+s.Name, func() {
		err := e.moveCeilingNow(ctx, s)
		var overtaken stale
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.As(err, &overtaken), apierrors.IsInvalid(err), apierrors.IsConflict(err), apierrors.IsNotFound(err):
			e.Log.V(1).Info("Left out a ceiling that was overtaken", "cluster", s.Cluster.String(), "group", s.Name, "reason", err.Error())
		default:
			e.Log.Error(err, "Could not move the ceiling of workers", "cluster", s.Cluster.String(), "group", s.Name)
		}
	})
}

func (e *Executor) moveCeilingNow(ctx context.Context, s plan.Ceiling) error {
	w, err := e.readGroup(ctx, s.Cluster, s.Group)
	if err != nil {
		return fmt.Errorf("move the ceiling of %s of %s: %w", s.Name, s.Cluster, err)
	}
	now := math.MaxInt32
	if _, there := w.fields["maxReplicas"]; there {
		now = w.number("maxReplicas")
	}
	if now != s.From {
		return fmt.Errorf("move the ceiling of %s of %s: %w", s.Name, s.Cluster, stalef("maxReplicas is %d by now, not %d", now, s.From))
	}
	yield, contention, err := e.contended(ctx, w, s.Gang, s.Group, "maxReplicas", s.From, func(r ray.GroupRecord) *int { return r.MaxReplicas })
	if yield || err != nil {
		return err
	}
	p := w.guard(s.Group)
	if _, there := w.fields["maxReplicas"]; there {
		p.test(w.path+"/maxReplicas", s.From)
	}
	p.set(w.path+"/maxReplicas", s.To)
	notes, err := e.rememberCeiling(w, s)
	if err != nil {
		return fmt.Errorf("move the ceiling of %s of %s: %w", s.Name, s.Cluster, err)
	}
	if contention != "" {
		notes[v1alpha1.ContentionAnnotation] = contention
	}
	p.annotate(w.cluster.GetAnnotations(), notes)
	if err := e.writeGroup(ctx, w, p); err != nil {
		return fmt.Errorf("move the ceiling of %s of %s: %w", s.Name, s.Cluster, err)
	}
	e.Log.Info("Moved the ceiling of a worker group", "cluster", s.Cluster.String(), "group", s.Name, "from", s.From, "to", s.To, "because", s.Because)
	e.event(s.Cluster, "Normal", "WorkerGroupCeilingMoved",
		fmt.Sprintf("Ray's autoscaler may have %d replicas of worker group %s, not %d: %s", s.To, s.Name, s.From, s.Because))
	return nil
}
