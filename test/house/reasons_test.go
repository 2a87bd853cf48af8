package house

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
)

// page is what docs/reasons.md has in one of its chapters.
type page struct {
	names    []string
	examples map[string]string // by name
}

// readReasons reads the page by its chapters: entries are headings, or rows of a table.
func readReasons(t *testing.T) map[string]*page {
	t.Helper()
	text, err := os.ReadFile("../../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile("^(?:### |\\| )`([A-Za-z]+)`")
	pages, now := map[string]*page{}, &page{}
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			now = &page{examples: map[string]string{}}
			pages[strings.TrimSpace(title)] = now
		} else if m := entry.FindStringSubmatch(line); m != nil {
			now.names = append(now.names, m[1])
		} else if example, ok := strings.CutPrefix(line, "    "); ok {
			now.examples[now.names[len(now.names)-1]] = strings.TrimSpace(example)
		}
	}
	return pages
}

// TestReasonsAreDocumented: every reason has its entry, in the order of its list, and no entry is of none.
func TestReasonsAreDocumented(t *testing.T) {
	rooms := readHouse(t)
	var reasons []string
	for _, r := range plan.Reasons() {
		reasons = append(reasons, string(r))
	}
	constants := slices.Sorted(slices.Values(reasonConstants(rooms)))
	if diff := cmp.Diff(constants, slices.Sorted(slices.Values(reasons))); diff != "" {
		t.Errorf("plan.Reasons lists other reasons than there are (-constants +list):\n%s", diff)
	}
	pages := readReasons(t)
	if diff := cmp.Diff(reasons, pages["Verdicts"].names); diff != "" {
		t.Errorf("verdicts (-code +page):\n%s", diff)
	}
	if diff := cmp.Diff(v1alpha1.CapacityRequestReasons(), pages["CapacityRequests"].names); diff != "" {
		t.Errorf("reasons of CapacityRequests (-code +page):\n%s", diff)
	}
	for _, name := range eventReasons(rooms) {
		if !slices.Contains(pages["Events"].names, name) {
			t.Errorf("the event %s has no row", name)
		}
	}
}

// TestExamplesAreReal: a scenario prints what the page shows as an example. What the model does not play is
// left out.
func TestExamplesAreReal(t *testing.T) {
	var told []byte
	paths, err := filepath.Glob("../scenarios/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, text...)
	}
	examples := readReasons(t)["Verdicts"].examples
	for _, r := range plan.Reasons() {
		example := examples[string(r)]
		if !strings.HasPrefix(example, string(r)+": ") {
			t.Errorf("%s has no example of its own: %q", r, example)
		}
		if r != plan.BindRejected && r != plan.FieldContention && !strings.Contains(string(told), "): "+example+"\n") {
			t.Errorf("no scenario prints %q", example)
		}
	}
}

// reasonConstants are the values of the constants of type Reason in pkg/plan.
func reasonConstants(rooms []room) (out []string) {
	for _, r := range rooms {
		if r.Path != "pkg/plan" {
			continue
		}
		r.walk(func(_ *ast.File, n ast.Node) {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
				for _, v := range spec.Values {
					out = append(out, literal(v))
				}
			}
		})
	}
	return out
}

// eventReasons are those that the executor writes out where it tells of an event.
func eventReasons(rooms []room) (out []string) {
	for _, r := range rooms {
		if r.Path != "pkg/execute" {
			continue
		}
		r.walk(func(_ *ast.File, n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 4 {
				return
			}
			if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "event" {
				if name := literal(call.Args[2]); name != "" {
					out = append(out, name)
				}
			}
		})
	}
	return out
}

// literal is the value of a string that is written out, or "".
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(lit.Value)
	return text
}

// reasonsAreListed finds reasons that are made up where one is given: converted from a written string, or
// given as one in a verdict, a denial or what blocks a gang.
func reasonsAreListed(rooms []room) (found []string) {
	for _, r := range rooms {
		if r.Path == "pkg/plan" || !under(r.Path, "pkg", "cmd") {
			continue
		}
		r.walk(func(f *ast.File, n ast.Node) {
			made := ""
			switch n := n.(type) {
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Reason" && isOf(s.X, f, "pkg/plan") && len(n.Args) == 1 {
					made = literal(n.Args[0])
				}
			case *ast.CompositeLit:
				made = madeUp(n)
			}
			if made != "" {
				found = append(found, r.at(n)+" makes up the reason "+made+"; pkg/plan has the list")
			}
		})
	}
	return found
}

// madeUp is a reason that is written out in one of the structs that carry one, or "".
func madeUp(lit *ast.CompositeLit) string {
	name := ""
	switch kind := lit.Type.(type) {
	case *ast.Ident:
		name = kind.Name
	case *ast.SelectorExpr:
		name = kind.Sel.Name
	}
	if !slices.Contains([]string{"blocked", "Denial", "Verdict"}, name) {
		return ""
	}
	for k, e := range lit.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); !ok && k == 0 {
			return literal(e)
		} else if key, named := keyOf(pair); named && strings.EqualFold(key, "reason") {
			return literal(pair.Value)
		}
	}
	return ""
}

func keyOf(pair *ast.KeyValueExpr) (string, bool) {
	if pair == nil {
		return "", false
	}
	id, ok := pair.Key.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}

// isOf says whether an expression names one of our rooms.
func isOf(e ast.Expr, f *ast.File, path string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == nameOf(f, module+path)
}
