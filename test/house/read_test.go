package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/capmgr/capmgr/"

// room is one of our packages, its tests left out.
type room struct {
	Path  string   // below the module: "pkg/snapshot"
	Deps  []string // all that it is linked with, standard library left out; ours as full paths
	Files []*ast.File
	fset  *token.FileSet
}

// readHouse lists and parses every package of the module as it is built for production.
func readHouse(t *testing.T) []room {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,Standard,Module,Deps,GoFiles", "./...")
	cmd.Dir = "../.."
	// As the manager is built. What needs cgo is the agent's, and is not in this list.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	type listed struct {
		ImportPath, Dir string
		Standard        bool
		Module          *struct{ Main bool }
		Deps, GoFiles   []string
	}
	var ours []listed
	standard := map[string]bool{}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		err := in.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		if l.Standard {
			standard[l.ImportPath] = true
		} else if l.Module != nil && l.Module.Main {
			ours = append(ours, l)
		}
	}
	var rooms []room
	for _, l := range ours {
		r := room{Path: strings.TrimPrefix(l.ImportPath, module), fset: token.NewFileSet()}
		r.Deps = slices.DeleteFunc(l.Deps, func(d string) bool { return standard[d] })
		for _, name := range l.GoFiles {
			r.Files = append(r.Files, parse(t, r.fset, filepath.Join(l.Dir, name), nil))
		}
		rooms = append(rooms, r)
	}
	return rooms
}

func parse(t *testing.T, fset *token.FileSet, name string, source any) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return f
}

// at is a position for people: file and line, the folder being known.
func (r room) at(n ast.Node) string {
	p := r.fset.Position(n.Pos())
	return fmt.Sprintf("%s/%s:%d", r.Path, filepath.Base(p.Filename), p.Line)
}

// imports calls found with each direct import.
func (r room) imports(found func(path string, spec *ast.ImportSpec)) {
	for _, f := range r.Files {
		for _, spec := range f.Imports {
			found(strings.Trim(spec.Path.Value, "`\""), spec)
		}
	}
}

// ours are the rooms that a room imports directly.
func (r room) ours(found func(path string, spec *ast.ImportSpec)) {
	r.imports(func(path string, spec *ast.ImportSpec) {
		if below, ok := strings.CutPrefix(path, module); ok {
			found(below, spec)
		}
	})
}

// walk calls visit with every node of every file.
func (r room) walk(visit func(file *ast.File, n ast.Node)) {
	for _, f := range r.Files {
		ast.Inspect(f, func(n ast.Node) bool {
			if n != nil {
				visit(f, n)
			}
			return true
		})
	}
}

// nameOf is what a file calls an import, "" when it does not import it.
func nameOf(f *ast.File, path string) string {
	for _, spec := range f.Imports {
		if strings.Trim(spec.Path.Value, "`\"") != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}

// under says whether a path is one of the folders or lies below one.
func under(path string, folders ...string) bool {
	for _, f := range folders {
		if path == f || strings.HasPrefix(path, f+"/") {
			return true
		}
	}
	return false
}
