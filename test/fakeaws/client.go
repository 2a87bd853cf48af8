package fakeaws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Admin talks to a server's administrative endpoint.
type Admin struct {
	base string
	http *http.Client
}

// NewAdmin returns an Admin for the server at this address, the one that is also the AWS endpoint.
func NewAdmin(address string) *Admin {
	return &Admin{base: strings.TrimRight(address, "/") + "/admin", http: &http.Client{Timeout: 30 * time.Second}}
}

// Calls returns the calls after the one numbered since, oldest first; zero means all.
func (a *Admin) Calls(ctx context.Context, since int) ([]Call, error) {
	var out []Call
	return out, a.do(ctx, http.MethodGet, "/calls?since="+strconv.Itoa(since), nil, &out)
}

// Groups returns all groups, by name.
func (a *Admin) Groups(ctx context.Context) ([]GroupView, error) {
	var out []GroupView
	return out, a.do(ctx, http.MethodGet, "/groups", nil, &out)
}

// Instances returns all instances that ever were, oldest first.
func (a *Admin) Instances(ctx context.Context) ([]Instance, error) {
	var out []Instance
	return out, a.do(ctx, http.MethodGet, "/instances", nil, &out)
}

// Faults returns the scripted faults with how often each has struck.
func (a *Admin) Faults(ctx context.Context) ([]Fault, error) {
	var out []Fault
	return out, a.do(ctx, http.MethodGet, "/faults", nil, &out)
}

// Inject adds a fault and returns its id.
func (a *Admin) Inject(ctx context.Context, f Fault) (string, error) {
	var out Fault
	err := a.do(ctx, http.MethodPost, "/faults", f, &out)
	return out.ID, err
}

// Clear removes the fault with this id, or all faults if id is empty.
func (a *Admin) Clear(ctx context.Context, id string) error {
	return a.do(ctx, http.MethodDelete, "/faults?id="+url.QueryEscape(id), nil, nil)
}

// Interrupt takes a spot instance away after the notice.
func (a *Admin) Interrupt(ctx context.Context, instanceID string, notice time.Duration) error {
	return a.do(ctx, http.MethodPost, "/interrupt?instance="+url.QueryEscape(instanceID)+"&notice="+notice.String(), nil, nil)
}

// Fail breaks an instance at once.
func (a *Admin) Fail(ctx context.Context, instanceID string) error {
	return a.do(ctx, http.MethodPost, "/fail?instance="+url.QueryEscape(instanceID), nil, nil)
}

// ChangeGroup changes a group as somebody else would.
func (a *Admin) ChangeGroup(ctx context.Context, name string, change GroupChange) error {
	return a.do(ctx, http.MethodPost, "/groups/"+url.PathEscape(name), change, nil)
}

func (a *Admin) do(ctx context.Context, method, path string, body, into any) error {
	what := method + " " + path
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s: encode: %w", what, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(payload))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", what, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", what, resp.Status, bytes.TrimSpace(data))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: decode: %w", what, err)
	}
	return nil
}
