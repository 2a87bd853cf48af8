package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// apiServer is the API server's process name.
const apiServer = "kube-apiserver"

func (c *Cluster) startEtcd(ctx context.Context) error {
	c.progress("starting etcd")
	ports, err := c.startServer(ctx, server{
		name:  "etcd",
		ports: 2,
		spec: func(ports []int) (ProcessSpec, error) {
			client, peer := "http://"+address(ports[0]), "http://"+address(ports[1])
			return ProcessSpec{Path: filepath.Join(c.bin, "etcd"), Args: []string{
				"--name=local",
				"--data-dir=" + filepath.Join(c.Dir, "etcd"),
				"--listen-client-urls=" + client,
				"--advertise-client-urls=" + client,
				"--listen-peer-urls=" + peer,
				"--initial-advertise-peer-urls=" + peer,
				"--initial-cluster=local=" + peer,
				"--log-level=warn",
				// A run's data is worth nothing after a power cut, and shared
				// disks make each fsync cost more than the write.
				"--unsafe-no-fsync",
			}}, nil
		},
		ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, "http://"+address(ports[0])+"/health")
		},
	})
	if err != nil {
		return err
	}
	c.etcdPort = ports[0]
	return nil
}

// startFirstAPIServer chooses the port, which stays the same from then on.
func (c *Cluster) startFirstAPIServer(ctx context.Context) error {
	c.progress("starting kube-apiserver")
	var err error
	_, err = c.startServer(ctx, c.apiServer(func(ports []int) error {
		c.apiPort = ports[0]
		c.Config = c.adminConfig()
		if c.client, err = kubernetes.NewForConfig(c.Config); err != nil {
			return err
		}
		return c.writeKubeconfig(c.Kubeconfig, "admin", c.secrets.tokens["admin"])
	}))
	return err
}

// StopAPIServer kills the API server and leaves everything else running: an
// outage, as its clients see it. Asked politely it would first wait, for longer
// than a test does, until its clients give up their watches; what it has
// answered is in etcd all the same.
func (c *Cluster) StopAPIServer(ctx context.Context) error {
	p := c.Process(apiServer)
	if p == nil || !running(p) {
		return errors.New("stop kube-apiserver: it does not run")
	}
	if err := p.Kill(); err != nil {
		return err
	}
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop kube-apiserver: %w", ctx.Err())
	}
}

// StartAPIServer starts the API server again, on the same port and with the
// same data, and returns when it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	c.progress("starting kube-apiserver")
	return c.startServerOn(ctx, c.apiServer(func([]int) error { return nil }), []int{c.apiPort})
}

// apiServer describes the API server; chosen is told its port beforehand.
func (c *Cluster) apiServer(chosen func(ports []int) error) server {
	return server{
		name:  apiServer,
		ports: 1,
		spec: func(ports []int) (ProcessSpec, error) {
			return ProcessSpec{
				Path: filepath.Join(c.bin, apiServer),
				Args: c.apiServerArgs(ports[0]),
			}, chosen(ports)
		},
		ready: func(ctx context.Context, _ []int) error {
			return c.client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		},
		needs: []*Process{c.Process("etcd")},
	}
}

func (c *Cluster) apiServerArgs(port int) []string {
	accounts := c.secrets.file("service-account.key")
	return append(c.auditArgs(),
		"--etcd-servers=http://"+address(c.etcdPort),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		// Without an address to advertise it looks for a network interface, and
		// a loopback address is refused as an endpoint of the service
		// "kubernetes", which nothing here uses.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--tls-cert-file="+c.secrets.file("apiserver.crt"),
		"--tls-private-key-file="+c.secrets.file("apiserver.key"),
		"--client-ca-file="+c.secrets.file("ca.crt"),
		"--cert-dir="+c.secrets.dir,
		"--token-auth-file="+c.secrets.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+accounts,
		"--service-account-signing-key-file="+accounts,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP", // names of nodes resolve nowhere here
		// Priority and fairness stay on: they are part of what clients meet. The
		// limits are those of a control plane much larger than this machine.
		"--max-requests-inflight=3000",
		"--max-mutating-requests-inflight=1000",
		"--profiling=false",
	)
}

func (c *Cluster) startControllerManager(ctx context.Context) error {
	c.progress("starting kube-controller-manager")
	const name = "kube-controller-manager"
	kubeconfig, err := c.identityKubeconfig(name)
	if err != nil {
		return err
	}
	p, err := c.children.start(ProcessSpec{Name: name, Path: filepath.Join(c.bin, name), Args: []string{
		"--kubeconfig=" + kubeconfig,
		// What is left out would ask a cloud provider for routes and load
		// balancers, or give nodes pod ranges that nothing here routes.
		"--controllers=*,-node-ipam-controller,-node-route-controller,-service-lb-controller",
		"--leader-elect=false",
		"--service-account-private-key-file=" + c.secrets.file("service-account.key"),
		"--root-ca-file=" + c.secrets.file("ca.crt"),
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		// It would make its default folder under /usr.
		"--flex-volume-plugin-dir=" + filepath.Join(c.Dir, "volume-plugins"),
		"--secure-port=0",
		"--profiling=false",
	}})
	if err != nil {
		return err
	}
	// Its own health says that it runs; the account says that it works.
	account := func(ctx context.Context) error {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	}
	return await(ctx, "the default ServiceAccount", account, p, c.Process(apiServer), c.Process("etcd"))
}

// healthy asks a plain HTTP health check.
func healthy(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	// No proxy and no kept connection: this process's own settings have no part
	// in whether a neighbour is healthy, and leaves nothing open.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
