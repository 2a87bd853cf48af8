package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options say where a cluster lives and how long it does.
type Options struct {
	// Dir holds the run: data, certificates, kubeconfigs, and in logs/ one file
	// per process. It is created when missing and must not hold an earlier run.
	Dir string
	// Bin is the folder of the built programs; empty means the _output/bin of
	// the repository that the working directory is in.
	Bin string
	// Share is the folder of CRDs, stages and samples; empty means the
	// _output/share of that repository.
	Share string
	// CRDs are files, or folders of files, to install before the controllers
	// start. The garbage collector looks for new kinds only every 30 seconds:
	// what owns objects and is installed later may take that long to be cleaned
	// up after.
	CRDs []string
	// AuditUsers are the users each of whose requests the API server notes, with
	// its outcome and without its content, one JSON object per line; see AuditLog.
	AuditUsers []string
	// Detached lets the processes outlive this one; StopDetached ends them.
	Detached bool
	// Progress is told before each thing that takes time; it may be nil.
	Progress func(what string)
}

// Cluster is a running control plane.
type Cluster struct {
	// Dir is the run directory, absolute.
	Dir string
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
	// Config is the administrator's client configuration.
	Config *rest.Config
	// AuditLog is the file that Options.AuditUsers asked for; "" when they did not.
	AuditLog string

	bin, share string
	progress   func(what string)
	children   *children
	secrets    *secrets
	client     kubernetes.Interface
	etcdPort   int
	apiPort    int
	installed  sync.Map // paths of CRDs
	stop       func() error
}

// Start starts etcd, kube-apiserver and kube-controller-manager and returns
// when the API server is ready and the default namespace has its default
// ServiceAccount, without which no pod is admitted. Context ctx bounds the
// start only: the cluster runs until Stop. On an error nothing is left running.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	installCRDs := func(ctx context.Context) error { return c.install(ctx, o.CRDs...) }
	for _, step := range []func(context.Context) error{
		c.startEtcd, c.startFirstAPIServer, installCRDs, c.startControllerManager,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	return c, nil
}

// prepare makes the run directory and everything in it that the processes read.
func prepare(o Options) (*Cluster, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	data := filepath.Join(o.Dir, "etcd")
	if _, err := os.Stat(data); err == nil {
		return nil, fmt.Errorf("start a cluster in %s: it holds an earlier run", o.Dir)
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "logs"), 0o700); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	s, err := newSecrets(filepath.Join(o.Dir, "secrets"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		Dir:        o.Dir,
		Kubeconfig: filepath.Join(o.Dir, "kubeconfig"),
		bin:        o.Bin,
		share:      o.Share,
		progress:   o.Progress,
		children:   newChildren(o.Dir, o.Detached),
		secrets:    s,
	}
	if err := c.auditFor(o.AuditUsers); err != nil {
		return nil, err
	}
	c.stop = sync.OnceValue(func() error {
		c.progress("stopping the cluster")
		return c.children.stopAll()
	})
	return c, nil
}

// complete fills in what was left out and makes every path absolute, because
// the processes run in a directory of their own.
func (o *Options) complete() error {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Dir == "" {
		return errors.New("start a cluster: no run directory given")
	}
	if o.Bin == "" || o.Share == "" {
		bin, share, err := Output()
		if err != nil {
			return err
		}
		o.Bin, o.Share = orElse(o.Bin, bin), orElse(o.Share, share)
	}
	for _, path := range []*string{&o.Dir, &o.Bin, &o.Share} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("resolve %s: %w", *path, err)
		}
		*path = absolute
	}
	return checkBuilt(o.Bin)
}

func orElse(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// Stop ends every process, the last started first: SIGTERM, a bounded wait,
// SIGKILL. The run directory stays. Stopping twice is fine.
func (c *Cluster) Stop() error {
	return c.stop()
}

// StartProcess starts a further child, such as the program under test. It ends
// with the cluster, and writes to logs/<Name>.log in the run directory.
func (c *Cluster) StartProcess(ctx context.Context, spec ProcessSpec) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return c.children.start(spec)
}

// Process returns the latest process of that name, such as "kwok", or nil.
func (c *Cluster) Process(name string) *Process {
	return c.children.named(name)
}
