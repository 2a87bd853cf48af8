package v1alpha1

import (
	"errors"
	"testing"

	"sigs.k8s.io/yaml"
)

// FuzzDecodeConfiguration: whatever the bytes, the answer is findings with a message
// or a configuration that keeps every rule and can be written and read again.
func FuzzDecodeConfiguration(f *testing.F) {
	for _, seed := range []string{
		"", "null", "[]", "{}", header, group, example,
		delegated,
		group + "  hourlyPrice: $1\n",
		group + "- \n- 3\n- {name: [a]}\n",
		header + "queues: {a.b: {scaling: {maxNodes: {x.y: -1}}}}\n",
		header + "x: &a [*a]\n",
		header + "limits: {<<: {maxNodes: 1}, maxNodes: 2}\n",
		"a: 1\na: 2\n---\nb: 3\n",
		header + "observeInterval: .inf\n",
		header + "limits: {maxNodes: 1e400, maxHourlyCost: !!binary AA==}\n",
		"? [a]\n: b\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := Decode(data)
		if err != nil {
			var invalid *InvalidError
			if !errors.As(err, &invalid) || err.Error() == "" {
				t.Fatalf("error %T %q is no finding", err, err)
			}
			return
		}
		if errs := Validate(config); len(errs) > 0 {
			t.Fatalf("decoded, but %v", errs)
		}
		out, err := yaml.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(out); err != nil {
			t.Fatalf("does not read its own output: %v\n%s", err, out)
		}
	})
}
