package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/state"
)

// followEvery is the time between two looks at what another autoscaler was asked for.
const followEvery = time.Second

// delegate is the provider of a group that another autoscaler grows, or nil.
func (e *Executor) delegate(group string) cloud.Delegate {
	g := e.Mirror.GroupOf(group)
	if g == nil {
		return nil
	}
	d, ok := e.Providers[g.Provider].(cloud.Delegate)
	if !ok {
		return nil
	}
	return d
}

// delegates says whether another autoscaler delivers part of a request.
func (e *Executor) delegates(r *v1alpha1.CapacityRequest) bool {
	return slices.ContainsFunc(r.Spec.Nodes, func(n v1alpha1.NodeRequest) bool { return e.delegate(n.NodeGroup) != nil })
}

// settled ends a wait for nodes: a decision has said something final of the request meanwhile.
type settled struct{ by plan.Settle }

// Error says which decision that was.
func (o settled) Error() string { return o.by.String() }

// errUnwanted ends a wait for nodes because another part of the request has failed.
var errUnwanted = errors.New("not waited for any longer: another part of the request failed")

// follow waits until every node has come that was asked for, and notes each that has. It gives up when
// the autoscaler does, or when nobody wants the nodes any more.
func (e *Executor) follow(ctx context.Context, d cloud.Delegate, r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest) ([]string, error) {
	noted := []string{""} // nothing has been, not even that nothing has come
	for {
		came := e.Mirror.Came(r, n.NodeGroup)
		if len(came) >= int(n.Count) {
			return came, nil
		}
		if !slices.Equal(noted, came) && e.noteArrivals(ctx, r, n, came) {
			noted = came
		}
		if now := e.Mirror.Request(r.Namespace, r.Name); now == nil || now.UID != r.UID {
			return came, settled{plan.Settle{Namespace: r.Namespace, Request: r.Name, State: plan.RequestReleased,
				Reason: v1alpha1.ReasonGangGone, Message: "the request is gone"}}
		}
		err := d.Follow(ctx, e.launchRequest(r, n), e.gone(r, n))
		switch {
		case ctx.Err() != nil:
			return came, context.Cause(ctx)
		case errors.Is(err, cloud.ErrUnknownOutcome), errors.Is(err, cloud.ErrThrottled):
			e.Log.V(1).Info("Could not look at what was asked for", "request", r.Name, "nodeGroup", n.NodeGroup, "reason", err.Error())
		case err != nil:
			return came, err
		}
		if !sleep(ctx, followEvery) {
			return came, context.Cause(ctx)
		}
	}
}

// gone lists the pods of a request that are not there any more.
func (e *Executor) gone(r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest) (pods []cloud.Pod) {
	for _, p := range n.Pods {
		if !e.Mirror.Knows(p.UID) {
			pods = append(pods, cloud.Pod{Namespace: r.Namespace, Name: p.Name, UID: string(p.UID)})
		}
	}
	return pods
}

// noteArrivals writes down which nodes have come so far: from then on they are this request's, whatever
// else comes.
func (e *Executor) noteArrivals(ctx context.Context, r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest, came []string) bool {
	err := e.patchStatus(ctx, r, func(st *v1alpha1.CapacityRequestStatus) {
		part := statusOf(st, n.NodeGroup)
		// One that is written down and gone stays: the next decision is to see that it was lost.
		part.Instances = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(part.Instances), came...))))
		part.Message = fmt.Sprintf("%d of %d nodes have come", len(came), n.Count)
	})
	if err != nil {
		e.Log.V(1).Info("Could not write which nodes have come", "request", r.Name, "reason", err.Error())
	}
	return err == nil
}

// statusOf is the part of a status that is about one group; it is made where there is none.
func statusOf(st *v1alpha1.CapacityRequestStatus, group string) *v1alpha1.NodeStatus {
	k := slices.IndexFunc(st.Nodes, func(n v1alpha1.NodeStatus) bool { return n.NodeGroup == group })
	if k < 0 {
		k = len(st.Nodes)
		st.Nodes = append(st.Nodes, v1alpha1.NodeStatus{NodeGroup: group})
	}
	return &st.Nodes[k]
}

// finish writes something final of a request of which another autoscaler delivers a part. What was asked
// for is withdrawn first: a request that is over is never looked at again.
func (e *Executor) finish(ctx context.Context, r *v1alpha1.CapacityRequest, s plan.Settle) {
	e.mu.Lock()
	stop := e.waits[keyOf(r)]
	e.mu.Unlock()
	if stop != nil {
		stop(settled{s}) // and whoever waited concludes it
		return
	}
	e.once(acquiring+keyOf(r), func() { e.conclude(ctx, r, nil, s) })
}

// conclude withdraws what other autoscalers were asked for and writes what a decision said.
func (e *Executor) conclude(ctx context.Context, r *v1alpha1.CapacityRequest, results []launched, s plan.Settle) {
	e.withdraw(ctx, r)
	if ctx.Err() != nil {
		return // the successor decides the same
	}
	e.tellFailure(r, s)
	e.setStatus(ctx, r, func(st *v1alpha1.CapacityRequestStatus) {
		for _, l := range results {
			*statusOf(st, l.group) = e.statusFor(l)
		}
	}, conclusion(r, s)...)
	e.Log.Info("Ended a purchase", "request", r.Name, "state", s.State, "reason", s.Reason)
}

// withdraw takes back what other autoscalers were asked for, until it is taken back.
func (e *Executor) withdraw(ctx context.Context, r *v1alpha1.CapacityRequest) {
	for _, n := range r.Spec.Nodes {
		d := e.delegate(n.NodeGroup)
		if d == nil {
			continue
		}
		for pace := again; ; {
			err := errors.Join(d.Withdraw(ctx, e.launchRequest(r, n)), e.unmark(ctx, d, r, n))
			if err == nil {
				break
			}
			e.Log.Info("Withdrawing a request failed; trying again", "request", r.Name, "nodeGroup", n.NodeGroup, "reason", err.Error())
			if !sleep(ctx, pace.Step()) {
				return
			}
		}
	}
}

// launchRequest is what a provider is told of a part of a request.
func (e *Executor) launchRequest(r *v1alpha1.CapacityRequest, n v1alpha1.NodeRequest) cloud.LaunchRequest {
	out := cloud.LaunchRequest{Count: int(n.Count), Zone: n.Zone, Token: n.ClientToken, Intent: keyOf(r)}
	if g := e.Mirror.GroupOf(n.NodeGroup); g != nil {
		out.Group = state.GroupConfig(*g)
	}
	if out.Group.Delegation != nil {
		out.IntentUID = string(r.UID)
		for _, p := range n.Pods {
			out.Pods = append(out.Pods, cloud.Pod{Namespace: r.Namespace, Name: p.Name, UID: string(p.UID)})
		}
	}
	return out
}

func keyOf(r *v1alpha1.CapacityRequest) string { return r.Namespace + "/" + r.Name }
