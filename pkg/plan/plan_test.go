package plan_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

var (
	train = plan.Owner{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "ml", Name: "train", UID: "u1"}
	serve = plan.Owner{APIVersion: "v1", Kind: "Pod", Namespace: "ml", Name: "serve", UID: "u2"}
	nine  = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
)

func TestStepsReadAsOneLine(t *testing.T) {
	purchase := plan.Purchase{Group: "g5", Count: 4, Token: "t"}
	cases := map[string]struct {
		reason string
		step   plan.Step
		kind   string
		want   string
	}{
		"Book": {"what, for whom, for how much", plan.Book{Gang: train, HourlyCost: 4_624_000,
			Purchases: []plan.Purchase{purchase, {Group: "m5", Count: 1}}}, "Book", "book 4 x g5, 1 x m5 ($4.624/h) for raycluster/ml/train"},
		"Grow":  {"under which intent", plan.GrowNodeGroup{Namespace: "ml", Request: "train-1", Purchase: purchase}, "GrowNodeGroup", "grow g5 by 4 for ml/train-1"},
		"Bind":  {"each pod's node", plan.Bind{Gang: train, Assignments: []plan.Assignment{{Pod: "a", Node: "n1"}, {Pod: "b", Node: "n2"}}}, "Bind", "bind raycluster/ml/train: a to n1, b to n2"},
		"Evict": {"who goes, and why", plan.Evict{Gang: train, Queue: "team-a", Whole: true, Pods: []plan.PodRef{{Name: "a"}, {Name: "b"}}, For: serve, Because: "for pod/ml/serve (queue team-b)"}, "Evict", "evict all of raycluster/ml/train (queue team-a) for pod/ml/serve (queue team-b): a, b"},
		"EvictMembers": {"part of a gang is called so", plan.Evict{Gang: train, Queue: "team-a", Pods: []plan.PodRef{{Name: "b"}}, Because: "for x"}, "Evict",
			"evict members of raycluster/ml/train (queue team-a) for x: b"},
		"Grown": {"how many, and why", plan.Resize{Cluster: train, Group: plan.Group{Name: "gpu"}, From: 2, To: 4, Because: "its queue has room"}, "Resize",
			"resize gpu of raycluster/ml/train from 2 to 4: its queue has room"},
		"Shrunk": {"who goes", plan.Resize{Cluster: train, Group: plan.Group{Name: "gpu"}, From: 2, To: 1, Leavers: []plan.Leaver{{PodRef: plan.PodRef{Name: "a"}}}, Because: "for x"}, "Resize",
			"resize gpu of raycluster/ml/train from 2 to 1 without a: for x"},
		"Cleared": {"nobody else", plan.Resize{Cluster: train, Group: plan.Group{Name: "gpu"}, From: 1, To: 1, Gone: []string{"a", "b"}}, "Resize",
			"clear the names of removed workers of gpu of raycluster/ml/train: a, b"},
		"Adopted": {"nothing of the spec", plan.Resize{Cluster: train, Group: plan.Group{Name: "gpu"}, From: 3, To: 3, Because: "so it is"}, "Resize",
			"take 3 replicas of gpu of raycluster/ml/train for the wish: so it is"},
		"Ceiling": {"how far the autoscaler may go", plan.Ceiling{Cluster: train, Group: plan.Group{Name: "gpu"}, From: 8, To: 2, Because: "its queue has no more"}, "Ceiling",
			"move the ceiling of gpu of raycluster/ml/train from 8 to 2: its queue has no more"},
		"Suspend":   {"why", plan.Suspend{Object: train, Because: "for x"}, "Suspend", "suspend raycluster/ml/train: for x"},
		"Resume":    {"why", plan.Resume{Object: train, Because: "its turn has come"}, "Resume", "resume raycluster/ml/train: its turn has come"},
		"Settle":    {"how far the request has come", plan.Settle{Namespace: "ml", Request: "train-1", State: plan.RequestFailed, Reason: "NodeLost", Message: "1 of 2 instances are gone"}, "Settle", "settle ml/train-1: Failed, NodeLost: 1 of 2 instances are gone"},
		"Terminate": {"by name", plan.TerminateNode{Group: "g5", Instance: "i-1", Node: "n1", Because: "idle for 5m0s"}, "TerminateNode", "terminate i-1 (n1) of g5: idle for 5m0s"},
		"NoNode":    {"an instance that never became a node", plan.TerminateNode{Group: "g5", Instance: "i-1", Because: "late"}, "TerminateNode", "terminate i-1 (no node) of g5: late"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{c.kind, c.want}, []string{c.step.Kind(), c.step.String()}); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestFprintShowsStepsThenVerdicts(t *testing.T) {
	p := &plan.Plan{
		Steps: []plan.Step{plan.TerminateNode{Group: "g5", Instance: "i-1", Node: "n1", Because: "idle for 5m0s"}},
		Verdicts: []*plan.Verdict{
			{Gang: train, Queue: "team-a", Reason: plan.WaitingForNodes, Message: "no room is free; 5 pods wait together",
				Doing: "Buying 4 of g5 for $4.02/h", ETA: nine.Add(4 * time.Minute)},
			{Gang: serve, Reason: plan.QueueNotFound, Message: "it names no queue", Advice: "Set the label"},
		},
	}
	want := `terminate i-1 (n1) of g5: idle for 5m0s
raycluster/ml/train (queue team-a): WaitingForNodes: no room is free; 5 pods wait together. Buying 4 of g5 for $4.02/h (expected at 09:04:00 UTC).
pod/ml/serve (no queue): QueueNotFound: it names no queue. Set the label.
`
	var got strings.Builder
	plan.Fprint(&got, p)
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got.Reset()
	plan.Fprint(&got, &plan.Plan{})
	if got.String() != "nothing to do\n" {
		t.Errorf("an empty plan says so: %q", got.String())
	}
}

func TestJSONKeepsTheKindOfEachStep(t *testing.T) {
	p := &plan.Plan{Rev: 7, Steps: []plan.Step{
		plan.Bind{Gang: train, Queue: "team-a", Assignments: []plan.Assignment{{Namespace: "ml", Pod: "a", UID: "u", Node: "n1"}}},
		plan.Settle{Request: "r", State: plan.RequestReady},
	}, Verdicts: []*plan.Verdict{{Gang: train, Reason: plan.Running, Message: "its pod is bound", Previous: "x", Early: true}}}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rev   uint64
		Steps []struct {
			Kind string
			Step map[string]any
		}
		Verdicts []map[string]any
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.Rev != 7 || len(got.Steps) != 2 || got.Steps[0].Kind != "Bind" || got.Steps[1].Kind != "Settle" || got.Steps[1].Step["state"] != "Ready" {
		t.Errorf("steps are lost: %s", data)
	}
	want := []map[string]any{{"gang": map[string]any{"apiVersion": "ray.io/v1", "kind": "RayCluster", "namespace": "ml", "name": "train", "uid": "u1"},
		"queue": "", "reason": "Running", "message": "its pod is bound"}}
	if diff := cmp.Diff(want, got.Verdicts); diff != "" {
		t.Errorf("a verdict is what users read, without what only the process knows (-want +got):\n%s", diff)
	}
}

// TestVerdictSurvivesStorage: what is written on an owner is read back the same, whatever is in it.
func TestVerdictSurvivesStorage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := plan.Verdict{
			Queue:   rapid.String().Draw(t, "queue"),
			Reason:  plan.Reason(rapid.SampledFrom([]string{"Running", "NoNodeFits", "BackingOff"}).Draw(t, "reason")),
			Message: rapid.String().Draw(t, "message"),
			Doing:   rapid.String().Draw(t, "doing"),
			Advice:  rapid.String().Draw(t, "advice"),
		}
		if seconds := rapid.Int64Range(0, 1<<32).Draw(t, "eta"); seconds > 0 {
			v.ETA = time.Unix(seconds, 0).UTC()
		}
		got, err := plan.ParseVerdict(v.Text())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		if got.Text() != v.Text() {
			t.Fatalf("written again it reads otherwise: %s, %s", v.Text(), got.Text())
		}
	})
}

func TestPreviousReasonForgivesEdits(t *testing.T) {
	cases := map[string]struct {
		reason   string
		previous string
		want     plan.Reason
	}{
		"None":    {"nothing was written yet", "", ""},
		"Written": {"the reason of what was written", plan.Verdict{Reason: plan.NoNodeFits}.Text(), plan.NoNodeFits},
		"Edited":  {"somebody wrote nonsense: any reason is news", "{", ""},
		"BadTime": {"a time that is none is nonsense too", `{"reason":"Running","eta":"soon"}`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := (plan.Verdict{Previous: c.previous}).PreviousReason(); got != c.want {
				t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
			}
		})
	}
}

func TestPendingIsWorkThatShouldRunAndDoesNot(t *testing.T) {
	for reason, want := range map[plan.Reason]bool{
		plan.Running: false, plan.Suspended: false, plan.WaitingForNodes: true, plan.QueueNotFound: true,
	} {
		if got := (plan.Verdict{Reason: reason}).Pending(); got != want {
			t.Errorf("%s: got %t", reason, got)
		}
	}
}

func TestOwnerIsTheGangsObject(t *testing.T) {
	g := &snapshot.Gang{APIVersion: "ray.io/v1", Kind: "RayCluster", Namespace: "ml", Name: "train", UID: "u1", LastVerdict: "before"}
	want := plan.Verdict{Gang: train, Queue: "team-a", Previous: "before"}
	if diff := cmp.Diff(want, plan.VerdictFor(g, "team-a")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAListKeepsWhatOthersNamed(t *testing.T) {
	r := plan.Resize{OldList: []string{"theirs", "ours-gone", "ours-left"}, Gone: []string{"ours-gone"}}
	named := []plan.Leaver{{PodRef: plan.PodRef{Name: "new"}}, {PodRef: plan.PodRef{Name: "theirs"}}}
	if diff := cmp.Diff([]string{"theirs", "ours-left", "new"}, r.NewList(named)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{}, plan.Resize{OldList: []string{"a"}, Gone: []string{"a"}}.NewList(nil)); diff != "" {
		t.Errorf("a cleared list is empty, not absent (-want +got):\n%s", diff)
	}
}

func TestVerdictsAreToldWhereUsersLook(t *testing.T) {
	ref := func(kind, name, uid string) snapshot.Ref {
		return snapshot.Ref{APIVersion: "ray.io/v1", Kind: kind, Namespace: "ml", Name: name, UID: uid}
	}
	job, cluster, service := ref("RayJob", "j", "j1"), ref("RayCluster", "j-x", "c1"), ref("RayService", "s", "s1")
	cases := map[string]struct {
		reason string
		gang   snapshot.Gang
		want   []plan.Owner
	}{
		"Alone":   {"a RayCluster is its own place", snapshot.Gang{UID: "c1", Cluster: cluster}, nil},
		"Job":     {"a job's verdict is also its cluster's", snapshot.Gang{UID: "j1", Top: job, TellsTop: true, Cluster: cluster}, []plan.Owner{plan.Of(cluster)}},
		"Held":    {"a job that waits has no cluster", snapshot.Gang{UID: "j1", Top: job, TellsTop: true}, nil},
		"Service": {"a service shows what its user waits for", snapshot.Gang{UID: "c1", Top: service, TellsTop: true, Cluster: cluster}, []plan.Owner{plan.Of(service)}},
		"Other":   {"and not what its other cluster says", snapshot.Gang{UID: "c1", Top: service, Cluster: cluster}, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, plan.VerdictFor(&tc.gang, "q").Objects()[1:], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
