package execute_test

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
)

// A gang's second purchase waits until it is written that the first is over: one gang never has two.
func TestOnePurchaseAtATime(t *testing.T) {
	e, c := world(t, &stub{comes: 2})
	if err := e.Execute(t.Context(), purchase(train, "team-a", 2)); err != nil {
		t.Fatal(err)
	}
	e.Wait()
	away := true
	e.Client = interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if away {
				return apierrors.NewServiceUnavailable("away")
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		}})
	next := plan.Purchase{Group: "g5-a", Count: 2, Token: "another"}
	p := &plan.Plan{Steps: []plan.Step{
		plan.Settle{Namespace: "default", Request: "x", State: plan.RequestFailed, Reason: "NodeLost", Message: "gone"},
		plan.Book{Gang: train, Queue: "team-a", Request: "y", Attempt: 2, Purchases: []plan.Purchase{next}},
		plan.GrowNodeGroup{Namespace: "default", Request: "y", Purchase: next}}}
	requests := func() (n int) {
		list := &v1alpha1.CapacityRequestList{}
		if err := c.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if err := e.Execute(t.Context(), p); err == nil || requests() != 1 {
		t.Errorf("the first could not be ended: error %v, %d requests", err, requests())
	}
	away = false
	if err := e.Execute(t.Context(), p); err != nil || requests() != 2 {
		t.Errorf("the first is over: error %v, %d requests", err, requests())
	}
	e.Wait()
}
