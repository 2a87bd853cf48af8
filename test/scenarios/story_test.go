package scenarios

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/test/model"
)

// Names of the files in a scenario that the driver reads by itself.
const (
	configFile  = "config.yaml"
	clusterFile = "cluster.yaml"
	storyFile   = "events"
)

// begin is when every story starts.
var begin = time.Date(2026, time.January, 5, 9, 0, 0, 0, time.UTC)

// newTeller builds the world that a scenario starts with.
func newTeller(a *txtar.Archive) (*teller, error) {
	t := &teller{start: begin, files: map[string][]byte{}, rejected: map[string]int{}}
	for _, f := range a.Files {
		if _, twice := t.files[f.Name]; twice {
			return nil, fmt.Errorf("the file %s appears twice", f.Name)
		}
		t.files[f.Name] = f.Data
	}
	config, err := v1alpha1.Decode(t.files[configFile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	short, _, err := parseCluster(t.files[clusterFile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clusterFile, err)
	}
	groups := map[string]*model.Group{}
	for name, form := range short.Cloud {
		if groups[name], err = form.group(name); err != nil {
			return nil, fmt.Errorf("%s: %w", clusterFile, err)
		}
	}
	if t.world, err = model.New(config, groups, begin); err != nil {
		return nil, err
	}
	if err := create(t.world, t.files[clusterFile]); err != nil {
		return nil, fmt.Errorf("%s: %w", clusterFile, err)
	}
	return t, nil
}

// tellAll plays a story and returns it with what every event really printed. A line of a story is
// an event, a comment (#), or, indented, a line of what the event before it is expected to print. What
// stands between `repeat N` and `end` happens N times, and prints nothing.
func (t *teller) tellAll(story []byte) ([]byte, error) {
	var out bytes.Buffer
	lines := strings.Split(strings.TrimRight(string(story), "\n"), "\n")
	for n := 0; n < len(lines); n++ {
		line := lines[n]
		if strings.HasPrefix(line, indent) {
			continue
		}
		fmt.Fprintln(&out, line)
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if times, ok := strings.CutPrefix(line, "repeat "); ok {
			end := n + 1 + slices.Index(lines[n+1:], "end")
			if end == n {
				return out.Bytes(), fmt.Errorf("events line %d: %s: there is no end", n+1, line)
			}
			for _, l := range lines[n+1 : end+1] {
				fmt.Fprintln(&out, l)
			}
			if err := t.repeat(times, lines[n+1:end], n+2); err != nil {
				return out.Bytes(), err
			}
			n = end
			continue
		}
		printed, err := t.tell(line)
		for _, l := range strings.Split(strings.TrimRight(printed, "\n"), "\n") {
			if l != "" {
				fmt.Fprintln(&out, indent+l)
			}
		}
		if err != nil {
			return out.Bytes(), fmt.Errorf("events line %d: %s: %w", n+1, line, err)
		}
	}
	return out.Bytes(), nil
}

// repeat lets the same happen over and over.
func (t *teller) repeat(times string, lines []string, from int) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return fmt.Errorf("events line %d: repeat: %w", from-1, err)
	}
	for round := range n {
		for k, line := range lines {
			if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if printed, err := t.tell(line); err != nil {
				return fmt.Errorf("events line %d, round %d: %s: %w\n%s", from+k, round+1, line, err, printed)
			}
		}
	}
	return nil
}

const indent = "    "
