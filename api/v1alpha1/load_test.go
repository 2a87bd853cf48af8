package v1alpha1

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// header begins every configuration of these tests.
const header = "apiVersion: config.capmgr.io/v1alpha1\nkind: CapacityManagerConfiguration\n"

// group is a valid node group; lines may be appended to it, indented by two spaces.
const group = header + `nodeGroups:
- name: g5-xlarge-a
  provider: aws
  aws: {autoScalingGroup: ray-g5-xlarge-us-east-1a}
  maxNodes: 16
`

func TestDecodeRefuses(t *testing.T) {
	tests := map[string]struct {
		reason string
		in     string
		want   string
	}{
		"Empty": {
			reason: "an empty file is a mistake, not a configuration of defaults",
			in:     "# nothing\n",
			want:   "the configuration is empty; it must begin with apiVersion: config.capmgr.io/v1alpha1 and kind: CapacityManagerConfiguration",
		},
		"NotAnObject": {
			reason: "one line tells it; missing fields are not listed as well",
			in:     "- a\n",
			want:   "must be an object with the fields apiVersion, aws, defaultQueue, defaults, kind, leaderElection, limits, nodeGroups, observeInterval, queues, ray, schedulerNames, scheduling, webhook, not a list",
		},
		"SecondDocument": {
			reason: "a YAML reader would silently stop at the separator",
			in:     header + "---\n" + header,
			want:   "line 3: a second document begins; a configuration is one document",
		},
		"NoVersion": {
			reason: "both identifying fields are named",
			in:     "limits: {}\n",
			want: "apiVersion: required; write config.capmgr.io/v1alpha1\n" +
				"kind: required; write CapacityManagerConfiguration",
		},
		"OtherVersion": {
			reason: "a file of another version may mean something else by the same fields",
			in:     "apiVersion: config.capmgr.io/v2\nkind: CapacityManagerConfiguration\n",
			want:   `apiVersion: must be config.capmgr.io/v1alpha1, not "config.capmgr.io/v2"`,
		},
		"UnknownFieldNearAnother": {
			reason: "the field that was meant is named, and is not reported as missing as well",
			in:     strings.Replace(group, "maxNodes", "maxNode", 1),
			want:   "nodeGroups[0].maxNode: unknown field; did you mean maxNodes?",
		},
		"UnknownFieldInOtherCase": {
			reason: "fields are matched by case, as the API server does",
			in:     header + "queues: {team-a: {scaling: {maxGpus: 0}}}\n",
			want:   "queues.team-a.scaling.maxGpus: unknown field; did you mean maxGPUs?",
		},
		"UnknownFieldNearNone": {
			reason: "where no name is near, all are listed",
			in:     header + "limits: {colour: red}\n",
			want:   "limits.colour: unknown field; known fields: maxHourlyCost, maxNewNodesPerHour, maxNodes",
		},
		"NoVictims": {
			reason: "a bound that stops all evictions is a mistake",
			in:     header + "scheduling: {maxVictims: 0}\n",
			want:   "scheduling.maxVictims: must be at least 1: with none, no queue ever gets back what it is entitled to",
		},
		"NoSaving": {
			reason: "a move for nothing is work stopped for nothing",
			in:     header + "scheduling: {consolidateAbove: \"0\"}\n",
			want:   "scheduling.consolidateAbove: must be above zero; leave it out where nothing is to be moved to save money",
		},
		"NoTime": {
			reason: "a decision takes time",
			in:     header + "scheduling: {decisionBudget: 0s}\n",
			want:   "scheduling.decisionBudget: must be longer than 0s, not 0s; leave it out for the default",
		},
		"UnknownHold": {
			reason: "there is one way to hold, and one not to",
			in:     header + "queues: {team-a: {hold: gate}}\n",
			want:   `queues.team-a.hold: must be suspend or never, not "gate"; leave it out to inherit`,
		},
		"HalfACertificate": {
			reason: "a client certificate is of three files",
			in:     header + "ray: {tls: {caFile: /ca.pem, certFile: /cert.pem}}\n",
			want:   "ray.tls.keyFile: required; name a PEM file",
		},
		"WebhookPort": {
			reason: "ports end at 65535",
			in:     header + "webhook: {port: 70000}\n",
			want:   "webhook.port: must be a port from 1 to 65535, not 70000",
		},
		"WebhookHost": {
			reason: "the certificate is made for it",
			in:     header + "webhook: {hosts: [\"https://x\"]}\n",
			want:   `webhook.hosts[0]: "https://x" is neither a name nor an address`,
		},
		"DuplicateField": {
			reason: "of two values one would silently not count",
			in:     header + "limits:\n  maxNodes: 1\n  maxNodes: 2\n",
			want:   "limits.maxNodes: duplicate field, on lines 4 and 5; keep one of them",
		},
		"DuplicateQueue": {
			reason: "names with dots are put in brackets",
			in:     header + "queues:\n  team.a: {}\n  team.a: {}\n",
			want:   "queues[team.a]: duplicate field, on lines 4 and 5; keep one of them",
		},
		"NumberInQuotes": {
			reason: "the element of the list is named",
			in:     strings.Replace(group, "16", `"16"`, 1),
			want:   `nodeGroups[0].maxNodes: must be a whole number without quotes, not the string "16"`,
		},
		"FractionOfANode": {
			reason: "counts are whole",
			in:     strings.Replace(group, "16", "1.5", 1),
			want:   "nodeGroups[0].maxNodes: must be a whole number of at most 32 bits, not the number 1.5",
		},
		"HugeNumber": {
			reason: "a number that does not fit is refused, not cut off",
			in:     strings.Replace(group, "16", "99999999999", 1),
			want:   "nodeGroups[0].maxNodes: must be a whole number of at most 32 bits, not the number 99999999999",
		},
		"NumberAsName": {
			reason: "YAML takes digits for a number",
			in:     strings.Replace(group, "g5-xlarge-a", "5", 1),
			want:   "nodeGroups[0].name: must be a string; put it in quotes, not the number 5",
		},
		"YesForTrue": {
			reason: "a string is not a boolean",
			in:     group + "  allowSharedASG: \"yes\"\n",
			want:   `nodeGroups[0].allowSharedASG: must be true or false, not the string "yes"`,
		},
		"ListForObject": {
			reason: "the kind of value is told",
			in:     header + "limits: []\n",
			want:   "limits: must be an object with the fields maxHourlyCost, maxNewNodesPerHour, maxNodes, not a list",
		},
		"ObjectForList": {
			reason: "the kind of value is told",
			in:     header + "nodeGroups: {}\n",
			want:   "nodeGroups: must be a list, not an object",
		},
		"DurationWithoutUnit": {
			reason: "300 could be anything",
			in:     group + "  idleAfter: 300\n",
			want:   "nodeGroups[0].idleAfter: must be a duration with its unit, such as 30s, 5m or 1h30m, not the number 300",
		},
		"DurationInWords": {
			reason: "only Go's units are known",
			in:     group + "  idleAfter: 5 minutes\n",
			want:   `nodeGroups[0].idleAfter: must be a duration with its unit, such as 30s, 5m or 1h30m, not the string "5 minutes"`,
		},
		"IdleAfterZero": {
			reason: "a zero that was written is not taken for the default",
			in:     group + "  idleAfter: 0s\n",
			want:   "nodeGroups[0].idleAfter: must be longer than 0s, not 0s; leave it out for the default",
		},
		"TimeoutBeforeBoot": {
			reason: "every node would be given up before it is up",
			in:     group + "  provisionTimeout: 3m\n",
			want:   "nodeGroups[0].provisionTimeout: must be longer than expectedBootTime, 4m0s; it is 3m0s",
		},
		"PriceWithoutQuotes": {
			reason: "a number may have lost its last digit before it is read",
			in:     group + "  hourlyPrice: 1.006\n",
			want:   `nodeGroups[0].hourlyPrice: must be a decimal number of dollars in quotes, such as "12.50", not 1.006`,
		},
		"PriceWithSign": {
			reason: "the sign is what most people would write",
			in:     group + "  hourlyPrice: $1.006\n",
			want:   `nodeGroups[0].hourlyPrice: must be a plain decimal; write "$1.006" without the dollar sign`,
		},
		"UnknownProvider": {
			reason: "the known ones are named",
			in:     strings.Replace(group, "provider: aws", "provider: gcp", 1),
			want:   `nodeGroups[0].provider: unknown provider "gcp"; known providers: aws, provisioning-request, signal`,
		},
		"NothingButAName": {
			reason: "all that is missing is told at once",
			in:     header + "nodeGroups: [{name: a}]\n",
			want: "nodeGroups[0].provider: required; known providers: aws, provisioning-request, signal\n" +
				"nodeGroups[0].maxNodes: required; write the most nodes that the group may ever have",
		},
		"NoAutoScalingGroup": {
			reason: "the provider's own block is required",
			in:     header + "nodeGroups: [{name: a, provider: aws, maxNodes: 1}]\n",
			want:   "nodeGroups[0].aws.autoScalingGroup: required; name the EC2 Auto Scaling group that the nodes come from",
		},
		"MinAboveMax": {
			reason: "an impossible bound",
			in:     group + "  minNodes: 17\n",
			want:   "nodeGroups[0].minNodes: must be at most maxNodes, 16; it is 17",
		},
		"NegativeMax": {
			reason: "a negative bound",
			in:     strings.Replace(group, "16", "-1", 1),
			want:   "nodeGroups[0].maxNodes: must be 0 or more, not -1; 0 buys nothing",
		},
		"DuplicateGroup": {
			reason: "neither two groups of one name nor two of one Auto Scaling group",
			in: group + `- name: g5-xlarge-a
  provider: aws
  aws: {autoScalingGroup: ray-g5-xlarge-us-east-1a}
  maxNodes: 1
`,
			want: `nodeGroups[1].name: "g5-xlarge-a" is already at nodeGroups[0].name; remove one of them` + "\n" +
				`nodeGroups[1].aws.autoScalingGroup: "ray-g5-xlarge-us-east-1a" is already at nodeGroups[0].aws.autoScalingGroup; remove one of them`,
		},
		"TaintWithoutEffect": {
			reason: "a taint that no pod could be compared with",
			in:     group + "  taints: [{key: nvidia.com/gpu}]\n",
			want:   `nodeGroups[0].taints[0].effect: must be one of NoSchedule, PreferNoSchedule, NoExecute, not ""`,
		},
		"MinNodesAboveClusterLimit": {
			reason: "the groups together cannot keep within the limit",
			in:     group + "  minNodes: 3\nlimits: {maxNodes: 2}\n",
			want:   "limits.maxNodes: 2 is below the 3 minNodes of all node groups; raise it or lower them",
		},
		"MinNodesAboveBudget": {
			reason: "what is always kept costs more than may be spent",
			in:     group + "  minNodes: 3\n  hourlyPrice: \"1.006\"\nlimits: {maxHourlyCost: \"3\"}\n",
			want:   "limits.maxHourlyCost: 3.00 is below the 3.018 that the minNodes of all node groups cost; raise it or lower them",
		},
		"LadderNearName": {
			reason: "a dangling name in a ladder",
			in:     group + "queues: {team-a: {scaling: {ladder: [g5-xlarge-b]}}}\n",
			want:   `queues.team-a.scaling.ladder[0]: there is no node group "g5-xlarge-b"; did you mean g5-xlarge-a?`,
		},
		"LadderFarName": {
			reason: "where no name is near, all are listed",
			in:     group + "defaults: {scaling: {ladder: [p5]}}\n",
			want:   `defaults.scaling.ladder[0]: there is no node group "p5"; configured: g5-xlarge-a`,
		},
		"LadderTwice": {
			reason: "the second rung could never be reached",
			in:     group + "queues: {team-a: {scaling: {ladder: [g5-xlarge-a, g5-xlarge-a]}}}\n",
			want:   `queues.team-a.scaling.ladder[1]: "g5-xlarge-a" is already at queues.team-a.scaling.ladder[0]; remove one of them`,
		},
		"MaxNodesOfNoGroup": {
			reason: "a bound that bounds nothing",
			in:     header + "queues: {team-a: {scaling: {maxGPUs: 0, maxNodes: {g5: 1}}}}\n",
			want:   `queues.team-a.scaling.maxNodes.g5: there is no node group "g5"; no node group is configured`,
		},
		"NegativeGPUs": {
			reason: "both bounds are checked, each for itself",
			in:     group + "queues: {team-a: {scaling: {ladder: [g5-xlarge-a], minGPUs: -1, maxGPUs: -1}}}\n",
			want: "queues.team-a.scaling.minGPUs: must be 0 or more, not -1\n" +
				"queues.team-a.scaling.maxGPUs: must be 0 or more, not -1; leave it out for no bound",
		},
		"MinGPUsByDefault": {
			reason: "It would be bought once for every queue that anybody makes",
			in:     header + "defaults: {scaling: {minGPUs: 1}}\n",
			want:   "defaults.scaling.minGPUs: must be left out here, where it would hold for every queue; set it on the queues that need it",
		},
		"MinGPUsAboveMax": {
			reason: "an impossible bound",
			in:     header + "queues: {team-a: {scaling: {minGPUs: 1, maxGPUs: 0}}}\n",
			want:   "queues.team-a.scaling.minGPUs: must be at most maxGPUs, 0; it is 1",
		},
		"BadQueueName": {
			reason: "no Queue object could have it",
			in:     header + "queues: {Team_A: {}}\n",
			want:   `queues.Team_A: "Team_A" cannot be the name of an object; use lower case letters, digits, '-' and '.', at most 253`,
		},
		"DefaultScheduler": {
			reason: "two schedulers would place the same pods",
			in:     header + "schedulerNames: [default-scheduler]\n",
			want:   "schedulerNames[0]: default-scheduler is kube-scheduler's own name; use another",
		},
		"NoSchedulerName": {
			reason: "a manager that answers to no name does nothing",
			in:     header + "schedulerNames: []\n",
			want:   "schedulerNames: required; leave it out for capmgr, kai-scheduler, or name at least one",
		},
		"EndpointWithoutScheme": {
			reason: "a client would take it for a path",
			in:     header + "aws: {endpoint: \"localhost:4566\"}\n",
			want:   `aws.endpoint: must be an absolute http or https URL such as https://aws.example.com, not "localhost:4566"`,
		},
		"SeveralAtOnce": {
			reason: "shape errors do not hide broken rules elsewhere",
			in:     group + "  idleAfter: soon\n  minNodes: 20\nlimit: {}\nqueues: {team-a: {scaling: {ladder: [nope]}}}\n",
			want: "limit: unknown field; did you mean limits?\n" +
				`nodeGroups[0].idleAfter: must be a duration with its unit, such as 30s, 5m or 1h30m, not the string "soon"` + "\n" +
				"nodeGroups[0].minNodes: must be at most maxNodes, 16; it is 20\n" +
				`queues.team-a.scaling.ladder[0]: there is no node group "nope"; configured: g5-xlarge-a`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			config, err := Decode([]byte(tc.in))
			if err == nil {
				t.Fatalf("Decode accepted it: %s\n%+v", tc.reason, config)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			var invalid *InvalidError
			if !errors.As(err, &invalid) || len(invalid.Errors) == 0 {
				t.Errorf("error is a %T; callers tell findings by *InvalidError", err)
			}
		})
	}
}

func TestDecodeSyntaxError(t *testing.T) {
	_, err := Decode([]byte(header + "limits: {maxNodes: 1\n"))
	if err == nil || !strings.Contains(err.Error(), "line ") {
		t.Errorf("error %v; it must name a line", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "absent.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gave %v; callers must be able to tell", err)
	}

	bad := filepath.Join(dir, "bad.yaml")
	write(t, bad, header+"limits: {maxNodes: -1}\n")
	var invalid *InvalidError
	if _, err := Load(bad); !errors.As(err, &invalid) || !strings.Contains(err.Error(), bad) {
		t.Errorf("a bad file gave %v; it must name the file and wrap the findings", err)
	}

	good := filepath.Join(dir, "good.yaml")
	write(t, good, group)
	config, err := Load(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := config.NodeGroups[0].AWS.AutoScalingGroup; got != "ray-g5-xlarge-us-east-1a" {
		t.Errorf("auto scaling group %q", got)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	tests := map[string]string{
		"Minimal": header,
		"Example": example,
		"JSON":    `{"apiVersion":"config.capmgr.io/v1alpha1","kind":"CapacityManagerConfiguration","limits":{"maxNodes":3}}`,
		"Aliases": header + "queues:\n  a: &a {scaling: {maxGPUs: 0}}\n  b: *a\n",
		"Nulls":   header + "queues:\n  a:\nlimits:\nnodeGroups:\n",
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			first, err := Decode([]byte(in))
			if err != nil {
				t.Fatal(err)
			}
			out, err := yaml.Marshal(first)
			if err != nil {
				t.Fatal(err)
			}
			second, err := Decode(out)
			if err != nil {
				t.Fatalf("does not read its own output: %v\n%s", err, out)
			}
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("changed on the way (-first +second):\n%s", diff)
			}
			if diff := cmp.Diff(first, first.DeepCopy()); diff != "" {
				t.Errorf("the copy differs:\n%s", diff)
			}
		})
	}
}
