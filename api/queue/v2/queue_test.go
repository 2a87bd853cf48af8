package v2

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"
)

func TestSchemeDecodes(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	manifest := []byte(`
apiVersion: scheduling.run.ai/v2
kind: Queue
metadata: {name: team-a}
spec:
  parentQueue: department-1
  priority: 50
  preemptMinRuntime: 10m
  resources:
    gpu: {quota: 0.5, limit: -1, overQuotaWeight: 1}
    cpu: {quota: 8000}
`)
	data, err := yaml.YAMLToJSON(manifest)
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	object, _, err := decoder.Decode(data, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	priority := 50
	want := &Queue{
		TypeMeta:   metav1.TypeMeta{APIVersion: "scheduling.run.ai/v2", Kind: "Queue"},
		ObjectMeta: metav1.ObjectMeta{Name: "team-a"},
		Spec: QueueSpec{
			ParentQueue: "department-1", Priority: &priority,
			PreemptMinRuntime: &metav1.Duration{Duration: 10 * time.Minute},
			Resources: &QueueResources{
				GPU: QueueResource{Quota: 0.5, Limit: Unlimited, OverQuotaWeight: 1},
				CPU: QueueResource{Quota: 8000},
			},
		},
	}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEffectivePriority(t *testing.T) {
	zero := 0
	for name, tc := range map[string]struct {
		spec QueueSpec
		want int
	}{
		"Absent": {want: 100},
		"Zero":   {spec: QueueSpec{Priority: &zero}, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.spec.EffectivePriority(); got != tc.want {
				t.Errorf("priority %d, want %d", got, tc.want)
			}
		})
	}
}

// What is not set is not written: an explicit null would be refused by the schema,
// and an empty status would overwrite one.
func TestUnsetIsNotWritten(t *testing.T) {
	queue := Queue{Spec: QueueSpec{Resources: &QueueResources{}}}
	queue.Status.Conditions = []QueueCondition{{Type: QueueOrphan, Status: corev1.ConditionTrue}}
	for name, tc := range map[string]struct {
		value any
		want  string
	}{
		"Spec":      {value: queue.Spec, want: `{"resources":{}}`},
		"Condition": {value: queue.Status, want: `{"conditions":[{"type":"Orphan","status":"True"}]}`},
		"Quantity": {
			value: QueueStatus{Allocated: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("500m")}},
			want:  `{"allocated":{"nvidia.com/gpu":"500m"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(tc.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Errorf("written as %s, want %s", got, tc.want)
			}
		})
	}
}
