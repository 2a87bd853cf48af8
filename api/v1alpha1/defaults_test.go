package v1alpha1

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// example is the whole of what an operator may write, as in the design.
const example = header + `
schedulerNames: [capmgr, kai-scheduler]
defaultQueue: default-queue
scheduling: {maxVictims: 100, decisionBudget: 500ms}
limits: {maxNodes: 64, maxHourlyCost: "200.00", maxNewNodesPerHour: 40}
defaults: {scaling: {maxGPUs: 0}}
aws: {region: us-east-1, endpoint: "http://127.0.0.1:4566", clusterName: demo}
leaderElection: {namespace: ops, name: capmgr-demo}
observeInterval: 1s
nodeGroups:
- name: g5-xlarge-a
  provider: aws
  aws: {autoScalingGroup: ray-g5-xlarge-us-east-1a}
  hourlyPrice: "1.006"
  zone: us-east-1a
  labels: {nvidia.com/gpu.product: NVIDIA-A10G}
  taints: [{key: nvidia.com/gpu, effect: NoSchedule}]
  startupTaints: [capmgr.io/not-ready]
  minNodes: 0
  maxNodes: 16
  idleAfter: 5m
  expectedBootTime: 4m
  provisionTimeout: 15m
  allowSharedASG: true
- name: g5-12xlarge-a
  provider: aws
  aws: {autoScalingGroup: ray-g5-12xlarge-us-east-1a}
  maxNodes: 2
queues:
  team-a:
    scaling:
      minGPUs: 0
      maxGPUs: 8
      maxNodes: {g5-12xlarge-a: 1}
      maxHourlyCost: "12.00"
      ladder: [g5-xlarge-a, g5-12xlarge-a]
      preferScaleUpFor: 4m
`

func TestTheWebhooksDefaults(t *testing.T) {
	config, err := Decode([]byte(header + "webhook: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&WebhookConfiguration{Port: 9443, Service: "capmgr-webhook"}, config.Webhook); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	config, err := Decode([]byte(group))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		TypeMeta:        metav1.TypeMeta{APIVersion: ConfigurationAPIVersion, Kind: ConfigurationKind},
		SchedulerNames:  []string{"capmgr", "kai-scheduler"},
		LeaderElection:  LeaderElection{Namespace: "capmgr-system", Name: "capmgr"},
		ObserveInterval: duration(10 * time.Second),
		Scheduling:      Scheduling{MaxVictims: ptr(int32(256)), DecisionBudget: duration(time.Second)},
		Ray:             RayConfiguration{AskHeads: ptr(true)},
		NodeGroups: []NodeGroup{{
			Name: "g5-xlarge-a", Provider: ProviderAWS,
			AWS:      &AWSNodeGroup{AutoScalingGroup: "ray-g5-xlarge-us-east-1a"},
			MaxNodes: ptr[int32](16), IdleAfter: duration(5 * time.Minute),
			ExpectedBootTime: duration(4 * time.Minute), ProvisionTimeout: duration(15 * time.Minute),
		}},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	again := config.DeepCopy()
	SetDefaults(again)
	if diff := cmp.Diff(config, again); diff != "" {
		t.Errorf("running twice changed:\n%s", diff)
	}
}

// Zero and absent differ where the difference is money.
func TestAbsentIsNotZero(t *testing.T) {
	config, err := Decode([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Defaults.Scaling; got.MaxGPUs == nil || *got.MaxGPUs != 0 || got.MaxHourlyCost != nil {
		t.Errorf("defaults.scaling is %+v; want a maxGPUs of zero and no maxHourlyCost", got)
	}
	if config.Queues["team-b"].Scaling != nil {
		t.Error("a queue without bounds of its own has some")
	}
	team := config.Queues["team-a"].Scaling
	if *team.MaxGPUs != 8 || *team.MaxHourlyCost != 12*Dollar {
		t.Errorf("team-a is %+v", team)
	}
	if got := config.NodeGroups[0].HourlyPrice.Micros(); got != 1_006_000 {
		t.Errorf("price is %d micro-dollars", got)
	}
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func ptr[T any](v T) *T { return &v }
