package plan

import "github.com/capmgr/capmgr/pkg/snapshot"

// QueueReport is what a queue, its descendants included, has and asks for as of the snapshot.
type QueueReport struct {
	Name           string             `json:"name"`
	Children       []string           `json:"children,omitempty"`
	Allocated      snapshot.Resources `json:"allocated"`
	NonPreemptible snapshot.Resources `json:"allocatedNonPreemptible"` // part of Allocated that may not be evicted
	Requested      snapshot.Resources `json:"requested"`               // Allocated, and what waits
	FairShare      snapshot.Resources `json:"fairShare"`
	OverQuota      string             `json:"overQuota,omitempty"` // the first resource of which it uses more than its quota
	OverLimit      string             `json:"overLimit,omitempty"` // what keeps it above a limit that was lowered
	Invalid        string             `json:"invalid,omitempty"`   // why nothing runs in it
}
