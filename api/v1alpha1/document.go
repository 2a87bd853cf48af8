package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var errEmptyDocument = fmt.Errorf("the configuration is empty; it must begin with apiVersion: %s and kind: %s",
	ConfigurationAPIVersion, ConfigurationKind)

// checkDocument finds what is lost once YAML has become a map: fields written twice,
// of which all but one would silently not count, and further documents.
func checkDocument(data []byte) (field.ErrorList, error) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	var first, next yamlv3.Node
	switch err := decoder.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil, errEmptyDocument
	case err != nil:
		return nil, err
	}
	if err := decoder.Decode(&next); err == nil {
		return nil, fmt.Errorf("line %d: a second document begins; a configuration is one document", next.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	var errs field.ErrorList
	for _, node := range first.Content {
		errs = append(errs, duplicates(node, nil)...)
	}
	return errs, nil
}

// duplicates walks the nodes as they are written. An alias is not followed: what it
// stands for is walked where it is defined.
func duplicates(node *yamlv3.Node, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch node.Kind {
	case yamlv3.SequenceNode:
		for i, item := range node.Content {
			errs = append(errs, duplicates(item, path.Index(i))...)
		}
	case yamlv3.MappingNode:
		lines := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			at := child(path, key.Value)
			if line, seen := lines[key.Value]; seen {
				errs = append(errs, &field.Error{
					Type: field.ErrorTypeDuplicate, Field: at.String(), BadValue: key.Value,
					Detail: fmt.Sprintf("duplicate field, on lines %d and %d; keep one of them", line, key.Line),
				})
			}
			lines[key.Value] = key.Line
			errs = append(errs, duplicates(node.Content[i+1], at)...)
		}
	}
	return errs
}

// decodeNumbers reads JSON and keeps numbers as they are written, so that a large
// integer is not rounded before it is judged.
func decodeNumbers(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	if tree == nil {
		return nil, errEmptyDocument
	}
	return tree, nil
}
