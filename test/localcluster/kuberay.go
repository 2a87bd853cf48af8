package localcluster

import (
	"context"
	"path/filepath"
)

// KubeRay is how the operator is started.
type KubeRay struct {
	// BatchScheduler is the integration that it uses, such as "kai-scheduler"; "" for none.
	BatchScheduler string
	// Dashboards is the URL of an HTTP proxy that answers for Ray's dashboards. "": the operator
	// reaches them through the API server.
	Dashboards string
	// Env is added to its environment.
	Env []string
}

// StartKubeRay installs KubeRay's CRDs and starts its operator. CRDs that Options.CRDs already named
// (the folder kuberay/crds of Options.Share) are not installed again.
func (c *Cluster) StartKubeRay(ctx context.Context, k KubeRay) error {
	if err := c.install(ctx, filepath.Join(c.share, "kuberay", "crds")); err != nil {
		return err
	}
	const name = "kuberay-operator"
	kubeconfig, err := c.identityKubeconfig(name)
	if err != nil {
		return err
	}
	c.progress("starting the KubeRay operator")
	_, err = c.startServer(ctx, server{
		name:  name,
		ports: 2,
		spec: func(ports []int) (ProcessSpec, error) {
			p := ProcessSpec{Path: filepath.Join(c.bin, name), Env: k.Env, Args: []string{
				"--kubeconfig=" + kubeconfig,
				"--metrics-addr=" + address(ports[0]),
				"--health-probe-bind-address=" + address(ports[1]),
				"--enable-leader-election=false",
				"--batch-scheduler=" + k.BatchScheduler,
			}}
			if k.Dashboards != "" {
				p.Env = append(p.Env, "HTTP_PROXY="+k.Dashboards) // which the API server's loopback address does not use
				return p, nil
			}
			p.Args = append(p.Args, "--use-kubernetes-proxy")
			return p, nil
		},
		ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, "http://"+address(ports[1])+"/readyz")
		},
		needs: []*Process{c.Process(apiServer)},
	})
	return err
}
