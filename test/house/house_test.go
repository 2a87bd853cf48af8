package house

import (
	"go/token"
	"slices"
	"strings"
	"testing"
)

// TestHouse holds the tree against the rules.
func TestHouse(t *testing.T) {
	rooms := readHouse(t)
	// A rule about a room that was renamed would hold for ever.
	for _, name := range []string{"pkg/snapshot", "pkg/plan", "pkg/scaling", "pkg/scheduler", "pkg/fit", "pkg/execute", manager} {
		if !has(rooms, name) {
			t.Errorf("%s is not there; do the rules still speak of the right rooms?", name)
		}
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, finding := range slices.Sorted(slices.Values(r.check(rooms))) {
				t.Error(finding)
			}
		})
	}
}

// TestRulesSee shows every rule a house that breaks it and one that keeps it.
func TestRulesSee(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if len(r.broken) == 0 {
				t.Fatal("no house that breaks the rule")
			}
			for _, b := range r.broken {
				if len(r.check([]room{b.build(t)})) == 0 {
					t.Errorf("not seen in %s:\n%s", b.path, b.source)
				}
			}
			for _, k := range r.kept {
				if findings := r.check([]room{k.build(t)}); len(findings) > 0 {
					t.Errorf("%s keeps the rule, and yet: %s", k.path, strings.Join(findings, "; "))
				}
			}
		})
	}
}

// fixture is a room of a house that never stood.
type fixture struct {
	path   string
	source string   // what follows the package clause
	deps   []string // what it would be linked with
}

func (f fixture) build(t *testing.T) room {
	t.Helper()
	r := room{Path: f.path, Deps: f.deps, fset: token.NewFileSet()}
	r.Files = append(r.Files, parse(t, r.fset, f.path+"/main.go", "package p\n"+f.source))
	return r
}

func has(rooms []room, path string) bool {
	for _, r := range rooms {
		if r.Path == path {
			return true
		}
	}
	return false
}
