// Package fakedashboard plays the dashboards of all Ray heads at once. It is an HTTP proxy: a KubeRay
// operator that is told to use it asks it instead of the head that it means.
package fakedashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is the dashboards. Jobs are known by the name of their RayJob, which is how their IDs begin.
type Server struct {
	URL string // of the proxy

	server *http.Server

	mu     sync.Mutex
	jobs   map[string]string // by the beginning of the ID: Ray's status
	asked  map[string]int    // requests by what they are: "submit", "stop"
	served map[string]bool   // hosts of heads that were given an application
}

// Start begins to serve on a free port. Stop it.
func Start(ctx context.Context) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the dashboards: %w", err)
	}
	s := &Server{URL: "http://" + l.Addr().String(), jobs: map[string]string{}, asked: map[string]int{}, served: map[string]bool{}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }() // says only that it was stopped
	return s, nil
}

// Stop ends the server.
func (s *Server) Stop() error { return s.server.Close() }

// Job sets the status of the job of a RayJob, as Ray spells it: PENDING, RUNNING, SUCCEEDED, FAILED. A
// job that is not set is not there.
func (s *Server) Job(rayJob, status string) {
	s.set(rayJob+"-", status)
}

// Finish lets the job with an ID succeed.
func (s *Server) Finish(id string) { s.set(id, "SUCCEEDED") }

// Fail lets it fail.
func (s *Server) Fail(id string) { s.set(id, "FAILED") }

func (s *Server) set(id, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id] = status
}

// Asked is how often something was asked for: "submit" or "stop".
func (s *Server) Asked(what, rayJob string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what+" "+rayJob]
}

// ServeHTTP answers for whichever head is meant.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, isJob := strings.CutPrefix(r.URL.Path, "/api/jobs/")
	switch {
	case isJob && r.Method == http.MethodPost && path == "":
		s.submit(w, r)
	case isJob && r.Method == http.MethodPost:
		s.note("stop", strings.TrimSuffix(path, "/stop"))
		answer(w, map[string]bool{"stopped": true})
	case isJob && r.Method == http.MethodGet:
		s.show(w, path)
	case r.URL.Path == "/api/serve/applications/" && r.Method == http.MethodPut:
		s.served[r.Host] = true
		answer(w, map[string]any{})
	case r.URL.Path == "/api/serve/applications/":
		s.applications(w, r.Host)
	case r.URL.Path == "/-/healthz":
		_, _ = w.Write([]byte("success"))
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) note(what, id string) {
	for name := range s.jobs {
		if strings.HasPrefix(id, name) {
			s.asked[what+" "+strings.TrimSuffix(name, "-")]++
		}
	}
}

func (s *Server) submit(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ID string `json:"submission_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.jobs[in.ID] = "RUNNING" // what is known of an ID wins over what is known of its beginning
	s.note("submit", in.ID)
	answer(w, map[string]string{"job_id": in.ID, "submission_id": in.ID})
}

func (s *Server) show(w http.ResponseWriter, id string) {
	status, best := "", ""
	for name, is := range s.jobs {
		if strings.HasPrefix(id, name) && len(name) > len(best) {
			status, best = is, name
		}
	}
	if status == "" {
		http.Error(w, "Job "+id+" does not exist", http.StatusNotFound)
		return
	}
	answer(w, map[string]any{"job_id": id, "submission_id": id, "status": status, "message": "played", "entrypoint": "x"})
}

// applications says that whatever was deployed runs.
func (s *Server) applications(w http.ResponseWriter, host string) {
	apps := map[string]any{}
	if s.served[host] {
		apps["app"] = map[string]any{"name": "app", "status": "RUNNING", "deployments": map[string]any{
			"d": map[string]any{"name": "d", "status": "HEALTHY"}}}
	}
	answer(w, map[string]any{"applications": apps})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) //nolint:errchkjson // maps of strings and numbers
}
