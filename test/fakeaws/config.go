package fakeaws

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The two ways to pay for an instance.
const (
	OnDemand = "on-demand"
	Spot     = "spot"
)

// Config says which groups exist, how fast their instances boot and what goes wrong.
type Config struct {
	// Region is where everything is; a request signed for another region is refused.
	Region string `json:"region"`
	// ClusterName is the EKS cluster that the managed node groups belong to.
	ClusterName string `json:"clusterName"`
	// ClusterEndpoint is the API server's address that DescribeCluster tells; optional.
	ClusterEndpoint string `json:"clusterEndpoint,omitempty"`
	// Seed makes instance ids, jitter and the choice of victims repeatable.
	Seed   int64         `json:"seed,omitempty"`
	Delays Delays        `json:"delays,omitzero"`
	Groups []GroupConfig `json:"groups"`
	Faults []Fault       `json:"faults,omitempty"`
}

// GroupConfig is one Auto Scaling group: one instance type in one zone, bought in one way.
type GroupConfig struct {
	Name         string `json:"name"`
	InstanceType string `json:"instanceType"`
	Zone         string `json:"zone"`
	Min          int    `json:"min"`
	Max          int    `json:"max"`
	// Desired is how many instances the group starts with; they boot like all others.
	Desired int `json:"desired,omitempty"`
	// CapacityType is on-demand, also when empty, or spot.
	CapacityType string `json:"capacityType,omitempty"`
	// Tags are the group's; all are propagated to its instances.
	Tags   map[string]string `json:"tags,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Taints []corev1.Taint    `json:"taints,omitempty"`
	// StartupTaint is on a new node until its GPUs are advertised.
	StartupTaint *corev1.Taint `json:"startupTaint,omitempty"`
	// EKSNodegroup names the managed node group that owns this group, if one does.
	EKSNodegroup string `json:"eksNodegroup,omitempty"`
	// ProtectNewInstances sets the scale-in protection of new instances.
	ProtectNewInstances bool `json:"protectNewInstances,omitempty"`
	// Delays override the general ones field by field.
	Delays Delays `json:"delays,omitzero"`
}

// Delays are the steps of an instance's life. A missing one is inherited, in the end from zero.
type Delays struct {
	// Launch lasts from the launch until the instance is InService.
	Launch *Duration `json:"launch,omitempty"`
	// Ready lasts from there until the node joins.
	Ready *Duration `json:"ready,omitempty"`
	// GPU lasts from there until the node advertises its GPUs.
	GPU *Duration `json:"gpu,omitempty"`
	// Terminate lasts from the request until instance and node are gone.
	Terminate *Duration `json:"terminate,omitempty"`
	// Spread adds between nothing and itself, at random from the seed, to launch, ready and gpu each.
	Spread *Duration `json:"spread,omitempty"`
	// Retry is how long a group that is short of instances waits before it tries again; a minute if
	// nothing is said.
	Retry *Duration `json:"retry,omitempty"`
}

// over returns d with the holes filled from base.
func (d Delays) over(base Delays) Delays {
	pick := func(own, other *Duration) *Duration {
		if own != nil {
			return own
		}
		return other
	}
	return Delays{
		Launch: pick(d.Launch, base.Launch), Ready: pick(d.Ready, base.Ready), GPU: pick(d.GPU, base.GPU),
		Terminate: pick(d.Terminate, base.Terminate), Spread: pick(d.Spread, base.Spread),
		Retry: pick(d.Retry, base.Retry),
	}
}

// Duration is written like 90s or 2m30s.
type Duration struct {
	time.Duration
	// bad keeps what could not be read, because only Validate knows the path to it.
	bad string
}

// For makes a Duration to point at.
func For(d time.Duration) *Duration { return &Duration{Duration: d} }

// UnmarshalJSON implements json.Unmarshaler. What it cannot read is reported by Config.Validate.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		d.bad = string(data)
		return nil //nolint:nilerr // reported with its path by Validate
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		d.bad = fmt.Sprintf("%q", text)
		return nil //nolint:nilerr // reported with its path by Validate
	}
	d.Duration = parsed
	return nil
}

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// of is the duration's length; nothing has none.
func (d *Duration) of() time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

// LoadConfig reads and checks a configuration file.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return cfg, nil
}

// ParseConfig reads a configuration strictly: an unknown or repeated field is an error that names it.
func ParseConfig(data []byte) (Config, error) {
	var cfg Config
	if err := decodeStrict(data, &cfg); err != nil {
		return Config{}, err
	}
	if err := cfg.Validate(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// decodeStrict reads YAML, or JSON, which is YAML too.
func decodeStrict(data []byte, into any) error {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	if err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if len(strict) > 0 {
		return fmt.Errorf("decode: %w", strict[0])
	}
	return nil
}
