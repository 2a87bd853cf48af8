// Package plan is what a decision says: steps to take, in order, and a verdict for every gang.
//
// A Plan is a value. It is printed, applied to a model, or executed; it never acts by itself. Each
// step carries what it assumes (identities, idle times, instance names), so that the executor can
// check on fresh reads that the assumption still holds before it acts.
package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// Plan is one decision.
type Plan struct {
	Rev      uint64        `json:"rev"`      // of the snapshot that was decided on
	Steps    []Step        `json:"-"`        // in the order in which they are to be taken
	Verdicts []*Verdict    `json:"verdicts"` // by gang ID; one that says the same as in the last plan may be the same pointer
	Queues   []QueueReport `json:"queues"`   // by name

	Reservations []Reservation `json:"reservations,omitempty"` // in the order in which they were made

	// Looks is how much work the decision was: places, victims and offers that it looked at.
	Looks int64 `json:"-"`
	// Unfinished says that the decision ended at its bound on work. It is right in what it says; Passed
	// are the gangs that it got to and found no room for, so that the next one goes on with the others.
	Unfinished bool              `json:"unfinished,omitempty"`
	Passed     []snapshot.GangID `json:"-"`

	// NextLook is when time alone may change the decision (an idle node falls due, a back-off
	// ends); zero when only an event can.
	NextLook time.Time `json:"-"`
}

// Step is one effect: Book, GrowNodeGroup, Evict, Suspend, Resume, Bind, Resize, Ceiling, Settle or
// TerminateNode.
type Step interface {
	// Kind is the step's name: "Book", "GrowNodeGroup", …
	Kind() string
	// String is the step in one line for people; equal steps print equal lines.
	String() string
}

// EvictsFor says whether others leave for a gang. One whose minimum is bound in the same plan has not used
// what they leave yet.
func (p *Plan) EvictsFor(gang Owner) bool {
	return slices.ContainsFunc(p.Steps, func(step Step) bool {
		switch s := step.(type) {
		case Evict:
			return s.For == gang
		case Suspend:
			return s.For == gang
		case Resize:
			return slices.Contains(s.For, gang)
		}
		return false
	})
}

// MarshalJSON writes each step with its kind beside its fields.
func (p *Plan) MarshalJSON() ([]byte, error) {
	type step struct {
		Kind string `json:"kind"`
		Step Step   `json:"step"`
	}
	type plain Plan
	steps := make([]step, 0, len(p.Steps))
	for _, s := range p.Steps {
		steps = append(steps, step{s.Kind(), s})
	}
	out, err := json.Marshal(struct {
		Steps []step `json:"steps"`
		*plain
	}{steps, (*plain)(p)})
	if err != nil {
		return nil, fmt.Errorf("marshal plan: %w", err)
	}
	return out, nil
}
