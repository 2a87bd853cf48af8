package fakeaws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodConfig = `
region: us-east-1
clusterName: ray
seed: 7
delays: {launch: 2s, ready: 3s, gpu: 1m30s, terminate: 1s, spread: 500ms}
groups:
- name: g5-xlarge-a
  instanceType: g5.xlarge
  zone: us-east-1a
  max: 4
  capacityType: spot
  tags: {team: a}
  labels: {pool: gpu}
  taints: [{key: nvidia.com/gpu, value: present, effect: NoSchedule}]
  startupTaint: {key: startup-taint.capmgr.io/gpu, effect: NoSchedule}
  delays: {gpu: 5s}
faults:
- {kind: insufficientCapacity, group: g5-xlarge-a, allow: 2, after: 1m, lasts: 10m}
`

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fake.yaml")
	if err := os.WriteFile(path, []byte(goodConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	g := cfg.Groups[0]
	d := g.Delays.over(cfg.Delays)
	if cfg.Seed != 7 || g.CapacityType != Spot || g.StartupTaint == nil || g.Taints[0].Value != "present" || cfg.Faults[0].Allow != 2 ||
		d.GPU.of() != 5*time.Second || d.Launch.of() != 2*time.Second || d.Retry.of() != 0 || cfg.Faults[0].Lasts.of() != 10*time.Minute {
		t.Errorf("configuration %+v, delays %+v", cfg, d)
	}
	if _, err := LoadConfig(path + ".none"); err == nil {
		t.Error("a missing file was read")
	}
}

func TestConfigErrorsNameThePath(t *testing.T) {
	cases := map[string]struct{ old, text, want string }{
		"unknown field":     {"zone: us-east-1a", "zone: us-east-1a\n  colour: red", `groups[0].colour`},
		"unknown delay":     {"gpu: 5s", "gpus: 5s", `groups[0].delays.gpus`},
		"wrong case":        {"region:", "Region:", `Region`},
		"repeated":          {"seed: 7", "seed: 7\nseed: 8", `seed`},
		"bad duration":      {"gpu: 5s", "gpu: soon", `groups[0].delays.gpu`},
		"negative":          {"gpu: 1m30s", "gpu: -1s", `delays.gpu`},
		"number for time":   {"launch: 2s", "launch: 2", `delays.launch`},
		"no region":         {"region: us-east-1", "region: ''", `region: Required`},
		"type":              {"instanceType: g5.xlarge", "instanceType: g9.xlarge", `groups[0].instanceType`},
		"zone":              {"zone: us-east-1a", "zone: eu-west-1a", `groups[0].zone`},
		"market":            {"capacityType: spot", "capacityType: free", `groups[0].capacityType`},
		"bounds":            {"max: 4", "min: 5\n  max: 4", `groups[0].max`},
		"desired":           {"max: 4", "max: 4\n  desired: 9", `groups[0].desired`},
		"name":              {"name: g5-xlarge-a", "name: G5_a", `groups[0].name`},
		"taint":             {"value: present, effect: NoSchedule", "value: present, effect: Never", `groups[0].taints[0].effect`},
		"startup taint":     {"{key: startup-taint.capmgr.io/gpu,", "{", `groups[0].startupTaint.key`},
		"fault kind":        {"kind: insufficientCapacity", "kind: bad", `faults[0].kind`},
		"fault group":       {"group: g5-xlarge-a,", "group: none,", `faults[0].group`},
		"fault time":        {"after: 1m", "after: later", `faults[0].after`},
		"fault of a call":   {"kind: insufficientCapacity, group: g5-xlarge-a, allow: 2", "kind: throttle, zone: us-east-1a", `faults[0].zone`},
		"fault of launches": {"allow: 2", "operation: LaunchInstances", `faults[0].operation`},
		"refusal":           {"kind: insufficientCapacity, group: g5-xlarge-a, allow: 2", "kind: refuse", `faults[0].code`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(goodConfig, c.old) {
				t.Fatalf("%q is not in the good configuration", c.old)
			}
			_, err := ParseConfig([]byte(strings.Replace(goodConfig, c.old, c.text, 1)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error that names %s", err, c.want)
			}
		})
	}
	beforeFaults, _, _ := strings.Cut(goodConfig, "faults:")
	twice := beforeFaults + "- {name: g5-xlarge-a, instanceType: m5.large, zone: us-east-1b, max: 1}\n"
	if _, err := ParseConfig([]byte(twice)); err == nil || !strings.Contains(err.Error(), "groups[1].name") {
		t.Errorf("two groups of one name: %v", err)
	}
}
