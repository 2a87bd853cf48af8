package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkShape compares a tree with the Go types and returns the part of it that can
// be decoded. The decoder could do the comparing itself, but it stops at the first
// value of a wrong type, does not say which element of a list that was in, and says
// nothing of a path when a duration or an amount cannot be parsed.
func checkShape(tree any, found *findings) any {
	s := &shape{found: found}
	clean, ok := s.value(tree, reflect.TypeFor[Config](), nil)
	if !ok {
		return map[string]any{}
	}
	return clean
}

// shape compares values with types and reports to found.
//
// +kubebuilder:object:generate=false
type shape struct{ found *findings }

var (
	durationType    = reflect.TypeFor[metav1.Duration]()
	quantityType    = reflect.TypeFor[resource.Quantity]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// value checks one value against a type. The result is false when nothing of it can
// be used.
func (s *shape) value(v any, t reflect.Type, path *field.Path) (any, bool) {
	if v == nil {
		return nil, true
	}
	if t.Kind() == reflect.Pointer {
		return s.value(v, t.Elem(), path)
	}
	if reflect.PointerTo(t).Implements(unmarshalerType) {
		return s.parsed(v, t, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.object(v, t, path)
	case reflect.Map:
		return s.mapping(v, t, path)
	case reflect.Slice:
		return s.list(v, t, path)
	default:
		return s.scalar(v, t, path)
	}
}

// object checks a mapping whose fields are known.
func (s *shape) object(v any, t reflect.Type, path *field.Path) (any, bool) {
	in, ok := v.(map[string]any)
	if !ok {
		return s.wrong(v, path, "an object with the fields "+strings.Join(fieldNames(t), ", "))
	}
	known := fieldsOf(t)
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(in)) {
		if fieldType, ok := known[key]; ok {
			if clean, ok := s.value(in[key], fieldType, child(path, key)); ok {
				out[key] = clean
			}
			continue
		}
		s.unknown(key, fieldNames(t), path)
	}
	return out, true
}

// unknown reports a field that the type does not have. The field that was probably
// meant counts as settled: it is not reported as missing as well.
func (s *shape) unknown(key string, known []string, path *field.Path) {
	remedy := "known fields: " + strings.Join(known, ", ")
	near := nearest(key, known)
	if near != "" {
		remedy = "did you mean " + near + "?"
	}
	s.found.add(&field.Error{
		Type: field.ErrorTypeForbidden, Field: child(path, key).String(), BadValue: key,
		Detail: "unknown field; " + remedy,
	})
	if near != "" {
		s.found.settle(child(path, near).String())
	}
}

// mapping checks a mapping whose keys are free.
func (s *shape) mapping(v any, t reflect.Type, path *field.Path) (any, bool) {
	in, ok := v.(map[string]any)
	if !ok {
		return s.wrong(v, path, "a mapping from names to values")
	}
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(in)) {
		if clean, ok := s.value(in[key], t.Elem(), child(path, key)); ok {
			out[key] = clean
		}
	}
	return out, true
}

// list checks every element. An unusable one stays as null, so that the elements
// after it keep their index in what is reported later.
func (s *shape) list(v any, t reflect.Type, path *field.Path) (any, bool) {
	in, ok := v.([]any)
	if !ok {
		return s.wrong(v, path, "a list")
	}
	out := make([]any, len(in))
	for i, item := range in {
		if clean, ok := s.value(item, t.Elem(), path.Index(i)); ok {
			out[i] = clean
		}
	}
	return out, true
}

// parsed checks a value that its type reads by itself, such as a duration.
func (s *shape) parsed(v any, t reflect.Type, path *field.Path) (any, bool) {
	if t == durationType {
		text, ok := v.(string)
		if ok {
			_, err := time.ParseDuration(text)
			ok = err == nil
		}
		if !ok {
			return s.wrong(v, path, "a duration with its unit, such as 30s, 5m or 1h30m")
		}
		return v, true
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil && t == quantityType {
		return s.wrong(v, path, "an amount such as 4, 3920m or 14162Mi")
	}
	if err != nil {
		s.found.add(&field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: v, Detail: err.Error()})
		return nil, false
	}
	return v, true
}

// scalar checks strings, booleans and whole numbers: all that is left.
func (s *shape) scalar(v any, t reflect.Type, path *field.Path) (any, bool) {
	switch t.Kind() {
	case reflect.String:
		if _, ok := v.(string); !ok {
			return s.wrong(v, path, "a string; put it in quotes")
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return s.wrong(v, path, "true or false")
		}
	default:
		number, ok := v.(json.Number)
		if !ok {
			return s.wrong(v, path, "a whole number without quotes")
		}
		if _, err := strconv.ParseInt(number.String(), 10, t.Bits()); err != nil {
			return s.wrong(v, path, fmt.Sprintf("a whole number of at most %d bits", t.Bits()))
		}
	}
	return v, true
}

// wrong reports a value of another type than wanted.
func (s *shape) wrong(v any, path *field.Path, wanted string) (any, bool) {
	name := ""
	if path != nil {
		name = path.String()
	}
	s.found.add(&field.Error{
		Type: field.ErrorTypeTypeInvalid, Field: name, BadValue: v,
		Detail: fmt.Sprintf("must be %s, not %s", wanted, describe(v)),
	})
	return nil, false
}

// describe names a value of the wrong type; long ones are not repeated.
func describe(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		const enough = 40
		if len(v) > enough {
			return "a string"
		}
		return fmt.Sprintf("the string %q", v)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	default:
		return fmt.Sprintf("the number %v", v)
	}
}

// fieldsOf gives the type of each field by its name in files; inlined structs
// contribute theirs.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name != "":
			fields[name] = f.Type
		case f.Anonymous:
			maps.Copy(fields, fieldsOf(f.Type))
		}
	}
	return fields
}

// fieldNames are the names of the fields in files, sorted.
func fieldNames(t reflect.Type) []string {
	return slices.Sorted(maps.Keys(fieldsOf(t)))
}

// child is the path of a field; a key that does not read as a word is put in
// brackets, as field.Path does for keys.
func child(path *field.Path, key string) *field.Path {
	if plainKey(key) || path == nil {
		return path.Child(key)
	}
	return path.Key(key)
}

func plainKey(key string) bool {
	for _, r := range key {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '-' && r != '_' {
			return false
		}
	}
	return key != ""
}
