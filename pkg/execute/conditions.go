package execute

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/plan"
)

// setCondition sets a condition on an object of Ray's. KubeRay's own conditions are not touched: they are
// other entries of a list that is a map by type. Each condition of capmgr's has a field manager of its own,
// because what a manager leaves out of its next apply is removed.
func (e *Executor) setCondition(ctx context.Context, o plan.Owner, manager client.FieldOwner, c metav1.Condition) error {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(o.APIVersion)
	u.SetKind(o.Kind)
	u.SetNamespace(o.Namespace)
	u.SetName(o.Name)
	u.Object["status"] = map[string]any{"conditions": []any{map[string]any{
		"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": brief(c.Message),
		"lastTransitionTime": e.Now().UTC().Format("2006-01-02T15:04:05Z"),
	}}}
	err := e.Client.Status().Patch(ctx, u, client.Apply, manager, client.ForceOwnership)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set condition %s of %s: %w", c.Type, o, err)
	}
	return nil
}
