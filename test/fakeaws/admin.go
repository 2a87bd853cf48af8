package fakeaws

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func isAdmin(path string) bool { return path == "/admin" || strings.HasPrefix(path, "/admin/") }

// GroupView is what the administrative endpoint tells of a group.
type GroupView struct {
	Name         string `json:"name"`
	InstanceType string `json:"instanceType"`
	Zone         string `json:"zone"`
	CapacityType string `json:"capacityType"`
	Min          int    `json:"min"`
	Max          int    `json:"max"`
	Desired      int    `json:"desired"`
	// InstanceIDs are the members, those that terminate included.
	InstanceIDs []string `json:"instanceIDs"`
	// Instances counts the members that are pending or in service.
	Instances int `json:"instances"`
}

// GroupChange is what somebody else does to a group.
type GroupChange struct {
	Min     *int `json:"min,omitempty"`
	Max     *int `json:"max,omitempty"`
	Desired *int `json:"desired,omitempty"`
}

// spotNotice is how long before it happens an interruption is told.
const spotNotice = 2 * time.Minute

func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/calls", respond(s.adminCalls))
	mux.HandleFunc("GET /admin/groups", respond(s.adminGroups))
	mux.HandleFunc("POST /admin/groups/{name}", respond(s.adminChangeGroup))
	mux.HandleFunc("GET /admin/instances", respond(s.adminInstances))
	mux.HandleFunc("GET /admin/faults", respond(s.adminFaults))
	mux.HandleFunc("POST /admin/faults", respond(s.adminInject))
	mux.HandleFunc("DELETE /admin/faults", respond(s.adminClear))
	mux.HandleFunc("POST /admin/interrupt", respond(s.adminInterrupt))
	mux.HandleFunc("POST /admin/fail", respond(s.adminFail))
	return mux
}

// respond writes what f returns; every error is the caller's.
func respond(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		body, err := f(r)
		if err != nil {
			message := err.Error()
			var api *apiError
			if errors.As(err, &api) {
				message = api.message
			}
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": message})
			return
		}
		writeJSON(w, http.StatusOK, body)
	}
}

func (s *Server) adminCalls(r *http.Request) (any, error) {
	since := 0
	if text := r.URL.Query().Get("since"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("read since: %w", err)
		}
		since = n
	}
	return s.calls.since(since), nil
}

func (s *Server) adminGroups(*http.Request) (any, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	out := []GroupView{}
	for _, g := range s.world.sortedGroups() {
		view := GroupView{Name: g.cfg.Name, InstanceType: g.cfg.InstanceType, Zone: g.cfg.Zone, CapacityType: g.cfg.CapacityType,
			Min: g.min, Max: g.max, Desired: g.desired, Instances: len(g.alive()), InstanceIDs: []string{}}
		for _, i := range g.members {
			view.InstanceIDs = append(view.InstanceIDs, i.ID)
		}
		out = append(out, view)
	}
	return out, nil
}

func (s *Server) adminInstances(*http.Request) (any, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	out := make([]Instance, 0, len(s.world.history))
	for _, i := range s.world.history {
		out = append(out, i.Instance)
	}
	return out, nil
}

func (s *Server) adminChangeGroup(r *http.Request) (any, error) {
	var change GroupChange
	if err := readBody(r, &change); err != nil {
		return nil, err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	g, err := s.world.group(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.world.changeGroup(g, change)
}

// changeGroup is a change from outside: bounds first, then the size, which must be within them.
func (w *world) changeGroup(g *group, change GroupChange) error {
	lower, upper := g.min, g.max
	if change.Min != nil {
		lower = *change.Min
	}
	if change.Max != nil {
		upper = *change.Max
	}
	if lower < 0 || upper < lower {
		return invalid("min %d and max %d are not bounds", lower, upper)
	}
	g.min, g.max = lower, upper
	desired := min(max(g.desired, lower), upper)
	if change.Desired != nil {
		desired = *change.Desired
	}
	return w.setDesired(g, desired, bySomeoneElse)
}

func (s *Server) adminFaults(*http.Request) (any, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return s.world.faults.all(), nil
}

func (s *Server) adminInject(r *http.Request) (any, error) {
	var f Fault
	if err := readBody(r, &f); err != nil {
		return nil, err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if f.Group != "" && s.world.groups[f.Group] == nil {
		return nil, fmt.Errorf("fault.group: there is no group %q", f.Group)
	}
	return s.world.faults.add(f, s.world.clock.Now())
}

func (s *Server) adminClear(r *http.Request) (any, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	id := r.URL.Query().Get("id")
	removed := s.world.faults.remove(id)
	if id != "" && removed == 0 {
		return nil, fmt.Errorf("there is no fault %q", id)
	}
	return map[string]int{"removed": removed}, nil
}

func (s *Server) adminInterrupt(r *http.Request) (any, error) {
	notice := spotNotice
	if text := r.URL.Query().Get("notice"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("read notice: %w", err)
		}
		notice = d
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return struct{}{}, s.world.interrupt(r.URL.Query().Get("instance"), notice)
}

func (s *Server) adminFail(r *http.Request) (any, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return struct{}{}, s.world.fail(r.URL.Query().Get("instance"))
}

func readBody(r *http.Request, into any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return decodeStrict(data, into)
}
