package fakeaws

import (
	"fmt"
	"net/http"
	"strings"
)

// answer is what an operation has done.
type answer struct {
	// body is written in the service's protocol; nil is an empty answer. EC2's is a []any of named
	// members.
	body any
	// ids are the instances launched or terminated.
	ids      []string
	replayed bool
}

// operation carries a call out. It runs under the world's lock.
type operation func(w *world, p params) (answer, error)

// request is a call on its way through the server.
type request struct {
	service   string
	operation string
	params    params
	seq       int
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	// A parameter list of a hundred instances is a few kilobytes.
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		http.Error(w, fmt.Sprintf("read request: %v", err), http.StatusBadRequest)
		return
	}
	p := newParams(r.Form)
	service, refused := identify(r, p, s.world.cfg.Region)
	req := request{service: service, operation: p["Action"], params: p}
	if service == serviceEKS {
		req.operation = eksOperation(r, p)
	}
	now := s.world.clock.Now()
	req.seq = s.calls.begin(Call{Time: now, Service: service, Operation: req.operation, Params: p.flat()})

	var out answer
	err := refused
	if err == nil {
		out, err = s.carryOut(req)
	}
	s.calls.change(req.seq, func(c *Call) {
		c.Done, c.InstanceIDs, c.Replayed = true, out.ids, out.replayed
		if err != nil {
			api := asAPIError(err)
			c.ErrorCode, c.ErrorMessage = api.code, api.message
		}
	})
	if !s.hold(r, req) {
		return
	}
	// Only what took effect can be lost afterwards; a refusal must not use the fault up.
	if err == nil && s.loses(req) {
		s.cut(w, req)
		return
	}
	writeAnswer(w, req, out, err)
}

// carryOut does what the call asks for, unless a fault refuses it.
func (s *Server) carryOut(req request) (answer, error) {
	w := s.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.faults.strikeCall(req.service, req.operation, w.clock.Now(), Throttle, Refuse); f != nil {
		return answer{}, f.refusalOf(req.service)
	}
	run := operations[req.service][req.operation]
	if run == nil {
		return answer{}, unknownOperation(req)
	}
	return run(w, req.params)
}

func unknownOperation(req request) error {
	if req.service == serviceEKS {
		return &apiError{http.StatusNotFound, "UnknownOperationException", "this server does not know " + req.operation}
	}
	return refuse("InvalidAction", "The action %s is not valid for this web service.", req.operation)
}

// hold keeps a slow answer back. It reports false if the client has gone meanwhile.
func (s *Server) hold(r *http.Request, req request) bool {
	f := s.strike(req, SlowResponse)
	return f == nil || pause(r.Context(), s.world.clock, f.Delay.of()) == nil
}

func (s *Server) loses(req request) bool { return s.strike(req, LostResponse) != nil }

func (s *Server) strike(req request, kind FaultKind) *activeFault {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return s.world.faults.strikeCall(req.service, req.operation, s.world.clock.Now(), kind)
}

// cut ends the connection without a byte of an answer.
func (s *Server) cut(w http.ResponseWriter, req request) {
	s.calls.change(req.seq, func(c *Call) { c.Lost = true })
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// The client must not take this for the answer either.
		http.Error(w, "response lost by a scripted fault", http.StatusBadGateway)
		return
	}
	if err := conn.Close(); err != nil {
		s.world.log.Info("Connection was not cut cleanly", "operation", req.operation, "error", err)
	}
}

func writeAnswer(w http.ResponseWriter, req request, out answer, err error) {
	requestID := fmt.Sprintf("%08d-0000-4000-8000-000000000000", req.seq)
	w.Header().Set("X-Amzn-Requestid", requestID)
	if err != nil {
		writeError(w, req.service, requestID, asAPIError(err))
		return
	}
	switch req.service {
	case serviceEKS:
		writeJSON(w, http.StatusOK, out.body)
	case serviceEC2:
		writeXML(w, http.StatusOK, ec2Answer(req.operation, requestID, out.body))
	default:
		writeXML(w, http.StatusOK, queryAnswer(req.operation, requestID, out.body))
	}
}

// eksOperation names the operation behind a method and a path, and puts the path's parts into p.
func eksOperation(r *http.Request, p params) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.Method == http.MethodGet && parts[0] == "clusters" {
		if len(parts) > 1 {
			p["clusterName"] = parts[1]
		}
		switch {
		case len(parts) == 2:
			return "DescribeCluster"
		case len(parts) == 3 && parts[2] == "node-groups":
			return "ListNodegroups"
		case len(parts) == 4 && parts[2] == "node-groups":
			p["nodegroupName"] = parts[3]
			return "DescribeNodegroup"
		}
	}
	return r.Method + " " + r.URL.Path
}

var operations = map[string]map[string]operation{
	serviceAutoScaling: autoScalingOperations,
	serviceEC2:         ec2Operations,
	serviceEKS:         eksOperations,
}
