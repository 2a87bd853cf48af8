package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Scaling bounds what may be bought for one queue and everything below it. Bounds
// are about buying: capacity that is idle anyway may be used beyond them.
type Scaling struct {
	// MinGPUs, in devices, are kept for the queue, used or idle: bought when there are
	// fewer, within all other bounds, and not given back below it. Idle ones are anyone's
	// to use. It is not inherited, and defaults.scaling cannot set it. Default 0.
	MinGPUs int32 `json:"minGPUs,omitempty"`

	// MaxGPUs bounds the devices of managed nodes that the queue's work holds plus
	// those coming for it. Zero buys nothing. Absent: no bound of this kind.
	MaxGPUs *int32 `json:"maxGPUs,omitempty"`

	// MaxNodes bounds nodes by group name. A group without an entry is bounded by
	// itself only.
	MaxNodes map[string]int32 `json:"maxNodes,omitempty"`

	// MaxHourlyCost bounds the cost of the nodes that the queue's work holds plus
	// those coming for it, in dollars per hour. Absent: no bound.
	MaxHourlyCost *Dollars `json:"maxHourlyCost,omitempty"`

	// Ladder lists the groups that may be bought for the queue, first choice first;
	// a gang moves down it as a whole. Empty: every group, the cheapest GPU first.
	Ladder []string `json:"ladder,omitempty"`

	// PreferScaleUpFor is how long preemptible work that is entitled to room waits
	// for nodes that are coming or can be bought before it evicts others. Absent or
	// zero: it evicts at once.
	PreferScaleUpFor *metav1.Duration `json:"preferScaleUpFor,omitempty"`
}
