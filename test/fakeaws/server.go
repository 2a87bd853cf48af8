package fakeaws

import (
	"log/slog"
	"net/http"
)

// Options are what a server works with. The zero value is a server on the wall clock without
// Kubernetes.
type Options struct {
	// Nodes may be nil: instances then never become nodes.
	Nodes Nodes
	// Clock is the wall clock if nil.
	Clock Clock
	// Log is silent if nil.
	Log *slog.Logger
}

// Server is an http.Handler that answers for the three services and, under /admin, for itself.
type Server struct {
	world *world
	calls recorder
	admin http.Handler
}

// New starts a server: the groups' first instances are launched at once. Close ends it.
func New(cfg Config, opts Options) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opts.Clock == nil {
		opts.Clock = RealClock{}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	w, err := newWorld(cfg, opts.Nodes, opts.Clock, opts.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{world: w}
	s.admin = s.adminHandler()
	return s, nil
}

// Close ends booting instances and waits for their node steps. Nodes that joined stay.
func (s *Server) Close() { s.world.close() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isAdmin(r.URL.Path) {
		s.admin.ServeHTTP(w, r)
		return
	}
	s.serveAPI(w, r)
}
