// Package provreq has nodes made by a stock Cluster Autoscaler that is asked by ProvisioningRequests
// (autoscaling.x-k8s.io/v1; flag --enable-provisioning-requests, off by default).
//
// A request becomes one ProvisioningRequest, because on AWS all pods of one must fit one node group,
// with a PodTemplate for each kind of pod, in the pods' own namespace. All of them belong to the
// CapacityRequest and go with it, whoever is there to withdraw them.
//
// Cluster Autoscaler calls a request provisioned when it has asked its cloud, before any machine
// exists, and does not look at it again. So Provisioned is read as nothing more than "asked"; whoever
// calls this package counts the nodes.
package provreq

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	v1 "k8s.io/autoscaler/cluster-autoscaler/apis/provisioningrequest/autoscaling.x-k8s.io/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/capmgr/capmgr/pkg/cloud"
)

// GroupVersion and Kind are what the API server has to know before a request can be made.
var GroupVersion = v1.SchemeGroupVersion

// Kind is that of the requests.
const Kind = "ProvisioningRequest"

// AddToScheme registers the types that the client of a Provider needs beside Kubernetes' own.
func AddToScheme(s *runtime.Scheme) error { return v1.AddToScheme(s) }

// Labels on what this package writes.
const (
	managedBy = "app.kubernetes.io/managed-by"
	manager   = "capmgr"
	// groupLabel is the configured name of the node group that is asked.
	groupLabel = "capmgr.io/node-group"
)

// The CapacityRequest that owns what this package writes.
const (
	ownerAPIVersion = "capmgr.io/v1alpha1"
	ownerKind       = "CapacityRequest"
)

// Provider implements cloud.Delegate. It is safe for concurrent use.
type Provider struct {
	client client.Client
}

// New returns a provider that writes with a client, whose scheme knows AddToScheme's types and which
// reads from the API server itself.
func New(c client.Client) *Provider { return &Provider{client: c} }

// Observe returns what the configuration promises of the groups: there is no cloud to read.
func (p *Provider) Observe(_ context.Context, groups []cloud.GroupConfig) ([]cloud.Group, error) {
	return cloud.Promised(groups), nil
}

// Launch makes the ProvisioningRequest, its PodTemplates first: Cluster Autoscaler fails a request for
// good whose templates it does not find. The same token makes one request however often it is sent.
func (p *Provider) Launch(ctx context.Context, r cloud.LaunchRequest) ([]string, error) {
	what := fmt.Sprintf("ask for %d nodes of %s", r.Count, r.Group.Name)
	meta, err := metaOf(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if there, err := p.there(ctx, r, meta); there || err != nil {
		return nil, wrap(what, err)
	}
	pods, err := p.pods(ctx, r)
	if err != nil {
		return nil, wrap(what, err)
	}
	sets, err := podSets(r, pods)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	request := &v1.ProvisioningRequest{ObjectMeta: meta, Spec: v1.ProvisioningRequestSpec{
		ProvisioningClassName: r.Group.Delegation.Class, Parameters: map[string]v1.Parameter{}}}
	for key, value := range r.Group.Delegation.Parameters {
		request.Spec.Parameters[key] = v1.Parameter(value)
	}
	for k, set := range sets {
		template := &corev1.PodTemplate{ObjectMeta: meta, Template: set.template}
		template.Name = templateName(meta.Name, k)
		if err := p.client.Create(ctx, template); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, wrap(what, err)
		}
		request.Spec.PodSets = append(request.Spec.PodSets, v1.PodSet{PodTemplateRef: v1.Reference{Name: template.Name}, Count: set.count})
	}
	if err := p.client.Create(ctx, request); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, wrap(what, err)
	}
	return nil, nil
}

// there says whether a request has been made already. One of a CapacityRequest that is gone is about to
// go as well: its name is free in a moment.
func (p *Provider) there(ctx context.Context, r cloud.LaunchRequest, meta metav1.ObjectMeta) (bool, error) {
	found := &v1.ProvisioningRequest{}
	err := p.client.Get(ctx, client.ObjectKey{Namespace: meta.Namespace, Name: meta.Name}, found)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	case !owned(found, r.IntentUID):
		return false, fmt.Errorf("ProvisioningRequest %s/%s belongs to somebody else or is being deleted: %w", meta.Namespace, meta.Name, cloud.ErrUnknownOutcome)
	}
	return true, nil
}

func owned(o metav1.Object, by string) bool {
	for _, ref := range o.GetOwnerReferences() {
		if string(ref.UID) == by {
			return o.GetDeletionTimestamp() == nil
		}
	}
	return false
}

// pods reads the pods of a request as they are.
func (p *Provider) pods(ctx context.Context, r cloud.LaunchRequest) ([]*corev1.Pod, error) {
	var pods []*corev1.Pod
	for _, ref := range r.Pods {
		pod := &corev1.Pod{}
		err := p.client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, pod)
		if apierrors.IsNotFound(err) || err == nil && string(pod.UID) != ref.UID {
			return nil, fmt.Errorf("pod %s/%s is gone: %w", ref.Namespace, ref.Name, cloud.ErrStale)
		}
		if err != nil {
			return nil, err
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

// Follow reads the request's conditions. Pods that are gone are no matter: the templates stand for any
// like them.
func (p *Provider) Follow(ctx context.Context, r cloud.LaunchRequest, _ []cloud.Pod) error {
	what := fmt.Sprintf("ask for %d nodes of %s", r.Count, r.Group.Name)
	meta, err := metaOf(r)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	found := &v1.ProvisioningRequest{}
	err = p.client.Get(ctx, client.ObjectKey{Namespace: meta.Namespace, Name: meta.Name}, found)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: somebody deleted ProvisioningRequest %s/%s: %w", what, meta.Namespace, meta.Name, cloud.ErrRejected)
	}
	if err != nil {
		return wrap(what, err)
	}
	if err := standing(found); err != nil {
		return fmt.Errorf("%s: ProvisioningRequest %s/%s: %w", what, meta.Namespace, meta.Name, err)
	}
	return nil
}

// Withdraw deletes the request, so that Cluster Autoscaler neither tries again nor keeps room for it,
// and then its templates. What it has made already, it removes when it is idle.
func (p *Provider) Withdraw(ctx context.Context, r cloud.LaunchRequest) error {
	what := fmt.Sprintf("withdraw the request for %d nodes of %s", r.Count, r.Group.Name)
	meta, err := metaOf(r)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	request := &v1.ProvisioningRequest{ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name}}
	if err := p.client.Delete(ctx, request); err != nil && !apierrors.IsNotFound(err) && !apimeta.IsNoMatchError(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	for k := range maxPodSets { // made in this order, so the first that is missing is the last
		template := &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: meta.Namespace, Name: templateName(meta.Name, k)}}
		err := p.client.Delete(ctx, template)
		if apierrors.IsNotFound(err) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// Annotations tell Cluster Autoscaler whose the room is that it keeps. It knows a pod as consuming a
// request only where both are there.
func (p *Provider) Annotations(r cloud.LaunchRequest) map[string]string {
	meta, err := metaOf(r)
	if err != nil { // Launch says so
		return nil
	}
	return map[string]string{v1.ProvisioningRequestPodAnnotationKey: meta.Name, v1.ProvisioningClassPodAnnotationKey: r.Group.Delegation.Class}
}

// Terminate refuses: Cluster Autoscaler removes what it made.
func (p *Provider) Terminate(_ context.Context, g cloud.GroupConfig, instances []string) error {
	return fmt.Errorf("terminate %v of %s: Cluster Autoscaler removes its nodes: %w", instances, g.Name, cloud.ErrRejected)
}

// metaOf names what is written for a request: the CapacityRequest that owns it, and its token, which is
// another one for every attempt and group.
func metaOf(r cloud.LaunchRequest) (metav1.ObjectMeta, error) {
	namespace, name, err := splitIntent(r)
	if err != nil {
		return metav1.ObjectMeta{}, err
	}
	const enough = 8 // of the token: the name before it tells the attempt already
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name + "-" + r.Token[:min(len(r.Token), enough)],
		Labels: map[string]string{managedBy: manager, groupLabel: r.Group.Name},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: ownerAPIVersion, Kind: ownerKind, Name: name, UID: types.UID(r.IntentUID)}},
	}, nil
}

func templateName(request string, k int) string { return request + "-" + strconv.Itoa(k) }
