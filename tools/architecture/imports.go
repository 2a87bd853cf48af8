package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const module = "github.com/capmgr/capmgr/"

// rooms are the rows of the lower half, from the ground up, with what lives there in a few words.
// A room may import those above it in this list, which is what the marks below the diagonal say.
var rooms = []struct{ name, what string }{
	{"api", "Queue, CapacityRequest, configuration: types, defaults, validation"},
	{"pkg/snapshot", "the world as values; imports nothing of ours"},
	{"pkg/plan", "steps, verdicts, reasons: what a decision says"},
	{"pkg/scaling", "offers, bounds, releases: which nodes to buy and give back"},
	{"pkg/scheduler", "Decide(Snapshot) Plan: gangs, placement, verdicts"},
	{"pkg/fit", "does this pod fit that node: kube-scheduler's own predicates"},
	{"pkg/cloud", "node group providers; errors that carry policy"},
	{"pkg/cloud/aws", "Auto Scaling groups: launch so many or none, terminate by name"},
	{"pkg/cloud/provreq", "a stock Cluster Autoscaler, asked by ProvisioningRequest"},
	{"pkg/cloud/signal", "a stock autoscaler that sees which pods wait"},
	{"pkg/ray", "RayCluster and its kin become gangs"},
	{"pkg/state", "the mirror: informers and cloud listings become a Snapshot"},
	{"pkg/execute", "the only writer, in the cluster and in the cloud"},
	{"pkg/loop", "snapshot, decide, execute, and again"},
	{"cmd/capmgr", "wiring: one binary, a file per subcommand"},
}

// row is a room as it is drawn.
type row struct{ name, what string }

// readImports returns which of our rooms each room imports, as built for production.
func readImports(ctx context.Context) (map[string][]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-json=ImportPath,Imports", "./api/...", "./pkg/...", "./cmd/...")
	// As the manager is built, so that the picture does not depend on who draws it.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	seen := map[string]map[string]bool{}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := in.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		room := roomOf(p.ImportPath)
		if seen[room] == nil {
			seen[room] = map[string]bool{}
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, module) && roomOf(i) != room {
				seen[room][roomOf(i)] = true
			}
		}
	}
	imports := map[string][]string{}
	for room, of := range seen {
		imports[room] = slices.Sorted(maps.Keys(of))
	}
	return imports, nil
}

// roomOf is the room that a package belongs to: the API's packages are one, and so is whatever lies
// below a room without being one itself.
func roomOf(path string) string {
	path = strings.TrimPrefix(path, module)
	parts := strings.Split(path, "/")
	deep := 2
	switch {
	case parts[0] == "api":
		deep = 1
	case len(parts) > 2 && parts[1] == "cloud":
		deep = 3
	}
	return strings.Join(parts[:min(deep, len(parts))], "/")
}

// order puts the rooms that there are in the order of the list, and each that the list does not
// name right after the last that it imports. An import against the order is an error.
func order(imports map[string][]string) ([]row, error) {
	var rows []row
	for _, r := range rooms {
		if _, ok := imports[r.name]; ok {
			rows = append(rows, row{r.name, r.what})
		}
	}
	at := func(name string) int {
		return slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	}
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if at(name) >= 0 {
			continue
		}
		last := -1
		for _, i := range imports[name] {
			last = max(last, at(i))
		}
		rows = slices.Insert(rows, last+1, row{name, ""})
	}
	for _, r := range rows {
		for _, i := range imports[r.name] {
			if at(i) > at(r.name) {
				return nil, fmt.Errorf("%s imports %s, which stands above it; see rooms in tools/architecture", r.name, i)
			}
		}
	}
	return rows, nil
}
