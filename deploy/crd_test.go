package deploy_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
)

// definition is the part of a CustomResourceDefinition that these tests look at.
type definition struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind   string `json:"kind"`
			Plural string `json:"plural"`
		} `json:"names"`
		Versions []struct {
			Name    string `json:"name"`
			Served  bool   `json:"served"`
			Storage bool   `json:"storage"`
			Schema  struct {
				OpenAPI *schema `json:"openAPIV3Schema"`
			} `json:"schema"`
			Subresources map[string]any `json:"subresources"`
			Columns      []struct {
				Name     string `json:"name"`
				Priority int    `json:"priority"`
			} `json:"additionalPrinterColumns"`
		} `json:"versions"`
	} `json:"spec"`
}

// schema is the part of an OpenAPI schema that types can be compared with.
type schema struct {
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties *schema            `json:"additionalProperties"`
	Items                *schema            `json:"items"`
	MaxLength            *int               `json:"maxLength"`
	Enum                 []string           `json:"enum"`
	IntOrString          bool               `json:"x-kubernetes-int-or-string"`
}

func readDefinition(t *testing.T, path string) *definition {
	t.Helper()
	docs := documents(t, path)
	if len(docs) != 1 {
		t.Fatalf("%s has %d documents", path, len(docs))
	}
	return decodeLoosely[definition](t, path, docs[0])
}

func TestDefinitionsMatchTypes(t *testing.T) {
	tests := map[string]struct {
		path, name, group, version, kind, scope string
		object                                  reflect.Type
		columns                                 []string
	}{
		"Queue": {
			path: "base/crds/queues.yaml", name: "queues.scheduling.run.ai", scope: "Cluster",
			group: queuev2.GroupVersion.Group, version: queuev2.GroupVersion.Version, kind: "Queue",
			object:  reflect.TypeFor[queuev2.Queue](),
			columns: []string{"Priority", "Parent", "Children", "DisplayName"},
		},
		"CapacityRequest": {
			path: "base/crds/capacityrequests.yaml", name: "capacityrequests.capmgr.io", scope: "Namespaced",
			group: v1alpha1.GroupVersion.Group, version: v1alpha1.GroupVersion.Version, kind: "CapacityRequest",
			object:  reflect.TypeFor[v1alpha1.CapacityRequest](),
			columns: []string{"NodeGroup", "Count", "Ready", "Reason", "Cost", "Age"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := readDefinition(t, tc.path)
			if d.Metadata.Name != tc.name || d.Spec.Group != tc.group || d.Spec.Scope != tc.scope || d.Spec.Names.Kind != tc.kind {
				t.Errorf("defines %s %s of %s, %s", d.Metadata.Name, d.Spec.Names.Kind, d.Spec.Group, d.Spec.Scope)
			}
			if d.Metadata.Name != d.Spec.Names.Plural+"."+d.Spec.Group {
				t.Errorf("the name %s is not plural and group", d.Metadata.Name)
			}
			if len(d.Spec.Versions) != 1 {
				t.Fatalf("%d versions", len(d.Spec.Versions))
			}
			v := d.Spec.Versions[0]
			if v.Name != tc.version || !v.Served || !v.Storage {
				t.Errorf("version %s, served %t, stored %t", v.Name, v.Served, v.Storage)
			}
			if _, ok := v.Subresources["status"]; !ok {
				t.Error("status is no subresource: users could write it")
			}
			var columns []string
			for _, c := range v.Columns {
				if c.Priority == 0 {
					columns = append(columns, c.Name)
				}
			}
			if !slices.Equal(columns, tc.columns) {
				t.Errorf("columns %v, want %v", columns, tc.columns)
			}
			for _, difference := range compare(tc.object, v.Schema.OpenAPI, "") {
				t.Error(difference)
			}
		})
	}
}

func TestConditionTypesAreTheSchemas(t *testing.T) {
	d := readDefinition(t, "base/crds/capacityrequests.yaml")
	status := d.Spec.Versions[0].Schema.OpenAPI.Properties["status"]
	got := status.Properties["conditions"].Items.Properties["type"].Enum
	want := []string{
		v1alpha1.ConditionAccepted, v1alpha1.ConditionProvisioned, v1alpha1.ConditionReady,
		v1alpha1.ConditionFailed, v1alpha1.ConditionReleased,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the schema allows %v, the types name %v", got, want)
	}
}

// Types that write themselves as something else than their fields.
var asWritten = map[reflect.Type]schema{
	reflect.TypeFor[metav1.Time]():       {Type: "string", Format: "date-time"},
	reflect.TypeFor[metav1.Duration]():   {Type: "string"},
	reflect.TypeFor[resource.Quantity](): {IntOrString: true},
	reflect.TypeFor[metav1.ObjectMeta](): {Type: "object"},
}

// compare lists every difference between what a type writes and what a schema knows,
// in both directions: a field that only the type has would be pruned in silence, one
// that only the schema has would be lost when the object is written back.
func compare(t reflect.Type, s *schema, path string) []string {
	if t.Kind() == reflect.Pointer {
		return compare(t.Elem(), s, path)
	}
	if want, ok := asWritten[t]; ok {
		if s.Type != want.Type || s.Format != want.Format || s.IntOrString != want.IntOrString {
			return []string{fmt.Sprintf("%s: the schema says %s %s for a %s", path, s.Type, s.Format, t)}
		}
		return nil
	}
	if want := typeName(t.Kind()); s.Type != want {
		return []string{fmt.Sprintf("%s: the schema says %q for a %s", path, s.Type, t)}
	}
	switch t.Kind() {
	case reflect.Struct:
		return compareFields(t, s, path)
	case reflect.Map:
		if s.AdditionalProperties == nil {
			return []string{path + ": the schema has no additionalProperties for a map"}
		}
		return compare(t.Elem(), s.AdditionalProperties, path+"{}")
	case reflect.Slice:
		if s.Items == nil {
			return []string{path + ": the schema has no items for a list"}
		}
		return compare(t.Elem(), s.Items, path+"[]")
	case reflect.String:
		// Unbounded strings make every rule about them unboundedly dear.
		if s.MaxLength == nil && s.Enum == nil && path != ".apiVersion" && path != ".kind" {
			return []string{path + ": the schema bounds neither length nor values"}
		}
	}
	return nil
}

func compareFields(t reflect.Type, s *schema, path string) []string {
	fields := fieldsOf(t)
	var differences []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		property, ok := s.Properties[name]
		if !ok {
			differences = append(differences, fmt.Sprintf("%s.%s: the schema does not know it", path, name))
			continue
		}
		differences = append(differences, compare(fields[name], property, path+"."+name)...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if _, ok := fields[name]; !ok {
			differences = append(differences, fmt.Sprintf("%s.%s: %s does not know it", path, name, t))
		}
	}
	return differences
}

// fieldsOf gives the types of a struct's fields by the names that are written.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && f.Anonymous {
			maps.Copy(fields, fieldsOf(f.Type))
			continue
		}
		fields[name] = f.Type
	}
	return fields
}

func typeName(k reflect.Kind) string {
	switch k {
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice:
		return "array"
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Float64:
		return "number"
	default:
		return "integer"
	}
}
