package execute

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/capmgr/capmgr/pkg/state"
)

// memoryKey is where in its ConfigMap the memory stands.
const memoryKey = "memory.json"

// memory is the ConfigMap in which a manager leaves state.Memory to its successor.
type memory struct {
	mu   sync.Mutex
	left state.Memory // as it was last read or written
}

func (m *memory) get() state.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left
}

func (m *memory) set(left state.Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = left
}

// Recall reads what a predecessor left, before the first decision. A memory that cannot be read is an
// error: what was bought within the hour would be forgotten, and the limit on it with that.
func (e *Executor) Recall(ctx context.Context) error {
	for pace := again; ; {
		left, err := ReadMemory(ctx, e.Kube, e.Memory)
		switch {
		case err == nil:
			e.memory.set(left)
			e.Mirror.Recall(left)
			return nil
		case apierrors.IsForbidden(err):
			return err
		}
		e.Log.Info("Could not read what the last manager left; trying again", "reason", err.Error())
		if !sleep(ctx, pace.Step()) {
			return ctx.Err()
		}
	}
}

// ReadMemory reads what a manager left in a ConfigMap. There may be none, and nonsense counts as none:
// somebody's hand must not keep a manager from starting.
func ReadMemory(ctx context.Context, kube kubernetes.Interface, name types.NamespacedName) (left state.Memory, err error) {
	object, err := kube.CoreV1().ConfigMaps(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return left, nil
	case err != nil:
		return left, fmt.Errorf("read ConfigMap %s: %w", name, err)
	}
	if left, err = state.ParseMemory(object.Data[memoryKey]); err != nil {
		return state.Memory{}, nil //nolint:nilerr // see above
	}
	return left, nil
}

// keep writes the memory as it is at the moment: two writes at once meet as a conflict.
func (e *Executor) keep(ctx context.Context) error {
	maps := e.Kube.CoreV1().ConfigMaps(e.Memory.Namespace)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		object, err := maps.Get(ctx, e.Memory.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		m := e.Mirror.Memory(e.Now())
		text, encodeErr := m.Text()
		switch {
		case encodeErr != nil:
			return encodeErr
		case err != nil:
			_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.Memory.Namespace, Name: e.Memory.Name},
				Data: map[string]string{memoryKey: text}}, metav1.CreateOptions{})
		default:
			object = object.DeepCopy()
			object.Data = map[string]string{memoryKey: text}
			_, err = maps.Update(ctx, object, metav1.UpdateOptions{})
		}
		if err == nil {
			e.memory.set(m)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", e.Memory, err)
	}
	return nil
}

// keepShapes writes what nodes have taught, when that is something new.
func (e *Executor) keepShapes(ctx context.Context) {
	if e.Mirror.KnowsShapes(e.memory.get()) {
		return
	}
	e.once("memory", func() {
		if err := e.keep(ctx); err != nil && ctx.Err() == nil {
			e.Log.V(1).Info("Could not write what nodes have taught", "reason", err.Error())
		}
	})
}
