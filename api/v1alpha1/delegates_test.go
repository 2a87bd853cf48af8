package v1alpha1

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
)

// requested and signalled are valid groups that other autoscalers grow.
const (
	requested = `
- name: asked
  provider: provisioning-request
  provisioningRequest: {nodeSelector: {node-restriction.kubernetes.io/pool: asked}}
  capacity: {cpu: 3920m, memory: 14162Mi, gpus: 1, pods: 58}
  hourlyPrice: "1.006"
  maxNodes: 8
`
	signalled = `
- name: shown
  provider: signal
  signal: {nodeSelector: {karpenter.sh/nodepool: shown}}
  capacity: {cpu: 8, memory: 30Gi, pods: 58}
  instanceType: m5.2xlarge
  zone: us-east-1a
  labels: {team: a}
  hourlyPrice: "0.384"
  maxNodes: 4
`
	delegated = header + "nodeGroups:" + requested + signalled
)

func TestDelegatedGroups(t *testing.T) {
	config, err := Decode([]byte(delegated))
	if err != nil {
		t.Fatal(err)
	}
	asked, shown := &config.NodeGroups[0], &config.NodeGroups[1]
	if !asked.Delegated() || !shown.Delegated() {
		t.Error("a group that another autoscaler grows is not told as such")
	}
	if got := asked.ProvisioningRequest.ClassName; got != BestEffortAtomicClass {
		t.Errorf("the class is %q by default", got)
	}
	if asked.IdleAfter != nil || asked.ProvisionTimeout.Duration != 15*time.Minute {
		t.Errorf("idleAfter is %v, which is not capmgr's, and provisionTimeout %v", asked.IdleAfter, asked.ProvisionTimeout)
	}
	want := NodeCapacity{CPU: resource.MustParse("8"), Memory: resource.MustParse("30Gi"), Pods: 58}
	if diff := cmp.Diff(want, *shown.Capacity); diff != "" {
		t.Errorf("capacity (-want +got):\n%s", diff)
	}
	if got := shown.NodeSelector(); !cmp.Equal(got, map[string]string{"karpenter.sh/nodepool": "shown"}) {
		t.Errorf("the node selector is %v", got)
	}
}

func TestDelegatedGroupsRefused(t *testing.T) {
	at := func(line string) string { return delegated + "  " + line + "\n" }
	change := func(old, change string) string { return strings.Replace(delegated, old, change, 1) }
	tests := map[string]struct {
		reason string
		in     string
		want   string
	}{
		"NoSelector": {
			reason: "its nodes could not be told from others",
			in:     change("nodeSelector: {node-restriction.kubernetes.io/pool: asked}", "className: x"),
			want:   "nodeGroups[0].provisioningRequest.nodeSelector: required; write the labels that tell the group's nodes from all others",
		},
		"NoBlock": {
			reason: "the provider's own block is required",
			in:     change("  signal: {nodeSelector: {karpenter.sh/nodepool: shown}}\n", ""),
			want:   "nodeGroups[1].signal.nodeSelector: required; write the labels that tell the group's nodes from all others",
		},
		"NoCapacity": {
			reason: "no cloud can be asked",
			in:     change("  capacity: {cpu: 3920m, memory: 14162Mi, gpus: 1, pods: 58}\n", ""),
			want:   "nodeGroups[0].capacity: required; write what one node offers to pods: {cpu: 3920m, memory: 14162Mi, gpus: 1, pods: 58}",
		},
		"TextForAnAmount": {
			reason: "the forms of an amount are shown",
			in:     change("14162Mi", "lots"),
			want:   `nodeGroups[0].capacity.memory: must be an amount such as 4, 3920m or 14162Mi, not the string "lots"`,
		},
		"NoRoom": {
			reason: "a node without room would be bought for nothing",
			in:     change("cpu: 3920m, memory: 14162Mi, gpus: 1, pods: 58", "cpu: 0, memory: 2Pi, gpus: -1"),
			want: "nodeGroups[0].capacity.cpu: must be more than 0 and at most 10k, not 0\n" +
				"nodeGroups[0].capacity.memory: must be more than 0 and at most 1Pi, not 2Pi\n" +
				"nodeGroups[0].capacity.gpus: must be from 0 to 1024, not -1\n" +
				"nodeGroups[0].capacity.pods: must be from 1 to 10000, not 0; write how many pods the kubelet takes",
		},
		"NoPrice": {
			reason: "a price that nobody knows would pass every budget",
			in:     change("  hourlyPrice: \"1.006\"\n", ""),
			want:   "nodeGroups[0].hourlyPrice: required; nobody but you can tell what a node costs; 0 lifts no other bound",
		},
		"CheckCapacity": {
			reason: "nothing would ever come",
			in:     change("provisioningRequest: {", "provisioningRequest: {className: check-capacity.autoscaling.x-k8s.io, "),
			want: "nodeGroups[0].provisioningRequest.className: check-capacity.autoscaling.x-k8s.io asks whether nodes that are there " +
				"have room, and makes none; use best-effort-atomic-scale-up.autoscaling.x-k8s.io",
		},
		"ClassName": {
			reason: "the API server would refuse every request",
			in:     change("provisioningRequest: {", "provisioningRequest: {className: Queued, "),
			want: `nodeGroups[0].provisioningRequest.className: "Queued" cannot be a provisioning class; use lower case letters, ` +
				"digits, '-' and '.', at most 253",
		},
		"LongParameter": {
			reason: "the API server would refuse every request",
			in:     change("provisioningRequest: {", "provisioningRequest: {parameters: {note: "+strings.Repeat("x", 256)+"}, "),
			want:   "nodeGroups[0].provisioningRequest.parameters[note]: must be at most 255 characters, not 256",
		},
		"NotOurs": {
			reason: "minimum, idle time and shared groups are the other autoscaler's matter",
			in:     at("minNodes: 1") + "  idleAfter: 5m\n  allowSharedASG: true\n  aws: {autoScalingGroup: a}\n",
			want: "nodeGroups[1].aws: means something at provider aws only, and this group's is signal; leave it out\n" +
				"nodeGroups[1].minNodes: means something at provider aws only, and this group's is signal; leave it out\n" +
				"nodeGroups[1].idleAfter: means something at provider aws only, and this group's is signal; leave it out\n" +
				"nodeGroups[1].allowSharedASG: means something at provider aws only, and this group's is signal; leave it out",
		},
		"NotTheClouds": {
			reason: "of a group at the cloud, the cloud is asked",
			in:     group + "  capacity: {cpu: 4, memory: 16Gi, pods: 58}\n  instanceType: g5.xlarge\n  signal: {nodeSelector: {a: b}}\n",
			want: "nodeGroups[0].signal: means something at provider signal only, and this group's is aws; leave it out\n" +
				"nodeGroups[0].capacity: means something at provider provisioning-request and signal only, and this group's is aws; leave it out\n" +
				"nodeGroups[0].instanceType: means something at provider provisioning-request and signal only, and this group's is aws; leave it out",
		},
		"SameNodes": {
			reason: "a node belongs to one group",
			in:     change("karpenter.sh/nodepool: shown", "node-restriction.kubernetes.io/pool: asked"),
			want: "nodeGroups[1].signal.nodeSelector: every node of node group asked has these labels as well; " +
				"add one that tells the two groups apart",
		},
		"NodesOfAnother": {
			reason: "a selector that also matches the labels of another group takes its nodes",
			in:     change("node-restriction.kubernetes.io/pool: asked", "team: a"),
			want: "nodeGroups[0].provisioningRequest.nodeSelector: every node of node group shown has these labels as well; " +
				"add one that tells the two groups apart",
		},
		"Contradiction": {
			reason: "a label has one value",
			in:     change("labels: {team: a}", "labels: {karpenter.sh/nodepool: other}"),
			want:   `nodeGroups[1].signal.nodeSelector[karpenter.sh/nodepool]: is "shown" here and "other" in labels; the label is the same`,
		},
		"WarmQueue": {
			reason: "no other autoscaler keeps idle nodes",
			in:     delegated + "queues: {team-a: {scaling: {minGPUs: 1}}}\n",
			want: "queues.team-a.scaling.minGPUs: none of the groups that can be bought from keeps nodes warm: other autoscalers make nodes " +
				"for pods that wait, and remove idle ones; use a group of provider aws, or leave it out",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(tc.in))
			if err == nil {
				t.Fatalf("%s: it is accepted", tc.reason)
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
