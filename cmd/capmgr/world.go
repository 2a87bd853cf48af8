package main

import (
	"context"
	"fmt"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud"
	"github.com/capmgr/capmgr/pkg/cloud/aws"
	"github.com/capmgr/capmgr/pkg/cloud/provreq"
	"github.com/capmgr/capmgr/pkg/cloud/signal"
	"github.com/capmgr/capmgr/pkg/fit"
	"github.com/capmgr/capmgr/pkg/state"
)

// world is everything that a decision reads: the mirror and what feeds it.
type world struct {
	kube      kubernetes.Interface
	mirror    *state.Mirror
	fit       *fit.Checker
	observer  *state.Observer
	providers map[v1alpha1.Provider]cloud.Provider

	core   informers.SharedInformerFactory        // Kubernetes' own kinds, shared with the fit check's plugins
	metas  metadatainformer.SharedInformerFactory // those of which nothing but the metadata is of interest to anybody
	synced []toolscache.InformerSynced
}

// newWorld wires informers and cloud to a mirror. Nothing runs before start.
func newWorld(ctx context.Context, config *v1alpha1.Config, rc *rest.Config) (*world, error) {
	kube, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", rc.Host, err)
	}
	metas, err := metadata.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", rc.Host, err)
	}
	providers, err := newProviders(ctx, config, rc)
	if err != nil {
		return nil, err
	}
	w := &world{
		kube: kube, providers: providers, mirror: state.New(config),
		core:  informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithTransform(lean)),
		metas: metadatainformer.NewSharedInformerFactoryWithOptions(metas, 0, metadatainformer.WithTransform(lean)),
	}
	if w.fit, err = fit.New(w.core); err != nil {
		return nil, fmt.Errorf("set up the fit check: %w", err)
	}
	w.observer = &state.Observer{
		Mirror: w.mirror, Providers: providers, Groups: config.NodeGroups, Interval: config.ObserveInterval.Duration}
	for _, feed := range []struct {
		informer toolscache.SharedIndexInformer
		handler  toolscache.ResourceEventHandler
	}{
		{w.core.Core().V1().Pods().Informer(), w.mirror.Pods()},
		{w.core.Core().V1().Nodes().Informer(), w.mirror.Nodes()},
		{w.core.Batch().V1().Jobs().Informer(), w.mirror.Jobs()},
		{w.core.Policy().V1().PodDisruptionBudgets().Informer(), w.mirror.PodDisruptionBudgets()},
		{w.core.Scheduling().V1().PriorityClasses().Informer(), w.mirror.PriorityClasses()},
		{w.core.Apps().V1().ReplicaSets().Informer(), w.mirror.Owners(state.ReplicaSet)},
		{w.core.Apps().V1().StatefulSets().Informer(), w.mirror.Owners(state.StatefulSet)},
		{w.metas.ForResource(appsv1.SchemeGroupVersion.WithResource("deployments")).Informer(), w.mirror.Owners(state.Deployment)},
	} {
		reg, err := feed.informer.AddEventHandler(feed.handler)
		if err != nil {
			return nil, fmt.Errorf("watch the cluster: %w", err)
		}
		w.synced = append(w.synced, reg.HasSynced)
	}
	return w, nil
}

// memoryOf names the ConfigMap in which a manager leaves to its successor what nothing else tells.
func memoryOf(config *v1alpha1.Config) types.NamespacedName {
	return types.NamespacedName{Namespace: config.LeaderElection.Namespace, Name: config.LeaderElection.Name + "-memory"}
}

// follow feeds the custom kinds from a cache that the caller starts.
func (w *world) follow(ctx context.Context, custom cache.Cache) error {
	for _, feed := range []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&queuev2.Queue{}, w.mirror.Queues()},
		{&rayv1.RayCluster{}, w.mirror.RayClusters()},
		{&rayv1.RayJob{}, w.mirror.RayJobs()},
		{&rayv1.RayService{}, w.mirror.RayServices()},
		{&v1alpha1.CapacityRequest{}, w.mirror.CapacityRequests()},
	} {
		informer, err := custom.GetInformer(ctx, feed.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", feed.object, err)
		}
		reg, err := informer.AddEventHandler(feed.handler)
		if err != nil {
			return fmt.Errorf("watch %T: %w", feed.object, err)
		}
		w.synced = append(w.synced, reg.HasSynced)
	}
	return nil
}

// Start runs the informers of Kubernetes' own kinds until ctx ends.
func (w *world) Start(ctx context.Context) error {
	w.core.Start(ctx.Done())
	w.metas.Start(ctx.Done())
	<-ctx.Done()
	w.core.Shutdown()
	w.metas.Shutdown()
	return nil
}

// NeedLeaderElection is false: a standby follows along, so that it can take over at once.
func (w *world) NeedLeaderElection() bool { return false }

// awaitSync waits until the mirror has seen every object that existed at the start.
func (w *world) awaitSync(ctx context.Context) bool {
	w.core.WaitForCacheSync(ctx.Done())
	return toolscache.WaitForCacheSync(ctx.Done(), w.synced...)
}

// newProviders connects to whoever makes the nodes of the groups.
func newProviders(ctx context.Context, config *v1alpha1.Config, rc *rest.Config) (map[v1alpha1.Provider]cloud.Provider, error) {
	providers := map[v1alpha1.Provider]cloud.Provider{}
	for _, g := range config.NodeGroups {
		if providers[g.Provider] != nil {
			continue
		}
		var err error
		if providers[g.Provider], err = newProvider(ctx, g.Provider, config, rc); err != nil {
			return nil, fmt.Errorf("node group %s: %w", g.Name, err)
		}
	}
	return providers, nil
}

func newProvider(ctx context.Context, name v1alpha1.Provider, config *v1alpha1.Config, rc *rest.Config) (cloud.Provider, error) {
	switch name {
	case v1alpha1.ProviderAWS:
		return aws.New(ctx, aws.Options{Region: config.AWS.Region, Endpoint: config.AWS.Endpoint, ClusterName: config.AWS.ClusterName})
	case v1alpha1.ProviderSignal:
		return signal.Provider{}, nil
	case v1alpha1.ProviderProvisioningRequest:
		scheme, err := newScheme()
		if err != nil {
			return nil, err
		}
		c, err := client.New(rc, client.Options{Scheme: scheme})
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", rc.Host, err)
		}
		return provreq.New(c), nil
	}
	return nil, fmt.Errorf("provider %q is not built in", name)
}

// lean drops what nobody here reads and what is often most of an object. Of the owners that create pods
// one by one, a decision reads labels and selectors: there are thousands of old ReplicaSets.
func lean(o any) (any, error) {
	if accessor, err := meta.Accessor(o); err == nil {
		accessor.SetManagedFields(nil)
	}
	switch o := o.(type) {
	case *appsv1.ReplicaSet:
		o.Annotations, o.Spec, o.Status = nil, appsv1.ReplicaSetSpec{Selector: o.Spec.Selector}, appsv1.ReplicaSetStatus{}
	case *appsv1.StatefulSet:
		o.Annotations, o.Spec, o.Status = nil, appsv1.StatefulSetSpec{Selector: o.Spec.Selector}, appsv1.StatefulSetStatus{}
	case *metav1.PartialObjectMetadata:
		o.Annotations = nil
	}
	return o, nil
}

// observeTimeout bounds the first look at the cloud, which a command waits for.
const observeTimeout = 30 * time.Second
