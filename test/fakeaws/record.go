package fakeaws

import (
	"sync"
	"time"
)

// Call is one request to an API and what came of it.
type Call struct {
	Seq       int       `json:"seq"`
	Time      time.Time `json:"time"`
	Service   string    `json:"service"`
	Operation string    `json:"operation"`
	// Params are the parameters by name; a list of strings is one entry, the structures of a list are
	// numbered from one: Filters.1.Name.
	Params map[string][]string `json:"params,omitempty"`
	// Done says that the call has been carried out or refused.
	Done bool `json:"done"`
	// ErrorCode is empty if the call was carried out.
	ErrorCode    string `json:"errorCode,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
	// InstanceIDs are the instances launched or terminated.
	InstanceIDs []string `json:"instanceIDs,omitempty"`
	// Replayed says that a client token was known, so nothing new was done.
	Replayed bool `json:"replayed,omitempty"`
	// Lost says that the answer was thrown away.
	Lost bool `json:"lost,omitempty"`
}

// Param is the first value of a parameter.
func (c Call) Param(name string) string {
	if values := c.Params[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// recorder keeps all calls, in the order of their arrival.
type recorder struct {
	mu    sync.Mutex
	calls []Call
}

func (r *recorder) begin(c Call) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Seq = len(r.calls) + 1
	r.calls = append(r.calls, c)
	return c.Seq
}

func (r *recorder) change(seq int, f func(*Call)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.calls[seq-1])
}

// since copies the calls after the one numbered seq.
func (r *recorder) since(seq int) []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq < 0 || seq > len(r.calls) {
		seq = min(max(seq, 0), len(r.calls))
	}
	return append([]Call{}, r.calls[seq:]...)
}
