package ray

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ParseCounts reads "group=n,group=n", the form of annotations that say something of worker groups.
func ParseCounts(text string) (map[string]int, error) {
	out := map[string]int{}
	if text == "" {
		return out, nil
	}
	for _, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(value, 10, 31)
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("%q is not of the form group=n", part)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("the group %q appears twice", name)
		}
		out[name] = int(n)
	}
	return out, nil
}

// FormatCounts writes what ParseCounts reads, by name; "" for none.
func FormatCounts(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, counts[name]))
	}
	return strings.Join(parts, ",")
}

// FormatMinimum writes what a gang needs of every group, as BoundMinimumAnnotation holds it; "" for a
// pod that is a gang of its own, and for none.
func FormatMinimum(g *snapshot.Gang) string {
	if g == nil || g.Kind == "Pod" {
		return ""
	}
	var parts []string
	for _, grp := range g.Groups {
		parts = append(parts, fmt.Sprintf("%s=%d", grp.Name, grp.Min))
	}
	return strings.Join(parts, ",")
}
