package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/cloud/provreq"
)

// newScheme knows every kind that capmgr reads or writes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, rayv1.AddToScheme, queuev2.AddToScheme, v1alpha1.AddToScheme, provreq.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register API types: %w", err)
		}
	}
	return scheme, nil
}

// restConfig finds the API server: the file named, else KUBECONFIG, else the pod's own account.
func restConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, noServer()
	case err != nil:
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return unthrottled(config), nil
}

// noServer says where an API server was looked for and not found.
func noServer() error {
	if paths := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); paths != "" {
		return fmt.Errorf("no API server is configured: KUBECONFIG is %s, and nothing there names one", paths)
	}
	return errors.New("no API server is configured: pass --kubeconfig, set KUBECONFIG, or run in a pod with a service account")
}

// unthrottled leaves pacing to the API server's own priority and fairness: a limit in the client
// would hold back the binds of a large gang.
func unthrottled(config *rest.Config) *rest.Config {
	config.QPS = -1
	config.UserAgent = "capmgr/" + version
	return config
}

// need is a kind that the API server must know.
type need struct {
	gv         schema.GroupVersion
	kind, from string
}

// checkServer says in one line what is missing on the API server, before anything is started. config is
// what is to be run on it; nil for what needs none.
func checkServer(rc *rest.Config, config *v1alpha1.Config) error {
	client, err := discovery.NewDiscoveryClientForConfig(rc)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", rc.Host, err)
	}
	if _, err := client.ServerVersion(); err != nil {
		return fmt.Errorf("reach the API server at %s: %w", rc.Host, err)
	}
	needs := []need{
		{queuev2.GroupVersion, "Queue", "apply deploy/base"},
		{v1alpha1.GroupVersion, "CapacityRequest", "apply deploy/base"},
		{rayv1.GroupVersion, "RayCluster", "install KubeRay"},
		{rayv1.GroupVersion, "RayJob", "install KubeRay"},
		{rayv1.GroupVersion, "RayService", "install KubeRay"},
	}
	if config != nil && slices.ContainsFunc(config.NodeGroups, func(g v1alpha1.NodeGroup) bool { return g.Provider == v1alpha1.ProviderProvisioningRequest }) {
		needs = append(needs, need{provreq.GroupVersion, provreq.Kind,
			"apply Cluster Autoscaler's definition of it, and run Cluster Autoscaler 1.31 or newer with --enable-provisioning-requests"})
	}
	for _, need := range needs {
		list, err := client.ServerResourcesForGroupVersion(need.gv.String())
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("list the kinds of %s: %w", need.gv, err)
		}
		if err != nil || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == need.kind }) {
			return fmt.Errorf("the API server does not know the kind %s of %s: %s", need.kind, need.gv, need.from)
		}
	}
	return nil
}
