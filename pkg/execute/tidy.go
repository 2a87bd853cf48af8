package execute

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tidy deletes records of purchases that nobody reads any more. One that cannot be deleted now is
// tried again after the next decision.
func (e *Executor) tidy(ctx context.Context) {
	for _, r := range e.Mirror.SpentRequests(e.Now()) {
		e.once("tidy "+r.Namespace+"/"+r.Name, func() {
			err := e.Client.Delete(ctx, r.DeepCopy(), client.Preconditions{UID: &r.UID})
			if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
				e.Log.V(1).Info("Could not delete a spent CapacityRequest", "request", r.Name, "reason", err.Error())
			}
		})
	}
}
