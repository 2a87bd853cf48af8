package execute

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// contended looks whether somebody else wrote a field since capmgr did. The first time, the caller
// writes over it and keeps the record that it is given. The second time capmgr yields: it says who
// it is, and writes nothing until it has been quiet for a while.
func (e *Executor) contended(ctx context.Context, w *workerGroup, gang plan.Owner, g plan.Group, field string, now int, wrote func(ray.GroupRecord) *int) (yield bool, note string, err error) {
	have := w.cluster.GetAnnotations()
	c := ray.ReadContention(have)
	if c.Open(e.Now()) {
		return true, "", nil
	}
	record, err := ray.ReadRecord(have)
	if err != nil {
		return false, "", err
	}
	if last := wrote(record[g.Name]); last == nil || *last == now {
		return false, "", nil
	}
	where := fmt.Sprintf("spec.workerGroupSpecs[%s].%s", g.Name, field)
	c = c.Noticed(writerOf(w.cluster), where, e.Now().UTC())
	if !c.Open(e.Now()) {
		return false, c.String(), nil
	}
	return true, "", e.giveWay(ctx, w, gang, c)
}

// writerOf names who wrote the worker groups last, but for capmgr. The list is one field to the API
// server, so nobody can say which group they meant.
func writerOf(u *unstructured.Unstructured) string {
	var others []metav1.ManagedFieldsEntry
	for _, entry := range u.GetManagedFields() {
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.Raw, &fields) != nil {
			continue
		}
		if _, owns := fields.Spec["f:workerGroupSpecs"]; owns && entry.Manager != string(fieldOwner) {
			others = append(others, entry)
		}
	}
	if len(others) == 0 {
		return "somebody"
	}
	latest := slices.MaxFunc(others, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(a.Time.Compare(b.Time.Time), cmp.Compare(a.Manager, b.Manager))
	})
	return latest.Manager
}

// giveWay records that capmgr leaves a cluster's worker groups alone for a while, and says so.
func (e *Executor) giveWay(ctx context.Context, w *workerGroup, gang plan.Owner, c ray.Contention) error {
	cluster := ownerOf(w.cluster)
	// First the condition, without times, which would make it another one each time: while it is not
	// there, nobody could see why nothing is written.
	if err := e.setContention(ctx, cluster, metav1.ConditionTrue, "AnotherWriter", fmt.Sprintf("%s also writes %s", c.By, c.Field)); err != nil {
		return err
	}
	var p patch
	p.test("/metadata/uid", cluster.UID)
	p.annotate(w.cluster.GetAnnotations(), map[string]string{v1alpha1.ContentionAnnotation: c.String()})
	if err := e.writeGroup(ctx, w, p); err != nil {
		return fmt.Errorf("give way to %s on %s: %w", c.By, cluster, err)
	}
	text := fmt.Sprintf("%s keeps writing %s over what capmgr writes; capmgr leaves the worker groups alone until %s. Let one of the two own the field: see \"GitOps\" in capmgr's documentation",
		c.By, c.Field, c.Until.UTC().Format("15:04:05 UTC"))
	e.Log.Info("Gave way to another writer of worker groups", "cluster", cluster.String(), "writer", c.By, "field", c.Field, "until", c.Until)
	e.event(cluster, "Warning", v1alpha1.ConditionFieldContention, text)
	if gang.UID != cluster.UID {
		e.event(gang, "Warning", v1alpha1.ConditionFieldContention, text)
	}
	return nil
}

// setContention sets the condition on a RayCluster.
func (e *Executor) setContention(ctx context.Context, cluster plan.Owner, status metav1.ConditionStatus, reason, message string) error {
	return e.setCondition(ctx, cluster, fieldOwner, metav1.Condition{Type: v1alpha1.ConditionFieldContention, Status: status, Reason: reason, Message: message})
}

// forgive takes the record of a contest off clusters where it has been quiet for long enough.
func (e *Executor) forgive(ctx context.Context) {
	for _, o := range e.Mirror.QuietContentions(e.Now()) {
		cluster := plan.Of(o)
		e.once("workers "+cluster.UID+"/", func() {
			if err := e.forgiveNow(ctx, cluster); err != nil && ctx.Err() == nil {
				e.Log.V(1).Info("Could not end the record of a contest", "cluster", cluster.String(), "reason", err.Error())
			}
		})
	}
}

func (e *Executor) forgiveNow(ctx context.Context, cluster plan.Owner) error {
	u, err := e.read(ctx, cluster)
	if err != nil {
		return err
	}
	have := u.GetAnnotations()
	if c := ray.ReadContention(have); have[v1alpha1.ContentionAnnotation] == "" || !c.Quiet(e.Now()) {
		return nil
	}
	if c := ray.ReadContention(have); c.Trips > 0 || contentionOn(u) {
		if err := e.setContention(ctx, cluster, metav1.ConditionFalse, "Quiet", "nobody else has written the worker groups lately"); err != nil {
			return err
		}
	}
	var p patch
	p.test("/metadata/uid", cluster.UID)
	p.annotate(have, map[string]string{v1alpha1.ContentionAnnotation: ""})
	return e.writeGroup(ctx, &workerGroup{cluster: u}, p)
}

// contentionOn says whether a RayCluster's condition says that capmgr has given way.
func contentionOn(u *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, ok := c.(map[string]any)
		return ok && m["type"] == v1alpha1.ConditionFieldContention && m["status"] == string(metav1.ConditionTrue)
	})
}

func ownerOf(u *unstructured.Unstructured) plan.Owner {
	return plan.Owner{APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(), UID: string(u.GetUID())}
}
