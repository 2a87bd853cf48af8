package gcs

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
)

// Reason says whether a busy node may refuse to drain.
type Reason string

// The reasons that Ray knows.
const (
	IdleTermination Reason = "IdleTermination" // accepted only by a node that is idle at that instant
	Preemption      Reason = "Preemption"      // accepted always; what runs has until the deadline
)

// DrainRequest asks a node to take no more work. A node that drains and is idle ends itself, so its
// pod must be named for deletion right after, or KubeRay replaces it.
type DrainRequest struct {
	Node     string // demand.Node.ID
	Reason   Reason
	Deadline time.Time // when the caller will end it; zero: none
	Message  string    // for Ray's users
}

// Drained is a node's answer.
type Drained struct {
	Accepted bool
	Message  string // why not
}

// Drain asks a node to drain. A refusal is an answer, not an error.
func (c *Client) Drain(ctx context.Context, r DrainRequest) (Drained, error) {
	in, err := r.wire()
	if err != nil {
		return Drained{}, fmt.Errorf("drain node %q of %s: %w", r.Node, c.target.Name, err)
	}
	reply, err := call(ctx, c, c.api.DrainNode, in)
	if err != nil {
		return Drained{}, fmt.Errorf("drain node %s of %s: %w", r.Node, c.target.Name, err)
	}
	return Drained{Accepted: reply.GetIsAccepted(), Message: reply.GetRejectionReasonMessage()}, nil
}

func (r DrainRequest) wire() (*autoscalerpb.DrainNodeRequest, error) {
	id, err := hex.DecodeString(r.Node)
	if err != nil {
		return nil, fmt.Errorf("the node's ID is not hexadecimal: %w", err)
	}
	// Ray aborts where an ID has another length.
	if len(id) != nodeIDLength {
		return nil, fmt.Errorf("the node's ID has %d bytes, not %d", len(id), nodeIDLength)
	}
	out := &autoscalerpb.DrainNodeRequest{NodeId: id, ReasonMessage: r.Message}
	switch r.Reason {
	case IdleTermination:
		out.Reason = autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_IDLE_TERMINATION
	case Preemption:
		out.Reason = autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION
	default:
		return nil, fmt.Errorf("%q is not a reason", r.Reason)
	}
	if !r.Deadline.IsZero() {
		out.DeadlineTimestampMs = r.Deadline.UnixMilli()
	}
	return out, nil
}

// nodeIDLength is that of every ID of a node in Ray.
const nodeIDLength = 28
