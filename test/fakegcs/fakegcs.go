// Package fakegcs plays the GCS of a Ray head, in the process and without a port of its own: what it answers is
// set by the test, how it drains is Ray's way.
package fakegcs

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/capmgr/capmgr/pkg/ray/gcs/autoscalerpb"
)

// Server is one head.
type Server struct {
	autoscalerpb.UnimplementedAutoscalerStateServiceServer

	listener *bufconn.Listener
	server   *grpc.Server

	mu      sync.Mutex
	reply   *autoscalerpb.GetClusterStatusReply
	token   string
	passive int           // how many more calls are refused
	slow    bool          // calls are not answered
	dead    bool          // connections are refused
	busy    func() bool   // asked at the instant of an idle drain
	calls   int           // of any kind
	dials   int           // that were accepted
	drains  []DrainedNode // that were accepted
}

// DrainedNode is a drain that was accepted.
type DrainedNode = *autoscalerpb.DrainNodeRequest

// Start begins to serve. Stop it.
func Start(opts ...grpc.ServerOption) *Server {
	s := &Server{
		listener: bufconn.Listen(1 << 20),
		reply:    &autoscalerpb.GetClusterStatusReply{},
		busy:     func() bool { return false },
	}
	s.server = grpc.NewServer(append(opts, grpc.UnaryInterceptor(s.gate))...)
	autoscalerpb.RegisterAutoscalerStateServiceServer(s.server, s)
	go func() { _ = s.server.Serve(s.listener) }()
	return s
}

// Stop ends the server and its connections.
func (s *Server) Stop() { s.server.Stop() }

// Dial connects to it, whatever the address.
func (s *Server) Dial(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	dead := s.dead
	if !dead {
		s.dials++
	}
	s.mu.Unlock()
	if dead {
		return nil, errors.New("connection refused")
	}
	return s.listener.DialContext(ctx)
}

// Answer sets what GetClusterStatus says.
func (s *Server) Answer(state *autoscalerpb.ClusterResourceState) {
	s.set(func() { s.reply = &autoscalerpb.GetClusterStatusReply{ClusterResourceState: state} })
}

// RequireToken refuses calls without it.
func (s *Server) RequireToken(token string) { s.set(func() { s.token = token }) }

// BePassive refuses so many calls as a head does that waits to be promoted.
func (s *Server) BePassive(calls int) { s.set(func() { s.passive = calls }) }

// BeSlow leaves calls without an answer.
func (s *Server) BeSlow(slow bool) { s.set(func() { s.slow = slow }) }

// Die refuses new connections and cuts nothing that is open.
func (s *Server) Die(dead bool) { s.set(func() { s.dead = dead }) }

// BusyAtDrain decides what an idle drain meets: a node may be given work between the answer that
// called it idle and the drain.
func (s *Server) BusyAtDrain(busy func() bool) { s.set(func() { s.busy = busy }) }

// Calls is how many calls arrived.
func (s *Server) Calls() int { s.mu.Lock(); defer s.mu.Unlock(); return s.calls }

// Dials is how many connections were opened.
func (s *Server) Dials() int { s.mu.Lock(); defer s.mu.Unlock(); return s.dials }

// Drains are the drains that were accepted.
func (s *Server) Drains() []DrainedNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.drains)
}

func (s *Server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// gate is what stands before every call.
func (s *Server) gate(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	s.mu.Lock()
	s.calls++
	slow, token := s.slow, s.token
	passive := s.passive > 0
	if passive {
		s.passive--
	}
	s.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	switch {
	case token != "" && !slices.Contains(md.Get("authorization"), "Bearer "+token):
		return nil, status.Error(codes.Unauthenticated, "InvalidAuthToken: the token is missing or wrong")
	case slow:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case passive:
		return nil, status.Error(codes.Unavailable, "GCS server is in passive (read-only) mode.")
	}
	return next(ctx, in)
}

// GetClusterStatus answers as it was told.
func (s *Server) GetClusterStatus(context.Context, *autoscalerpb.GetClusterStatusRequest) (*autoscalerpb.GetClusterStatusReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.CloneOf(s.reply), nil
}

// DrainNode accepts a preemption always and an idle termination of idle nodes; the node drains in
// answers from then on. As in Ray, a node that is not there counts as drained.
func (s *Server) DrainNode(_ context.Context, in *autoscalerpb.DrainNodeRequest) (*autoscalerpb.DrainNodeReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.reply.GetClusterResourceState().GetNodeStates() {
		if string(n.GetNodeId()) != string(in.GetNodeId()) {
			continue
		}
		idle := n.GetStatus() == autoscalerpb.NodeStatus_IDLE && !s.busy()
		if in.GetReason() != autoscalerpb.DrainNodeReason_DRAIN_NODE_REASON_PREEMPTION && !idle {
			return &autoscalerpb.DrainNodeReply{RejectionReasonMessage: "The node to be idle terminated is no longer idle."}, nil
		}
		n.Status = autoscalerpb.NodeStatus_DRAINING
		s.drains = append(s.drains, proto.CloneOf(in))
	}
	return &autoscalerpb.DrainNodeReply{IsAccepted: true}, nil
}
