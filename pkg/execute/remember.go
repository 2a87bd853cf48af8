package execute

import (
	"slices"
	"time"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// remember is what the RayCluster shall say of a resize: the user's wish while the number is another, and
// what capmgr wrote.
func (e *Executor) remember(w *workerGroup, s plan.Resize, named []plan.Leaver) (map[string]string, error) {
	list := s.NewList(named)
	return e.note(w, v1alpha1.DesiredReplicasAnnotation, s.Name, s.To, s.Wish, func(g *ray.GroupRecord, now time.Time) {
		if to := s.To; s.From != s.To || len(s.Gone) == 0 {
			g.Replicas = &to
		} // else only names are cleared, whosever the number is
		for _, l := range named {
			g.Named = append(g.Named, l.Name)
		}
		g.Named = slices.DeleteFunc(g.Named, func(name string) bool { return !slices.Contains(list, name) })
		if s.To > s.From || s.Shrinks(named) {
			g.Moved(s.From, s.To, now)
		}
	})
}

// rememberCeiling is what the RayCluster shall say of a ceiling that was moved.
func (e *Executor) rememberCeiling(w *workerGroup, s plan.Ceiling) (map[string]string, error) {
	return e.note(w, v1alpha1.DesiredMaxReplicasAnnotation, s.Name, s.To, s.Own, func(g *ray.GroupRecord, now time.Time) {
		to := s.To
		g.MaxReplicas = &to
		g.Moved(s.From, s.To, now)
	})
}

// note changes the record of one group, and keeps the user's own number while another one is written.
func (e *Executor) note(w *workerGroup, annotation, group string, to, own int, change func(*ray.GroupRecord, time.Time)) (map[string]string, error) {
	have := w.cluster.GetAnnotations()
	record, err := ray.ReadRecord(have)
	if err != nil {
		return nil, err
	}
	wishes, err := ray.ParseCounts(have[annotation])
	if err != nil {
		return nil, err
	}
	delete(wishes, group)
	if to != own {
		wishes[group] = own
	}
	g := record[group]
	change(&g, e.Now().UTC().Truncate(time.Second))
	record[group] = g
	return map[string]string{annotation: ray.FormatCounts(wishes), v1alpha1.WorkersAnnotation: record.String()}, nil
}
