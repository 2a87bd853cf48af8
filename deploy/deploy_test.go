// Package deploy_test holds what an operator applies against the Go types and the
// rules that it must keep. Nothing here needs an API server; test/e2e applies the
// rendered overlays to a real one.
package deploy_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// files lists the files below this folder whose names end in suffix.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, suffix) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("no file ends in %s", suffix)
	}
	return found
}

// documents splits a file into its YAML documents.
func documents(t *testing.T, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	var docs [][]byte
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		docs = append(docs, doc)
	}
}

// decode reads one document of a file into a typed object, strictly.
func decode[T any](t *testing.T, path string, doc []byte) *T {
	t.Helper()
	object := new(T)
	if err := sigsyaml.UnmarshalStrict(doc, object); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return object
}

// decodeLoosely reads the fields that T has and skips the others.
func decodeLoosely[T any](t *testing.T, path string, doc []byte) *T {
	t.Helper()
	object := new(T)
	if err := sigsyaml.Unmarshal(doc, object); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return object
}

// decodeOnly reads a file of one document.
func decodeOnly[T any](t *testing.T, path string) *T {
	t.Helper()
	docs := documents(t, path)
	if len(docs) != 1 {
		t.Fatalf("%s has %d documents, want one", path, len(docs))
	}
	return decode[T](t, path, docs[0])
}

func TestEveryYAMLParses(t *testing.T) {
	for _, path := range files(t, ".yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yamlv3.NewDecoder(bytes.NewReader(data))
		for {
			// Into a map, not a node: that is what refuses a key written twice.
			var object map[string]any
			err := decoder.Decode(&object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
				break
			}
			if kind, _ := object["kind"].(string); kind == "" && !strings.HasSuffix(path, "-values.yaml") {
				t.Errorf("%s has a document without a kind", path)
			}
		}
	}
}

// Every file that kustomize is told of exists, and every file is told of or known
// for another use: a manifest that nobody applies is a trap.
func TestEveryManifestIsApplied(t *testing.T) {
	used := map[string]bool{}
	for _, path := range files(t, "kustomization.yaml") {
		used[path] = true
		k := decodeOnly[struct {
			APIVersion         string   `json:"apiVersion"`
			Kind               string   `json:"kind"`
			Resources          []string `json:"resources"`
			Components         []string `json:"components"`
			ConfigMapGenerator []struct {
				Name      string   `json:"name"`
				Namespace string   `json:"namespace"`
				Behavior  string   `json:"behavior"`
				Files     []string `json:"files"`
			} `json:"configMapGenerator"`
			Patches []struct {
				Path string `json:"path"`
			} `json:"patches"`
			Images []map[string]string `json:"images"`
		}](t, path)
		names := slices.Concat(k.Resources, k.Components)
		for _, g := range k.ConfigMapGenerator {
			names = append(names, g.Files...)
		}
		for _, p := range k.Patches {
			names = append(names, p.Path)
		}
		for _, name := range names {
			used[filepath.Join(filepath.Dir(path), name)] = true
		}
	}
	for path := range used {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a kustomization names %s: %v", path, err)
		}
	}
	for _, path := range files(t, ".yaml") {
		switch filepath.Base(path) {
		case "kuberay-values.yaml", "cluster.yaml": // for Helm and kind
		default:
			if !used[path] {
				t.Errorf("%s is in no kustomization", path)
			}
		}
	}
}
