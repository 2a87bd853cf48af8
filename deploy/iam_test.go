package deploy_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// statement is one statement of an IAM policy.
type statement struct {
	Sid       string
	Effect    string
	Principal map[string]string
	Action    oneOrMore
	Resource  oneOrMore
	Condition map[string]map[string]oneOrMore
}

// oneOrMore is a string or a list of strings: IAM takes either.
type oneOrMore []string

// UnmarshalJSON reads either form.
func (o *oneOrMore) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(o))
}

func statements(t *testing.T, path string) []statement {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	var policy struct {
		Version   string
		Statement []statement
	}
	if err := decoder.Decode(&policy); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if policy.Version != "2012-10-17" || len(policy.Statement) == 0 {
		t.Fatalf("%s has version %q and %d statements", path, policy.Version, len(policy.Statement))
	}
	return policy.Statement
}

// equals says whether a statement demands that a key has exactly this one value. Only
// the plain operator counts: its forms IfExists and ForAllValues are true of a request
// that lacks the key.
func (s *statement) equals(key, value string) bool {
	return slices.Equal(s.Condition["StringEquals"][key], oneOrMore{value})
}

// confined says whether a statement is held to what carries both tags, either on the
// thing changed or on the thing created.
func (s *statement) confined() bool {
	for _, where := range []string{"aws:ResourceTag/", "aws:RequestTag/"} {
		if s.equals(where+v1alpha1.ClusterTag, "CLUSTER_NAME") && s.equals(where+v1alpha1.ManagedTag, "true") {
			return true
		}
	}
	return false
}

func (s *statement) mutates() bool {
	return slices.ContainsFunc(s.Action, func(action string) bool {
		_, name, _ := strings.Cut(action, ":")
		return !strings.HasPrefix(name, "Describe")
	})
}

// Two statements change something and cannot be confined by tags. Each is confined by
// something else, which is checked.
var untaggable = map[string]struct {
	reason   string
	confined func(*statement) bool
}{
	"FromPublicImages": {
		reason: "images of Amazon's cannot carry our tags; they are only read, and what is created from them is confined",
		confined: func(s *statement) bool {
			reads := func(r string) bool { return strings.HasSuffix(r, ":image/*") || strings.HasSuffix(r, ":snapshot/*") }
			return s.equals("ec2:Owner", "amazon") && !slices.ContainsFunc(s.Resource, func(r string) bool { return !reads(r) })
		},
	},
	"PassTheNodeRoleToEC2": {
		reason: "IAM does not honour tags when a role is passed; it is one role, to one service",
		confined: func(s *statement) bool {
			return s.equals("iam:PassedToService", "ec2.amazonaws.com") &&
				slices.Equal(s.Resource, oneOrMore{"arn:aws:iam::ACCOUNT_ID:role/NODE_ROLE_NAME"})
		},
	},
}

func TestNothingUntaggedMayBeChanged(t *testing.T) {
	left := maps.Clone(untaggable)
	for _, path := range files(t, "-policy.json") {
		if strings.HasSuffix(path, "trust-policy.json") {
			continue
		}
		for _, s := range statements(t, path) {
			if s.Effect != "Allow" {
				t.Errorf("%s: %s has the effect %s", path, s.Sid, s.Effect)
			}
			for _, action := range s.Action {
				if strings.Contains(action, "*") {
					t.Errorf("%s: %s allows %s", path, s.Sid, action)
				}
			}
			if !s.mutates() || s.confined() {
				continue
			}
			exception, known := untaggable[s.Sid]
			if !known || !exception.confined(&s) {
				t.Errorf("%s: %s allows %v on %v with no condition on both tags", path, s.Sid, s.Action, s.Resource)
			}
			delete(left, s.Sid)
		}
	}
	for sid := range left {
		t.Errorf("the exception for %s is not needed any more", sid)
	}
}

// Reading and giving back never include the right to launch: that is a policy of its own.
func TestLaunchingIsApart(t *testing.T) {
	want := map[string][]string{
		"eks/iam/scale-policy.json":  {"autoscaling:TerminateInstanceInAutoScalingGroup", "ec2:CreateTags"},
		"eks/iam/launch-policy.json": {"autoscaling:LaunchInstances", "ec2:CreateFleet", "ec2:CreateTags", "ec2:RunInstances", "iam:PassRole"},
	}
	for path, actions := range want {
		var got []string
		for _, s := range statements(t, path) {
			got = append(got, s.Action...)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, actions) {
			t.Errorf("%s allows %v, want %v", path, got, actions)
		}
	}
	for _, s := range statements(t, "eks/iam/read-policy.json") {
		if s.mutates() {
			t.Errorf("the read policy allows %v", s.Action)
		}
	}
}

// Groups are not among what may be tagged: who could tag a group could make it his.
func TestGroupsCannotBeAdopted(t *testing.T) {
	for _, path := range files(t, "-policy.json") {
		for _, s := range statements(t, path) {
			for _, action := range s.Action {
				if strings.HasPrefix(action, "autoscaling:") && strings.Contains(action, "Tag") {
					t.Errorf("%s: %s allows %s", path, s.Sid, action)
				}
			}
		}
	}
}

func TestOnlyG5IsLaunched(t *testing.T) {
	for _, s := range statements(t, "eks/iam/launch-policy.json") {
		launches := slices.Contains(s.Action, "ec2:RunInstances") &&
			slices.ContainsFunc(s.Resource, func(r string) bool { return strings.Contains(r, ":instance/") })
		if launches && !slices.Equal(s.Condition["StringLike"]["ec2:InstanceType"], oneOrMore{"g5.*"}) {
			t.Errorf("%s launches %v", s.Sid, s.Condition["StringLike"])
		}
	}
}

func TestRoleIsTheManagersOnly(t *testing.T) {
	for _, s := range statements(t, "eks/iam/trust-policy.json") {
		if !s.equals("OIDC_PROVIDER:sub", "system:serviceaccount:capmgr-system:capmgr") || !s.equals("OIDC_PROVIDER:aud", "sts.amazonaws.com") {
			t.Errorf("%s is trusted under %v", s.Sid, s.Condition)
		}
	}
}
