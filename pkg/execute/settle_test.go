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

// The answer to a booking is lost, and nobody knows whether it was written: until that is known, and in the
// plan that did not know it, nothing more is booked. Every later decision counts it.
func TestABookingWithoutAnAnswerIsLookedFor(t *testing.T) {
	e, c := world(t, &stub{comes: 2})
	e.Client = interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := c.Create(ctx, o, opts...); err != nil {
				return err
			}
			return apierrors.NewServiceUnavailable("the answer is lost")
		}})
	other := train
	other.Name, other.UID = "other", "v"
	p := purchase(train, "team-a", 2)
	p.Steps = append(p.Steps, plan.Book{Gang: other, Queue: "team-a", Request: "y", Attempt: 1, Purchases: []plan.Purchase{{Group: "g5-a", Count: 2, Token: "t"}}})
	if err := e.Execute(t.Context(), p); err == nil {
		t.Error("a booking without an answer is an error")
	}
	written := func(name string) bool {
		return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &v1alpha1.CapacityRequest{}) == nil
	}
	if !written("x") || written("y") {
		t.Errorf("first %v, second %v: what is not known to be booked does not count for the second", written("x"), written("y"))
	}
	if err := e.Execute(t.Context(), &plan.Plan{}); err != nil {
		t.Fatal(err)
	}
	if bookings := e.Mirror.Snapshot(noon).Bookings; len(bookings) != 1 {
		t.Errorf("the next decision knows of %d bookings, want the one", len(bookings))
	}
	e.Wait()
}
