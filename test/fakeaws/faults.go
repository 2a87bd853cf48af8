package fakeaws

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// faults are the active ones, oldest first. The world's lock guards them.
type faults struct {
	next int
	list []*activeFault
}

func (fs *faults) add(f Fault, now time.Time) (Fault, error) {
	if err := f.validate(field.NewPath("fault")).ToAggregate(); err != nil {
		return Fault{}, err
	}
	fs.next++
	f.ID = fmt.Sprintf("fault-%d", fs.next)
	f.Struck = 0
	a := &activeFault{Fault: f, from: now.Add(f.After.of())}
	if f.Lasts != nil {
		a.until = a.from.Add(f.Lasts.of())
	}
	fs.list = append(fs.list, a)
	return f, nil
}

// remove takes away the fault with this id, or all if id is empty, and says how many those were.
func (fs *faults) remove(id string) int {
	kept := fs.list[:0:0]
	for _, f := range fs.list {
		if id != "" && f.ID != id {
			kept = append(kept, f)
		}
	}
	removed := len(fs.list) - len(kept)
	fs.list = kept
	return removed
}

func (fs *faults) all() []Fault {
	out := make([]Fault, 0, len(fs.list))
	for _, f := range fs.list {
		out = append(out, f.Fault)
	}
	return out
}

// refuseLaunch asks whether one more instance of the group can be had. The refusing fault is returned.
// Only when nothing refuses does the instance count against what the faults still allow, so that one
// fault's refusal does not use up another's room.
func (fs *faults) refuseLaunch(g *group, now time.Time) *activeFault {
	var limits []*activeFault
	for _, f := range fs.list {
		if (f.Kind != InsufficientCapacity && f.Kind != QuotaExceeded) || !f.active(now) || !f.matchesGroup(g) {
			continue
		}
		if f.Allow == 0 {
			f.Struck++
			return f
		}
		limits = append(limits, f)
	}
	for _, f := range limits {
		f.Allow--
	}
	return nil
}

// strikeInstance says whether a fault of this kind strikes a new instance of the group.
func (fs *faults) strikeInstance(kind FaultKind, g *group, now time.Time) *activeFault {
	for _, f := range fs.list {
		if f.Kind == kind && f.active(now) && f.matchesGroup(g) {
			f.Struck++
			return f
		}
	}
	return nil
}

// strikeCall returns the fault of one of these kinds that strikes the call, if one does.
func (fs *faults) strikeCall(service, operation string, now time.Time, kinds ...FaultKind) *activeFault {
	for _, f := range fs.list {
		for _, kind := range kinds {
			if f.Kind == kind && f.active(now) && f.matchesCall(service, operation) {
				f.Struck++
				return f
			}
		}
	}
	return nil
}
