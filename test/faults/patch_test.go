package faults

import (
	"encoding/json"
	"slices"

	jsonpatch "github.com/evanphx/json-patch/v5"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var invalidKind = schema.GroupKind{Group: "ray.io", Kind: "RayCluster"}

// objectOf is a RayCluster as a client without types reads it.
func objectOf(rc *rayv1.RayCluster) map[string]any {
	text, err := json.Marshal(rc)
	if err != nil {
		panic(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(slices.Concat([]byte(`{"apiVersion":"ray.io/v1","kind":"RayCluster",`), text[1:])); err != nil {
		panic(err)
	}
	return u.Object
}

// patched applies a JSON patch as the API server does: all of it, or a refusal.
func patched(old *rayv1.RayCluster, o client.Object, p client.Patch) (*rayv1.RayCluster, error) {
	data, err := p.Data(o)
	if err != nil {
		return nil, err
	}
	ops, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(objectOf(old))
	if err != nil {
		return nil, err
	}
	after, err := ops.Apply(before)
	if err != nil {
		return nil, apierrors.NewInvalid(invalidKind, o.GetName(), nil)
	}
	rc := &rayv1.RayCluster{}
	return rc, json.Unmarshal(after, rc)
}
