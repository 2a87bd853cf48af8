package snapshot

import "time"

// GrowthWindow is the span in which Limits.MaxNewNodesPerHour counts.
const GrowthWindow = time.Hour

// Growth is one purchase of the recent past.
type Growth struct {
	At    time.Time
	Nodes int // promised by the cloud, or still being asked for
}
