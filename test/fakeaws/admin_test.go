package fakeaws

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAdminViews(t *testing.T) {
	h := start(t)
	id := h.mustLaunch("token", 1)[0]
	groups, err := h.admin.Groups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := GroupView{Name: gpuGroup, InstanceType: "g5.xlarge", Zone: "us-east-1a", CapacityType: OnDemand, Max: 8, Desired: 1, Instances: 1, InstanceIDs: []string{id}}
	if diff := cmp.Diff(want, groups[1]); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
	all, err := h.admin.Calls(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	wantCall := Call{Seq: 1, Time: epoch, Service: "autoscaling", Operation: "LaunchInstances", Done: true, InstanceIDs: []string{id},
		Params: map[string][]string{"AutoScalingGroupName": {gpuGroup}, "ClientToken": {"token"}, "RequestedCapacity": {"1"},
			"AvailabilityZones": {"us-east-1a"}, "RetryStrategy": {"none"}}}
	if diff := cmp.Diff([]Call{wantCall}, all); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	h.desired(gpuGroup)
	later, err := h.admin.Calls(t.Context(), 1)
	if err != nil || len(later) != 1 || later[0].Seq != 2 {
		t.Errorf("calls after the first: %+v, %v", later, err)
	}
}

func TestAdminFaults(t *testing.T) {
	h := start(t)
	first := h.inject(Fault{Kind: Throttle, Operation: "SetDesiredCapacity"})
	second := h.inject(Fault{Kind: InsufficientCapacity, Zone: "us-east-1a", Lasts: For(time.Hour)})
	wantCode(t, h.setDesired(gpuGroup, 1), "Throttling")
	got, err := h.admin.Faults(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != first || got[0].Struck != 1 || got[1].ID != second || got[1].Lasts.of() != time.Hour {
		t.Errorf("faults %+v", got)
	}
	if err := h.admin.Clear(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := h.setDesired(gpuGroup, 0); err != nil {
		t.Errorf("throttled by a fault that was cleared: %v", err)
	}
	if err := h.admin.Clear(t.Context(), first); err == nil {
		t.Error("a fault was cleared twice")
	}
	if err := h.admin.Clear(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if got, err := h.admin.Faults(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("faults %+v, %v after all were cleared", got, err)
	}
	for _, bad := range []Fault{{Kind: "none"}, {Kind: SlowResponse}, {Kind: NoGPUs, Group: "none"}} {
		if _, err := h.admin.Inject(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "fault.") {
			t.Errorf("fault %+v gave %v", bad, err)
		}
	}
}

func TestAdminIsStrict(t *testing.T) {
	h := start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/admin/faults", strings.NewReader(`{"kind":"throttle","tymes":1}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d for an unknown field, want 400", resp.StatusCode)
	}
}

// Two faults that limit the same launch: a refusal by one does not use up the room of the other.
func TestTwoLimits(t *testing.T) {
	h := start(t)
	h.inject(Fault{Kind: QuotaExceeded, Allow: 5})
	zone := h.inject(Fault{Kind: InsufficientCapacity, Zone: "us-east-1a", Allow: 2})
	count := func(token string, n int32) int {
		out, err := h.launch(token, n)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, i := range out.Instances {
			got += len(i.InstanceIds)
		}
		return got
	}
	if got := count("first", 4); got != 2 {
		t.Errorf("launched %d, want 2", got)
	}
	if err := h.admin.Clear(t.Context(), zone); err != nil {
		t.Fatal(err)
	}
	if got := count("second", 6); got != 3 {
		t.Errorf("launched %d more, want the 3 that the quota still allows", got)
	}
}
