package plan

import (
	"fmt"
	"strings"
	"time"
)

// Reservation is room that is kept for the gang that waits first in its queue. Others use it only as far
// as they are gone when the gang can start: they end in time, or they can be evicted for it.
type Reservation struct {
	Gang  Owner     `json:"gang"`
	At    time.Time `json:"at,omitzero"` // when the last of those in its way ends; zero: nobody knows
	Nodes []string  `json:"nodes"`       // by name
}

// String is the reservation in one line.
func (r Reservation) String() string {
	when := "until it is complete"
	if !r.At.IsZero() {
		when = "for " + r.At.UTC().Format(time.TimeOnly) + " UTC"
	}
	return fmt.Sprintf("reserve %s for %s, %s", strings.Join(r.Nodes, ", "), r.Gang, when)
}
