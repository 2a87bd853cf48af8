// Package stack brings the whole of capmgr up on this machine: the local control plane with KWOK
// and the KubeRay operator, what deploy/kind ships, the fake AWS, and the real capmgr binary under
// its own service account. The demo, the end-to-end tests and the benchmarks stand on it.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/test/fakeaws"
	"github.com/capmgr/capmgr/test/localcluster"
)

// Options choose what is brought up. The zero value is deploy/kind with instances that boot in
// seconds.
type Options struct {
	Dir      string       // run directory; must be new
	Detached bool         // processes outlive this one
	Progress func(string) // told what is being started; may be nil
	AWS      *fakeaws.Config
	// Config is capmgr's configuration file; "" takes deploy/kind/config.yaml.
	Config string
	// KubeRay is how the operator is started; nil: with its kai-scheduler integration.
	KubeRay *localcluster.KubeRay
	// CRDs are further files or folders of definitions, beside KubeRay's and capmgr's own.
	CRDs []string
	// WithoutKubeRay leaves the operator out, for tests that make their own pods.
	WithoutKubeRay bool
	// WithoutKWOK leaves KWOK out, for tests that bring nodes of their own.
	WithoutKWOK bool
	// Proxy is the SOCKS5 proxy through which the manager reaches the heads of RayClusters; "" for none.
	Proxy string
	// Audit notes every request of capmgr's service account and what came of it, in AuditLog.
	Audit bool
}

// ServiceAccount is capmgr's user name at the API server.
const ServiceAccount = "system:serviceaccount:capmgr-system:capmgr"

// Stack is everything, running. Its clients are the administrator's.
type Stack struct {
	*localcluster.Cluster
	Root   string // of the repository
	Client client.WithWatch
	Kube   kubernetes.Interface
	AWS    *fakeaws.Admin

	config     string
	proxy      string
	bin, share string
	awsURL     string
	account    string // kubeconfig of capmgr's service account
}

// Names of the parts that the stack runs beside the control plane.
const (
	ManagerProcess = "capmgr"
	FakeAWSProcess = "fakeaws"
)

// Start brings everything up but the manager. Close it with Stop, also after an error that came
// with a Stack.
func Start(ctx context.Context, o Options) (*Stack, error) {
	bin, share, err := localcluster.Output()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"capmgr", "fakeaws"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return nil, fmt.Errorf("%s is not built, run `make build fakeaws`: %w", name, err)
		}
	}
	s := &Stack{bin: bin, share: share, Root: filepath.Dir(filepath.Dir(bin)), config: o.Config, proxy: o.Proxy}
	if s.config == "" {
		s.config = filepath.Join(s.Root, "deploy", "kind", "config.yaml")
	}
	progress := o.Progress
	if progress == nil {
		progress = func(string) {}
	}
	var audited []string
	if o.Audit {
		audited = []string{ServiceAccount}
	}
	s.Cluster, err = localcluster.Start(ctx, localcluster.Options{
		Dir: o.Dir, Bin: bin, Share: share, Detached: o.Detached, Progress: progress, AuditUsers: audited,
		CRDs: append([]string{
			filepath.Join(share, "kuberay", "crds"),
			filepath.Join(s.Root, "deploy", "base", "crds", "queues.yaml"),
			filepath.Join(s.Root, "deploy", "base", "crds", "capacityrequests.yaml"),
		}, o.CRDs...),
	})
	if err != nil {
		return nil, err
	}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"clients", s.connect},
		{"KWOK", s.startKWOK(o)},
		{"the KubeRay operator", s.startKubeRay(o)},
		{"deploy/kind", s.deploy},
		{"the fake AWS", func(ctx context.Context) error { return s.startAWS(ctx, o.AWS) }},
	}
	for _, step := range steps {
		progress(step.what)
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", step.what, err), s.Stop())
		}
	}
	return s, nil
}

func (s *Stack) startKWOK(o Options) func(context.Context) error {
	return func(ctx context.Context) error {
		if o.WithoutKWOK {
			return nil
		}
		return s.StartKWOK(ctx)
	}
}

func (s *Stack) startKubeRay(o Options) func(context.Context) error {
	return func(ctx context.Context) error {
		switch {
		case o.WithoutKubeRay:
			return nil
		case o.KubeRay != nil:
			return s.StartKubeRay(ctx, *o.KubeRay)
		}
		return s.StartKubeRay(ctx, localcluster.KubeRay{BatchScheduler: "kai-scheduler"})
	}
}

func (s *Stack) connect(context.Context) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, rayv1.AddToScheme, queuev2.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	var err error
	quiet := rest.CopyConfig(s.Config)
	// What the API server warns of would go to a log that the programs on top of this do not have.
	quiet.WarningHandlerWithContext = rest.NoWarnings{}
	if s.Client, err = client.NewWithWatch(quiet, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	s.Kube, err = kubernetes.NewForConfig(s.Config)
	return err
}

// startAWS runs the fake AWS as a process of its own and waits for its address.
func (s *Stack) startAWS(ctx context.Context, config *fakeaws.Config) error {
	if config == nil {
		config = AWSConfig()
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	path, address := filepath.Join(s.Dir, "fakeaws.yaml"), filepath.Join(s.Dir, "fakeaws.url")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	p, err := s.StartProcess(ctx, localcluster.ProcessSpec{
		Name: FakeAWSProcess, Path: filepath.Join(s.bin, "fakeaws"),
		Args: []string{"--config=" + path, "--kubeconfig=" + s.Kubeconfig, "--address-file=" + address},
	})
	if err != nil {
		return err
	}
	return poll(ctx, 30*time.Second, "the fake AWS to write its address", func(context.Context) (bool, error) {
		select {
		case <-p.Done():
			return false, fmt.Errorf("it ended: %w", p.Err())
		default:
		}
		url, err := os.ReadFile(address)
		s.awsURL = strings.TrimSpace(string(url))
		if err == nil && s.awsURL != "" {
			s.AWS = fakeaws.NewAdmin(s.awsURL)
		}
		return s.AWS != nil, nil
	})
}

// AWSConfig is a fake AWS with the three groups of deploy/kind, whose instances boot in seconds.
func AWSConfig() *fakeaws.Config {
	tags := map[string]string{v1alpha1.ManagedTag: "true", v1alpha1.ClusterTag: "kind-capmgr"}
	return &fakeaws.Config{
		Region: "us-east-1", ClusterName: "kind-capmgr", Seed: 1,
		Delays: fakeaws.Delays{
			Launch: fakeaws.For(time.Second), Ready: fakeaws.For(3 * time.Second), GPU: fakeaws.For(3 * time.Second),
			Spread: fakeaws.For(2 * time.Second), Terminate: fakeaws.For(time.Second),
		},
		Groups: []fakeaws.GroupConfig{
			{Name: "g5-xlarge", InstanceType: "g5.xlarge", Zone: "us-east-1a", Max: 8, Tags: tags},
			{Name: "g5-2xlarge", InstanceType: "g5.2xlarge", Zone: "us-east-1a", Max: 4, Tags: tags},
			{Name: "g5-12xlarge", InstanceType: "g5.12xlarge", Zone: "us-east-1a", Max: 2, Tags: tags},
		},
	}
}

// poll waits until done says so. The error names what was waited for.
func poll(ctx context.Context, most time.Duration, what string, done func(context.Context) (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, most, true, done)
	if err != nil && wait.Interrupted(err) && ctx.Err() == nil {
		return fmt.Errorf("waited %s for %s in vain", most, what)
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}
