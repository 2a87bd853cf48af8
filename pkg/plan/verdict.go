package plan

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Reason is the one dominant reason of a verdict, out of a closed list that docs/reasons.md explains.
type Reason string

// Reasons. Running stands for work that runs; every other one says why a gang does not.
const (
	Running         Reason = "Running"
	Suspended       Reason = "Suspended"       // its owner says so
	GangIncomplete  Reason = "GangIncomplete"  // its pods do not all exist yet
	QueueNotFound   Reason = "QueueNotFound"   // names no queue, or one that does not exist
	NotLeafQueue    Reason = "NotLeafQueue"    // names a queue that has children
	NotPermitted    Reason = "NotPermitted"    // its queue is not for work of its namespace
	Misconfigured   Reason = "Misconfigured"   // the queue or the owner's spec is impossible
	ExceedsLimit    Reason = "ExceedsLimit"    // alone it is above a limit of its queue or an ancestor
	WaitingForQuota Reason = "WaitingForQuota" // would fit the limit, others use it now
	// NonPreemptibleOverQuota: work that may not be evicted is confined to its queues' quota.
	NonPreemptibleOverQuota Reason = "NonPreemptibleOverQuota"
	NoNodeFits              Reason = "NoNodeFits"           // nothing that is there fits, and nothing may be bought
	NoMatchingNodeGroup     Reason = "NoMatchingNodeGroup"  // nothing that can be bought has this shape
	BoundReached            Reason = "BoundReached"         // nodes or GPUs of queue, group or cluster
	BudgetExceeded          Reason = "BudgetExceeded"       // dollars per hour of queue or cluster
	WaitingForNodes         Reason = "WaitingForNodes"      // nodes are coming
	CapacityUnavailable     Reason = "CapacityUnavailable"  // the cloud refuses for now
	WaitingForPreemption    Reason = "WaitingForPreemption" // others are being evicted for it
	BindRejected            Reason = "BindRejected"         // the API server refused to bind
	BackingOff              Reason = "BackingOff"           // failed lately; tried again later
	FieldContention         Reason = "FieldContention"      // somebody else writes the fields that capmgr writes
)

// Reasons is the closed list, from what needs nothing, by what forbids, to what is under way.
func Reasons() []Reason {
	return []Reason{
		Running, Suspended, GangIncomplete, QueueNotFound, NotLeafQueue, NotPermitted, Misconfigured,
		ExceedsLimit, WaitingForQuota, NonPreemptibleOverQuota, NoNodeFits, NoMatchingNodeGroup,
		BoundReached, BudgetExceeded, WaitingForNodes, CapacityUnavailable, WaitingForPreemption,
		BindRejected, BackingOff, FieldContention,
	}
}

// Verdict says of one gang where it stands and why.
type Verdict struct {
	Gang    Owner  `json:"gang"`
	Queue   string `json:"queue"`
	Reason  Reason `json:"reason"`
	Message string `json:"message"`          // the numbers behind the reason
	Doing   string `json:"doing,omitempty"`  // what capmgr does about it
	Advice  string `json:"advice,omitempty"` // what the user can do

	ETA time.Time `json:"eta,omitzero"` // when it is expected to go on; zero when unknown

	Reserved time.Time `json:"reserved,omitzero"` // for when room is reserved for it; zero when none is

	Also [2]Owner `json:"-"` // further objects that it is written on, where its users look for it; zero: none

	Maker Owner `json:"-"` // the Deployment or StatefulSet that its pod is one of; zero: none

	Early    bool   `json:"-"` // too soon to tell anyone: it is likely to change by itself in seconds
	Previous string `json:"-"` // the verdict as last written on the owner
}

// stored is the part of a verdict that is written on the owner: nothing that changes with time
// alone, so that it is written only when something happened.
type stored struct {
	Queue   string `json:"queue"`
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
	Doing   string `json:"doing,omitempty"`
	Advice  string `json:"advice,omitempty"`
	ETA     string `json:"eta,omitempty"` // RFC 3339, to the second

	Reserved string `json:"reserved,omitempty"` // the same
}

// Text is the verdict as it is stored on the owner.
func (v Verdict) Text() string {
	s := stored{Queue: v.Queue, Reason: v.Reason, Message: v.Message, Doing: v.Doing, Advice: v.Advice}
	if !v.ETA.IsZero() {
		s.ETA = v.ETA.UTC().Format(time.RFC3339)
	}
	if !v.Reserved.IsZero() {
		s.Reserved = v.Reserved.UTC().Format(time.RFC3339)
	}
	text, err := json.Marshal(s)
	if err != nil { // strings only: cannot happen
		return fmt.Sprintf(`{"reason":%q}`, v.Reason)
	}
	return string(text)
}

// ParseVerdict reads what Text wrote. The owner is the caller's to fill in.
func ParseVerdict(text string) (Verdict, error) {
	var s stored
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return Verdict{}, fmt.Errorf("parse verdict: %w", err)
	}
	v := Verdict{Queue: s.Queue, Reason: s.Reason, Message: s.Message, Doing: s.Doing, Advice: s.Advice}
	var err error
	for _, at := range []struct {
		name, text string
		to         *time.Time
	}{{"eta", s.ETA, &v.ETA}, {"reserved", s.Reserved, &v.Reserved}} {
		if at.text == "" {
			continue
		}
		if *at.to, err = time.Parse(time.RFC3339, at.text); err != nil {
			return Verdict{}, fmt.Errorf("parse verdict: %s: %w", at.name, err)
		}
	}
	return v, nil
}

// PreviousReason is the dominant reason that was last written, or "".
func (v Verdict) PreviousReason() Reason {
	if v.Previous == "" {
		return ""
	}
	p, err := ParseVerdict(v.Previous)
	if err != nil { // somebody edited it: any reason is news
		return ""
	}
	return p.Reason
}

// Sentence is the verdict in one paragraph for people.
func (v Verdict) Sentence() string {
	parts := []string{string(v.Reason) + ": " + v.Message + "."}
	if v.Doing != "" {
		parts = append(parts, v.Doing+".")
	}
	if v.Advice != "" {
		parts = append(parts, v.Advice+".")
	}
	return strings.Join(parts, " ")
}

// Pending says whether the verdict is about work that does not run yet.
func (v Verdict) Pending() bool { return v.Reason != Running && v.Reason != Suspended }

// VerdictFor starts a verdict about a gang.
func VerdictFor(g *snapshot.Gang, queue string) Verdict {
	v := Verdict{Gang: OwnerOf(g), Queue: queue, Previous: g.LastVerdict}
	if g.Cluster.UID != "" && g.Cluster.UID != g.UID {
		v.Also[0] = Of(g.Cluster)
	}
	switch {
	case g.Kind == "Pod":
		v.Maker = Of(g.Top)
	case g.TellsTop && g.Top.UID != g.UID:
		v.Also[1] = Of(g.Top)
	}
	return v
}

// Objects are all that the verdict is written on, the gang's owner first.
func (v Verdict) Objects() []Owner {
	out := []Owner{v.Gang}
	for _, o := range v.Also {
		if o.UID != "" {
			out = append(out, o)
		}
	}
	return out
}
