package faults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

// recorder puts the events that users see into the story.
type recorder struct {
	record.EventRecorder
	w *world
}

func (r recorder) Event(o runtime.Object, _, reason, message string) {
	ref, _ := o.(*corev1.ObjectReference)
	r.w.tell("event %s %s: %s", ref.Name, reason, message)
}
