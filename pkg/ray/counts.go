package ray

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/capmgr/capmgr/pkg/snapshot"
)

// ParseCounts reads numbers per group from an annotation: "group=n,group=n".
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

// FormatMinimum writes the minimum of every group as ParseCounts reads it.
func FormatMinimum(groups []snapshot.Group) string {
	var parts []string
	for _, g := range groups {
		parts = append(parts, fmt.Sprintf("%s=%d", g.Name, g.Min))
	}
	return strings.Join(parts, ",")
}
