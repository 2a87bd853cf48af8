package ray

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/capmgr/capmgr/api/v1alpha1"
)

// Record is what capmgr wrote into the worker groups of one RayCluster, by group. It is kept on the
// RayCluster itself, so that it is there after a restart and goes where the object goes.
type Record map[string]GroupRecord

// GroupRecord is what capmgr wrote into one worker group.
type GroupRecord struct {
	Replicas    *int      `json:"replicas,omitempty"`    // nil: never written
	MaxReplicas *int      `json:"maxReplicas,omitempty"` // nil: never written
	Named       []string  `json:"named,omitempty"`       // workers that it put into workersToDelete, until they are cleared
	Grown       time.Time `json:"grown,omitzero"`
	Shrunk      time.Time `json:"shrunk,omitzero"`
}

// Moved notes when and in which direction a group was moved.
func (g *GroupRecord) Moved(from, to int, now time.Time) {
	switch {
	case to > from:
		g.Grown = now
	case to < from:
		g.Shrunk = now
	}
}

// ReadRecord reads the record off a RayCluster's annotations. One that cannot be read is an error:
// without it, what others wrote cannot be told from what capmgr wrote.
func ReadRecord(annotations map[string]string) (Record, error) {
	r := Record{}
	if text := annotations[v1alpha1.WorkersAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("annotation %s is not as capmgr wrote it; remove it: %w", v1alpha1.WorkersAnnotation, err)
		}
	}
	return r, nil
}

// String is the record as it is kept.
func (r Record) String() string {
	text, err := json.Marshal(r)
	if err != nil { // numbers, names and times: cannot happen
		return "{}"
	}
	return string(text)
}

// Contention is the record of somebody else who writes the fields that capmgr writes.
type Contention struct {
	By     string    `json:"by"`             // the name under which they write
	Field  string    `json:"field"`          // the last that they wrote
	Writes int       `json:"writes"`         // of theirs, each over one of capmgr's, without an hour between two
	Trips  int       `json:"trips"`          // how often capmgr has given way since then
	Last   time.Time `json:"last"`           // when the last of their writes was noticed
	Until  time.Time `json:"until,omitzero"` // nothing is written before; zero: capmgr has not given way
}

// ReadContention reads the record off a RayCluster's annotations; the zero value when there is none,
// or none that can be read.
func ReadContention(annotations map[string]string) Contention {
	var c Contention
	if text := annotations[v1alpha1.ContentionAnnotation]; text != "" && json.Unmarshal([]byte(text), &c) != nil {
		return Contention{}
	}
	return c
}

// String is the record as it is kept.
func (c Contention) String() string {
	text, err := json.Marshal(c)
	if err != nil { // words, numbers and times: cannot happen
		return "{}"
	}
	return string(text)
}

const (
	// contentionMemory is how long one write of somebody else's is held against the next.
	contentionMemory = time.Hour
	// firstPause and longestPause bound how long capmgr gives way: it doubles with every time.
	firstPause   = 5 * time.Minute
	longestPause = time.Hour
)

// Noticed is the record after a write of somebody else's over one of capmgr's. The first may be the
// user's new wish, or the sync of a tool that does not know better, and is written over once. The
// second is a contest: capmgr gives way.
func (c Contention) Noticed(by, field string, now time.Time) Contention {
	if c.Quiet(now) {
		c = Contention{}
	}
	c.By, c.Field, c.Last = by, field, now
	c.Writes++
	if c.Writes > 1 {
		c.Trips++
		c.Writes = 0 // after the pause, one write over theirs again
		c.Until = now.Add(c.pause())
	}
	return c
}

// pause is how long capmgr gives way this time.
func (c Contention) pause() time.Duration {
	if c.Trips == 0 {
		return 0
	}
	return min(longestPause, firstPause<<min(c.Trips-1, 10))
}

// Quiet says whether nobody else has written for so long that the record may go.
func (c Contention) Quiet(now time.Time) bool {
	return !c.Open(now) && now.Sub(c.Last) > contentionMemory+c.pause()
}

// Open says whether capmgr leaves the fields alone at now.
func (c Contention) Open(now time.Time) bool { return now.Before(c.Until) }
