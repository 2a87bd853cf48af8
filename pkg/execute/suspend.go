package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/plan"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/snapshot"
)

// suspend stops a workload by its own switch.
func (e *Executor) suspend(ctx context.Context, s plan.Suspend) error {
	u, err := e.read(ctx, s.Object)
	if err == nil {
		err = e.suspendable(u, s.Mode)
	}
	if err == nil {
		err = e.throw(ctx, u, true, string(s.Mode))
	}
	if overtaken(err) {
		e.Log.V(1).Info("Left out a suspension that was overtaken", "object", s.Object.String(), "reason", err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("suspend %s: %w", s.Object, err)
	}
	e.Log.Info("Suspended a workload", "gang", s.Gang.String(), "object", s.Object.String(), "mode", string(s.Mode), "because", s.Because)
	kind, reason := "Normal", "Suspended"
	if s.Mode == snapshot.SuspendedForOthers {
		kind, reason = "Warning", "Preempted"
	}
	e.event(s.Object, kind, reason, "Suspended: "+s.Because)
	if s.For.UID != "" {
		e.Mirror.RememberEviction(s.For.Gang(), e.Now())
	}
	return nil
}

// resume lets a workload go on that capmgr suspended.
func (e *Executor) resume(ctx context.Context, s plan.Resume) error {
	u, err := e.read(ctx, s.Object)
	if err == nil {
		err = resumable(u)
	}
	if err == nil {
		err = e.throw(ctx, u, false, "")
	}
	if overtaken(err) {
		e.Log.V(1).Info("Left out a resumption that was overtaken", "object", s.Object.String(), "reason", err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("resume %s: %w", s.Object, err)
	}
	e.Mirror.RememberResume(s.Gang.Gang(), e.Now())
	e.Log.Info("Resumed a workload", "gang", s.Gang.String(), "object", s.Object.String(), "because", s.Because)
	e.event(s.Object, "Normal", "Resumed", "Resumed: "+s.Because)
	return nil
}

// overtaken says whether an error means that the object is another one than was decided on.
func overtaken(err error) bool {
	var s stale
	return errors.As(err, &s) || apierrors.IsInvalid(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err)
}

// suspendable says why an object cannot be suspended by capmgr as it stands.
func (e *Executor) suspendable(u *unstructured.Unstructured, mode snapshot.Suspension) error {
	if on, _ := switchOf(u); on {
		return stalef("it is suspended already")
	}
	if owner := metav1.GetControllerOf(u); owner != nil && owner.Kind == "RayService" {
		return stalef("its RayService would undo it")
	}
	if u.GetKind() == "RayJob" {
		if err := jobSuspendable(u); err != nil {
			return err
		}
	}
	if mode == snapshot.SuspendedIdle && !e.idleNow(string(u.GetUID())) {
		return stalef("something runs there, or its head does not say")
	}
	return nil
}

// jobSuspendable says why KubeRay would refuse to suspend a RayJob, or not act on it.
func jobSuspendable(u *unstructured.Unstructured) error {
	selector, _, _ := unstructured.NestedStringMap(u.Object, "spec", "clusterSelector")
	shutdown, _, _ := unstructured.NestedBool(u.Object, "spec", "shutdownAfterJobFinishes")
	status, _, _ := unstructured.NestedString(u.Object, "status", "jobDeploymentStatus")
	switch {
	case len(selector) > 0:
		return stalef("a RayJob with a clusterSelector cannot be suspended")
	case !shutdown:
		return stalef("a RayJob without shutdownAfterJobFinishes cannot be suspended")
	case !slices.Contains([]string{"", "Initializing", "Running"}, status):
		return stalef("a RayJob that is %s cannot be suspended", status)
	}
	return nil
}

// idleNow says whether a head has said just now that nothing runs in its cluster, nor waits.
func (e *Executor) idleNow(cluster string) bool {
	if e.Heads == nil {
		return false
	}
	a, ok := e.Heads.Last(cluster)
	if !ok || !a.Fresh(e.Now(), gcs.FreshWithin) || a.State.Waiting() {
		return false
	}
	for _, n := range a.State.Nodes {
		if !idle(n) {
			return false
		}
	}
	return len(a.State.Nodes) > 0
}

// resumable says why capmgr may not resume an object: what its user suspended is the user's.
func resumable(u *unstructured.Unstructured) error {
	on, _ := switchOf(u)
	mode := snapshot.Suspension(u.GetAnnotations()[v1alpha1.SuspensionAnnotation])
	_, started, _ := unstructured.NestedString(u.Object, "status", "startTime")
	switch {
	case !on:
		return stalef("it is not suspended")
	case mode == snapshot.SuspendedUntilGranted, mode == snapshot.SuspendedForOthers:
		return nil
	case mode == "" && !started && u.GetAnnotations()[v1alpha1.HoldAnnotation] == v1alpha1.HoldSuspend:
		return nil // its user made it so that it waits
	}
	return stalef("capmgr did not suspend it")
}

// switchOf is whether an object is suspended, and the path of the switch that says so.
func switchOf(u *unstructured.Unstructured) (on bool, path []string) {
	path = []string{"spec", "suspend"}
	on, there, _ := unstructured.NestedBool(u.Object, path...)
	if u.GetKind() == "RayService" && !there {
		path = []string{"spec", "rayClusterConfig", "suspend"}
		on, _, _ = unstructured.NestedBool(u.Object, path...)
	}
	return on, path
}

// throw turns an object's switch, and notes on it why.
func (e *Executor) throw(ctx context.Context, u *unstructured.Unstructured, on bool, mode string) error {
	_, path := switchOf(u)
	// A RayService has a switch of its own from KubeRay 1.7 on. Before, its RayClusters follow the one
	// in rayClusterConfig; from then on they do not.
	if on && u.GetKind() == "RayService" {
		if err := e.turn(ctx, u, []string{"spec", "suspend"}, on, mode); !unknownField(err) {
			return err
		}
		path = []string{"spec", "rayClusterConfig", "suspend"}
	}
	return e.turn(ctx, u, path, on, mode)
}

// unknownField says whether the API server does not know a field that was written.
func unknownField(err error) bool { return apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) }

func (e *Executor) turn(ctx context.Context, u *unstructured.Unstructured, path []string, on bool, mode string) error {
	pointer := "/" + strings.Join(path, "/")
	var p patch
	p.test("/metadata/uid", string(u.GetUID()))
	if old, there, _ := unstructured.NestedBool(u.Object, path...); there {
		p.test(pointer, old)
	} else {
		p.test(pointer, nil)
	}
	p.set(pointer, on)
	p.annotate(u.GetAnnotations(), map[string]string{v1alpha1.SuspensionAnnotation: mode})
	data, err := p.bytes()
	if err != nil {
		return err
	}
	u = u.DeepCopy()
	err = e.Client.Patch(ctx, u, client.RawPatch(types.JSONPatchType, data), fieldOwner,
		client.FieldValidation(metav1.FieldValidationStrict))
	if err != nil {
		return err
	}
	if u.GetKind() == "RayCluster" {
		e.Mirror.AssumeCluster(u)
	}
	return nil
}

// unnote takes the note of a suspension off what somebody else has let go on.
func (e *Executor) unnote(ctx context.Context) {
	for _, r := range e.Mirror.ResumedByUsers() {
		o := plan.Of(r)
		e.once("unnote "+o.UID, func() {
			if err := e.unnoteNow(ctx, o); err != nil && !overtaken(err) && ctx.Err() == nil {
				e.Log.V(1).Info("Could not take the note of a suspension off", "object", o.String(), "reason", err.Error())
			}
		})
	}
}

func (e *Executor) unnoteNow(ctx context.Context, o plan.Owner) error {
	u, err := e.read(ctx, o)
	if err != nil {
		return err
	}
	on, path := switchOf(u)
	if on || u.GetAnnotations()[v1alpha1.SuspensionAnnotation] == "" {
		return nil
	}
	var p patch
	p.test("/metadata/uid", o.UID)
	if _, there, _ := unstructured.NestedBool(u.Object, path...); there {
		p.test("/"+strings.Join(path, "/"), false)
	}
	p.annotate(u.GetAnnotations(), map[string]string{v1alpha1.SuspensionAnnotation: ""})
	data, err := p.bytes()
	if err != nil {
		return err
	}
	return e.Client.Patch(ctx, u, client.RawPatch(types.JSONPatchType, data), fieldOwner)
}
