package v1alpha1

import (
	"encoding/json"
	"fmt"
	"os"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Load reads, completes and checks the configuration file at path. Its error names
// the file, and wraps an *InvalidError where the file could be read but is wrong.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	config, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s is refused:\n%w", path, err)
	}
	return config, nil
}

// Decode reads a configuration from YAML or JSON, fills in defaults and checks it.
// It is strict: what it does not know, or could misread, it refuses. The error is
// an *InvalidError that holds every finding, not the first one.
func Decode(data []byte) (*Config, error) {
	duplicates, err := checkDocument(data)
	if err != nil {
		return nil, invalidDocument(err)
	}
	tree, err := readTree(data)
	if err != nil {
		return nil, invalidDocument(err)
	}

	found := &findings{}
	found.add(duplicates...)
	clean := checkShape(tree, found)

	config, err := decodeTree(clean)
	if err != nil {
		return nil, invalidDocument(err)
	}
	SetDefaults(config)
	found.add(Validate(config)...)
	if err := found.err(); err != nil {
		return nil, err
	}
	return config, nil
}

// readTree turns the document into maps, slices, strings, booleans and json.Numbers.
// Duplicates were found before, so the last one may win here.
func readTree(data []byte) (any, error) {
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, err
	}
	return decodeNumbers(asJSON)
}

// decodeTree turns a tree without shape errors into the typed configuration. The
// decoder is as strict as the API server's: it would tell if the shape check had
// overlooked anything.
func decodeTree(tree any) (*Config, error) {
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	config := &Config{}
	strict, err := kjson.UnmarshalStrict(data, config)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, strict[0]
	}
	return config, nil
}
