// Package scenarios tells stories of clusters and checks what capmgr decides in them.
//
// A scenario is a txtar file. Its comment says which rule it guards and, where there was one, the
// incident that it is named after. config.yaml is a real configuration, cluster.yaml the world at
// the start, and events what happens then, each event followed by what it prints. `go test
// ./test/scenarios -update` writes anew what the events print; read the difference before you keep
// it.
package scenarios

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite what the events of the scenarios print")

func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(path, ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(archive.Comment)) == 0 {
				t.Error("a scenario begins with a comment that says what it guards")
			}
			told, err := tell(archive)
			if err != nil {
				t.Errorf("%v\nso far:\n%s", err, told)
				return
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(withStory(archive, told)), 0o644); err != nil { //nolint:gosec // a test file of the repository
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(lines(storyOf(archive)), lines(told)); diff != "" {
				t.Errorf("the story went another way (-told in the file +told now):\n%s", diff)
			}
		})
	}
}

func tell(a *txtar.Archive) ([]byte, error) {
	t, err := newTeller(a)
	if err != nil {
		return nil, err
	}
	return t.tellAll(storyOf(a))
}

func storyOf(a *txtar.Archive) []byte {
	for _, f := range a.Files {
		if f.Name == storyFile {
			return f.Data
		}
	}
	return nil
}

func withStory(a *txtar.Archive, story []byte) *txtar.Archive {
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if f.Name == storyFile {
			f.Data = story
		}
		out.Files = append(out.Files, f)
	}
	return out
}

// lines makes differences readable: one element per line.
func lines(data []byte) []string { return strings.Split(string(data), "\n") }
