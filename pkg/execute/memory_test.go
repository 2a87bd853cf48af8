package execute_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/state"
)

var memoryName = types.NamespacedName{Namespace: "capmgr-system", Name: "capmgr-memory"}

// limited is an executor with a limit on growth, which leaves its memory on an API server.
func limited(t *testing.T, kube *fake.Clientset) *execute.Executor {
	t.Helper()
	config, most := configuration(), int32(10)
	config.Limits.MaxNewNodesPerHour = &most
	e, _ := worldOf(t, config, &stub{comes: 2})
	e.Kube, e.Memory = kube, memoryName
	return e
}

// The limit on growth holds over a restart, also when gang and request are gone by then.
func TestASuccessorKnowsWhatWasBought(t *testing.T) {
	kube := fake.NewClientset()
	e := limited(t, kube)
	if err := e.Execute(t.Context(), purchase(train, "team-a", 2)); err != nil {
		t.Fatal(err)
	}
	e.Wait()
	next := limited(t, kube)
	if err := next.Recall(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []state.Bought{{Request: "default/x", At: noon.Add(time.Second), Nodes: 2}}
	if diff := cmp.Diff(want, next.Mirror.Memory(noon).Bought); diff != "" {
		t.Errorf("what the successor knows (-want +got):\n%s", diff)
	}
	if grown := next.Mirror.Snapshot(noon.Add(59 * time.Minute)).Grown; len(grown) != 1 || grown[0].Nodes != 2 {
		t.Errorf("within the hour: %+v", grown)
	}
	if grown := next.Mirror.Snapshot(noon.Add(time.Hour + time.Second)).Grown; len(grown) != 0 {
		t.Errorf("after an hour: %+v", grown)
	}
}

// What cannot be counted is not bought.
func TestNothingIsBoughtUncounted(t *testing.T) {
	kube := fake.NewClientset()
	kube.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("away")
	})
	e := limited(t, kube)
	created := false
	e.Client = interceptor.NewClient(e.Client.(client.WithWatch), interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
		created = true
		return nil
	}})
	if err := e.Execute(t.Context(), purchase(train, "team-a", 2)); err == nil || created {
		t.Errorf("error %v, request written %v", err, created)
	}
}

// Somebody's hand in the memory does not keep a manager from starting; a memory that may not be read does.
func TestRecall(t *testing.T) {
	nonsense := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: memoryName.Namespace, Name: memoryName.Name},
		Data: map[string]string{"memory.json": "{"}})
	if err := limited(t, nonsense).Recall(t.Context()); err != nil {
		t.Errorf("nonsense: %v", err)
	}
	closed := fake.NewClientset()
	closed.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("configmaps").GroupResource(), memoryName.Name, nil)
	})
	if err := limited(t, closed).Recall(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("not allowed: %v", err)
	}
}
