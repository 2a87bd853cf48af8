package execute

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch is a JSON patch: a test that fails leaves the object as it is.
type patch []operation

func (p *patch) test(path string, value any) { *p = append(*p, operation{"test", path, value}) }

// set writes a value, whether or not there is one.
func (p *patch) set(path string, value any) { *p = append(*p, operation{"add", path, value}) }

// annotate guards and changes annotations; "" takes one off. What is as it shall be is left alone.
func (p *patch) annotate(have, want map[string]string) {
	changed := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(key string) bool { return have[key] == want[key] })
	if len(changed) == 0 {
		return
	}
	if len(have) == 0 {
		p.test("/metadata/annotations", nil)
		p.set("/metadata/annotations", map[string]string{})
	}
	for _, key := range changed {
		path := "/metadata/annotations/" + pointer(key)
		old, there := have[key]
		if there {
			p.test(path, old)
		} else {
			p.test(path, nil)
		}
		if want[key] == "" {
			*p = append(*p, operation{"remove", path, nil})
			continue
		}
		p.set(path, want[key])
	}
}

// pointer escapes a key for a JSON pointer (RFC 6901).
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func (p *patch) bytes() ([]byte, error) {
	data, err := json.Marshal(*p)
	if err != nil {
		return nil, fmt.Errorf("encode a patch: %w", err)
	}
	return data, nil
}
