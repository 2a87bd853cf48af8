package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// importsOnly holds rooms, and those below them, to a list of our rooms that they may import.
func importsOnly(may map[string][]string) func([]room) []string {
	return func(rooms []room) (found []string) {
		for _, r := range rooms {
			for owner, allowed := range may {
				if !under(r.Path, owner) {
					continue
				}
				r.ours(func(path string, spec *ast.ImportSpec) {
					if !under(path, allowed...) {
						found = append(found, fmt.Sprintf("%s imports %s; %s may import %q of ours", r.at(spec), path, owner, allowed))
					}
				})
			}
		}
		return found
	}
}

// importsNone keeps direct imports out of rooms and those below them. Paths of our own are written
// from the module's root.
func importsNone(owners []string, forbidden ...string) func([]room) []string {
	return func(rooms []room) (found []string) {
		for _, r := range rooms {
			if !under(r.Path, owners...) {
				continue
			}
			r.imports(func(path string, spec *ast.ImportSpec) {
				if under(strings.TrimPrefix(path, module), forbidden...) {
					found = append(found, fmt.Sprintf("%s imports %s", r.at(spec), path))
				}
			})
		}
		return found
	}
}

// importedOnlyBy keeps the packages below prefixes to the rooms that by names: the entry whose key
// is the longest that the import lies below, the empty key for the rest.
func importedOnlyBy(prefixes []string, by map[string][]string) func([]room) []string {
	return func(rooms []room) (found []string) {
		for _, r := range rooms {
			r.imports(func(path string, spec *ast.ImportSpec) {
				if !under(path, prefixes...) {
					return
				}
				key := ""
				for k := range by {
					if k != "" && under(path, k) && len(k) > len(key) {
						key = k
					}
				}
				if !under(r.Path, by[key]...) {
					found = append(found, fmt.Sprintf("%s imports %s, which stays behind %q", r.at(spec), path, by[key]))
				}
			})
		}
		return found
	}
}

// linksNone keeps packages, and those below them, out of all that rooms are linked with.
func linksNone(owners []string, forbidden ...string) func([]room) []string {
	return func(rooms []room) []string {
		return links(rooms, func(r room) bool { return under(r.Path, owners...) }, func(dep string) bool { return under(dep, forbidden...) })
	}
}

// linksNoneBut is linksNone but for one package.
func linksNoneBut(owners []string, but string, forbidden ...string) func([]room) []string {
	return func(rooms []room) []string {
		return links(rooms, func(r room) bool { return under(r.Path, owners...) },
			func(dep string) bool { return dep != but && under(dep, forbidden...) })
	}
}

// linksNoneExactly is linksNone for the rooms alone, not for those below them.
func linksNoneExactly(owners []string, forbidden ...string) func([]room) []string {
	return func(rooms []room) []string {
		return links(rooms, func(r room) bool { return slices.Contains(owners, r.Path) }, func(dep string) bool { return under(dep, forbidden...) })
	}
}

func links(rooms []room, of func(room) bool, forbidden func(dep string) bool) (found []string) {
	for _, r := range rooms {
		if !of(r) {
			continue
		}
		for _, dep := range r.Deps {
			if forbidden(dep) {
				found = append(found, fmt.Sprintf("%s is linked with %s", r.Path, dep))
			}
		}
	}
	return found
}

// both is two checks in one rule.
func both(checks ...func([]room) []string) func([]room) []string {
	return func(rooms []room) (found []string) {
		for _, c := range checks {
			found = append(found, c(rooms)...)
		}
		return found
	}
}

// clock is all of package time that reads or waits.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

func readsNoClock(rooms []room) (found []string) {
	for _, r := range rooms {
		if !under(r.Path, pure...) {
			continue
		}
		r.imports(func(path string, spec *ast.ImportSpec) {
			if path == "time" && spec.Name != nil && spec.Name.Name == "." {
				found = append(found, r.at(spec)+" hides the clock behind a dot import")
			}
		})
		r.walk(func(f *ast.File, n ast.Node) {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(clock, s.Sel.Name) {
				return
			}
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == nameOf(f, "time") {
				found = append(found, fmt.Sprintf("%s reads the clock with time.%s; Now is a field of the snapshot", r.at(n), s.Sel.Name))
			}
		})
	}
	return found
}

func startsNothing(rooms []room) (found []string) {
	found = importsNone(pure, "sync", "context")(rooms)
	for _, r := range rooms {
		if !under(r.Path, pure...) {
			continue
		}
		r.walk(func(_ *ast.File, n ast.Node) {
			what := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				what = "starts a goroutine"
			case *ast.SelectStmt:
				what = "waits in a select"
			case *ast.SendStmt:
				what = "sends on a channel"
			case *ast.UnaryExpr:
				if n.Op == token.ARROW {
					what = "waits for a channel"
				}
			}
			if what != "" {
				found = append(found, r.at(n)+" "+what)
			}
		})
	}
	return found
}

// writers are packages that can write to a cluster. The command line makes clients, to read with
// and to hand to the executor.
var writers = []string{"sigs.k8s.io/controller-runtime/pkg/client", "k8s.io/client-go/kubernetes", "k8s.io/client-go/dynamic", "k8s.io/client-go/rest"}

// writes are the methods of those clients, of our cloud providers and of Ray's heads, that change something.
var writes = []string{
	"Create", "Update", "UpdateStatus", "Patch", "Delete", "DeleteCollection", "DeleteAllOf",
	"Apply", "ApplyStatus", "Bind", "Evict", "EvictV1", "EvictV1beta1", "Launch", "Terminate", "Withdraw", "Drain", "DrainNode",
}

// asker is the room that asks Cluster Autoscaler for nodes, for pkg/execute: by objects, as others ask
// a cloud by calls. It makes and deletes them, and changes none.
const asker = "pkg/cloud/provreq"

// writesNothing goes by names: a call of a method that is called like a write and is given a
// context. That needs no types, and reading code with such names is easily named otherwise.
func writesNothing(rooms []room) (found []string) {
	for _, r := range rooms {
		if !under(r.Path, "pkg", "cmd") || under(r.Path, "pkg/execute") {
			continue
		}
		if under(r.Path, "pkg") && !under(r.Path, asker) {
			found = append(found, importsNone([]string{r.Path}, writers...)([]room{r})...)
		}
		r.walk(func(_ *ast.File, n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 || !isContext(call.Args[0]) {
				return
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(writes, method.Sel.Name) {
				return
			}
			// A provider's own machinery is what Launch and Terminate are made of.
			if under(r.Path, "pkg/cloud") && (method.Sel.Name == "Launch" || method.Sel.Name == "Terminate") {
				return
			}
			if under(r.Path, asker) && (method.Sel.Name == "Create" || method.Sel.Name == "Delete") {
				return
			}
			// As is the client's of Drain.
			if under(r.Path, "pkg/ray/gcs") && strings.HasPrefix(method.Sel.Name, "Drain") {
				return
			}
			found = append(found, fmt.Sprintf("%s calls %s: only pkg/execute writes", r.at(n), method.Sel.Name))
		})
	}
	return found
}

// isContext recognizes ctx, and calls such as cmd.Context() and context.Background().
func isContext(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "ctx"
	case *ast.CallExpr:
		s, ok := e.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		pkg, _ := s.X.(*ast.Ident)
		return s.Sel.Name == "Context" || pkg != nil && pkg.Name == "context"
	}
	return false
}

func mainIsShort(rooms []room) (found []string) {
	const most = 40
	for _, r := range rooms {
		if r.Path != manager {
			continue
		}
		for _, f := range r.Files {
			file := r.fset.File(f.Pos())
			if filepath.Base(file.Name()) == "main.go" && file.LineCount() > most {
				found = append(found, fmt.Sprintf("%s/main.go has %d lines; %d are enough to start a command", r.Path, file.LineCount()-1, most-1))
			}
		}
	}
	return found
}
