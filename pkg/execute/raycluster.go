package execute

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray"
)

// fieldOwner is the name under which capmgr's own writes stand in the managed fields of Ray's objects.
const fieldOwner = client.FieldOwner("capmgr")

// stale says that the cluster has moved on since the decision. The next one knows better.
type stale string

// Error says what is different.
func (s stale) Error() string { return string(s) }

func stalef(format string, args ...any) error { return stale(fmt.Sprintf(format, args...)) }

// read gets an object of Ray's as it is stored, with fields that this client does not know.
func (e *Executor) read(ctx context.Context, o plan.Owner) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(o.APIVersion)
	u.SetKind(o.Kind)
	err := e.Client.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: o.Name}, u)
	switch {
	case client.IgnoreNotFound(err) == nil && err != nil:
		return nil, stalef("%s is gone", o)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", o, err)
	case string(u.GetUID()) != o.UID:
		return nil, stalef("%s is another object by now", o)
	case u.GetDeletionTimestamp() != nil:
		return nil, stalef("%s is being deleted", o)
	}
	return u, nil
}

// workerGroup is one worker group of a RayCluster as it is stored.
type workerGroup struct {
	cluster *unstructured.Unstructured
	fields  map[string]any
	path    string // of the group in the object
}

// readGroup reads a worker group and checks that it is the one that was decided on.
func (e *Executor) readGroup(ctx context.Context, cluster plan.Owner, g plan.Group) (*workerGroup, error) {
	u, err := e.read(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); suspended {
		return nil, stalef("%s is suspended", cluster)
	}
	groups, _, err := unstructured.NestedSlice(u.Object, "spec", "workerGroupSpecs")
	if err != nil || g.Index >= len(groups) {
		return nil, stalef("%s has no worker group %d", cluster, g.Index)
	}
	fields, ok := groups[g.Index].(map[string]any)
	if !ok || fields["groupName"] != g.Name {
		return nil, stalef("worker group %d of %s is not %s any more", g.Index, cluster, g.Name)
	}
	w := &workerGroup{u, fields, fmt.Sprintf("/spec/workerGroupSpecs/%d", g.Index)}
	if hosts := max(1, w.number("numOfHosts")); hosts != g.Hosts {
		return nil, stalef("a replica of %s of %s has %d hosts by now", g.Name, cluster, hosts)
	}
	return w, nil
}

// number is an integer field, zero when it is not there.
func (w *workerGroup) number(field string) int {
	n, _, _ := unstructured.NestedInt64(w.fields, field)
	return int(n)
}

// list is workersToDelete.
func (w *workerGroup) list() []string {
	l, _, _ := unstructured.NestedStringSlice(w.fields, "scaleStrategy", "workersToDelete")
	return l
}

// guard begins a patch of the group that fails when the object or the group is another one by now.
func (w *workerGroup) guard(g plan.Group) patch {
	var p patch
	p.test("/metadata/uid", string(w.cluster.GetUID()))
	p.test(w.path+"/groupName", g.Name)
	return p
}

// setList guards workersToDelete by its old value and writes the new one, when there is one.
func (w *workerGroup) setList(p *patch, list []string) {
	strategy := w.path + "/scaleStrategy"
	if _, there := w.fields["scaleStrategy"]; !there {
		p.test(strategy, nil)
		if len(list) > 0 {
			p.set(strategy, map[string]any{"workersToDelete": list})
		}
		return
	}
	path := strategy + "/workersToDelete"
	old := w.list()
	if old == nil {
		p.test(path, nil)
	} else {
		p.test(path, old)
	}
	if !slices.Equal(old, list) {
		p.set(path, list)
	}
}

// writeGroup sends a patch of a RayCluster, and shows the mirror what came of it.
func (e *Executor) writeGroup(ctx context.Context, w *workerGroup, p patch) error {
	data, err := p.bytes()
	if err != nil {
		return err
	}
	u := w.cluster.DeepCopy()
	if err := e.Client.Patch(ctx, u, client.RawPatch(types.JSONPatchType, data), fieldOwner); err != nil {
		return err
	}
	e.Mirror.AssumeCluster(u)
	return nil
}

// podsOf lists the pods that a RayCluster controls, from the API server itself. What a label says of
// a pod is its user's to write; who controls it is not.
func (e *Executor) podsOf(ctx context.Context, cluster plan.Owner) (map[string]*corev1.Pod, error) {
	list, err := e.Kube.CoreV1().Pods(cluster.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{ray.ClusterLabel: cluster.Name}.String()})
	if err != nil {
		return nil, fmt.Errorf("list the pods of %s: %w", cluster, err)
	}
	out := map[string]*corev1.Pod{}
	for k := range list.Items {
		p := &list.Items[k]
		if ref := metav1.GetControllerOf(p); ref != nil && string(ref.UID) == cluster.UID {
			out[p.Name] = p
		}
	}
	return out, nil
}
