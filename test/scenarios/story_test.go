package scenarios

import (
	"bytes"
	"fmt"
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
	t := &teller{start: begin, files: map[string][]byte{}}
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
// an event, a comment (#), or, indented, a line of what the event before it is expected to print.
func (t *teller) tellAll(story []byte) ([]byte, error) {
	var out bytes.Buffer
	for n, line := range strings.Split(strings.TrimRight(string(story), "\n"), "\n") {
		if strings.HasPrefix(line, indent) {
			continue
		}
		fmt.Fprintln(&out, line)
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
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

const indent = "    "
