package faults

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// store holds the objects of one kind, as the API server does. Objects and lists are replaced, never
// changed, so that whoever has one may keep it.
type store[T client.Object] struct {
	w     *world
	kind  string
	byKey map[string]T
	order []T // by key; nil: something has changed since it was made
}

func newStore[T client.Object](w *world, kind string) *store[T] {
	return &store[T]{w: w, kind: kind, byKey: map[string]T{}}
}

// key is namespace/name; objects without a namespace have "/name".
func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// get returns the object, or nil.
func (s *store[T]) get(key string) T { return s.byKey[key] }

// put creates or replaces an object, and completes its metadata.
func (s *store[T]) put(o T) {
	s.w.serial++
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("%s-%d", s.kind, s.w.serial)))
		o.SetCreationTimestamp(now())
	}
	o.SetResourceVersion(fmt.Sprint(s.w.serial))
	s.byKey[key(o)] = o
	s.changed()
}

// edit replaces an object by a changed copy.
func (s *store[T]) edit(o T, change func(T)) T {
	edited := o.DeepCopyObject().(T)
	change(edited)
	s.put(edited)
	return edited
}

func (s *store[T]) drop(o T) {
	delete(s.byKey, key(o))
	s.changed()
}

func (s *store[T]) changed() {
	s.order = nil
	s.w.changes++
}

// list is all objects by key.
func (s *store[T]) list() []T {
	if s.order == nil {
		s.order = make([]T, 0, len(s.byKey))
		for _, k := range slices.Sorted(maps.Keys(s.byKey)) {
			s.order = append(s.order, s.byKey[k])
		}
	}
	return s.order
}
