package localcluster

import (
	"context"
	"path/filepath"
)

// podRange is for fake pods' addresses: a range that is set aside for benchmarks
// and routed nowhere, so that a connection to a fake pod fails and does not
// reach somebody. KWOK's own default has room for only 254 pods.
const podRange = "198.18.0.0/15"

// StartKWOK makes nodes and pods come alive without kubelets: every Node becomes
// Ready, keeps its lease, and every pod that is bound to one becomes Running at
// once; pods of Jobs succeed.
func (c *Cluster) StartKWOK(ctx context.Context) error {
	if err := c.install(ctx, filepath.Join(c.share, "kwok", "crds", "kwok.x-k8s.io_stages.yaml")); err != nil {
		return err
	}
	kubeconfig, err := c.identityKubeconfig("kwok")
	if err != nil {
		return err
	}
	c.progress("starting KWOK")
	_, err = c.startServer(ctx, server{
		name:  "kwok",
		ports: 1,
		spec: func(ports []int) (ProcessSpec, error) {
			return ProcessSpec{Path: filepath.Join(c.bin, "kwok"), Args: []string{
				"--kubeconfig=" + kubeconfig,
				"--manage-all-nodes=true",
				"--enable-crds=Stage",
				"--cidr=" + podRange,
				"--server-address=" + address(ports[0]),
			}}, nil
		},
		ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, "http://"+address(ports[0])+"/healthz")
		},
		needs: []*Process{c.Process(apiServer)},
	})
	if err != nil {
		return err
	}
	stages := filepath.Join(c.share, "kwok", "stages")
	return c.Apply(ctx, filepath.Join(stages, "node"), filepath.Join(stages, "pod"))
}
