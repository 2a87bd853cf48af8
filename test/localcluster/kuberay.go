package localcluster

import (
	"context"
	"path/filepath"
)

// StartKubeRay installs KubeRay's CRDs and starts its operator with the given
// batch scheduler integration, such as "kai-scheduler", or "" for none. The
// operator reaches Ray's dashboards through the API server; to point it at a
// fake one, name a proxy in extraEnv. CRDs that Options.CRDs already named (the
// folder kuberay/crds of Options.Share) are not installed again.
func (c *Cluster) StartKubeRay(ctx context.Context, batchScheduler string, extraEnv ...string) error {
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
			return ProcessSpec{Path: filepath.Join(c.bin, name), Env: extraEnv, Args: []string{
				"--kubeconfig=" + kubeconfig,
				"--metrics-addr=" + address(ports[0]),
				"--health-probe-bind-address=" + address(ports[1]),
				"--enable-leader-election=false",
				"--batch-scheduler=" + batchScheduler,
				"--use-kubernetes-proxy",
			}}, nil
		},
		ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, "http://"+address(ports[1])+"/readyz")
		},
		needs: []*Process{c.Process(apiServer)},
	})
	return err
}
