package localcluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLifetime is how long a ServiceAccount's kubeconfig works.
const tokenLifetime = 24 * time.Hour

// ServiceAccountKubeconfig returns the path of a kubeconfig that acts as a
// ServiceAccount, for 24 hours. A process that runs with it has just the
// permissions that its RBAC rules give it, as it would have in a pod.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (path string, err error) {
	seconds := int64(tokenLifetime.Seconds())
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}
	token, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token for ServiceAccount %s/%s: %w", namespace, name, err)
	}
	path = filepath.Join(c.Dir, fmt.Sprintf("kubeconfig-%s-%s", namespace, name))
	return path, c.writeKubeconfig(path, name, token.Status.Token)
}

// identityKubeconfig writes the kubeconfig of one of the cluster's own users.
func (c *Cluster) identityKubeconfig(name string) (path string, err error) {
	path = c.secrets.file(name + ".kubeconfig")
	return path, c.writeKubeconfig(path, name, c.secrets.tokens[name])
}

// writeKubeconfig writes a file that needs no other: it can be handed on. Like
// all that clientcmd writes, only its owner may read it.
func (c *Cluster) writeKubeconfig(path, user, token string) error {
	const name = "capmgr-local"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.serverURL(), CertificateAuthorityData: c.secrets.ca}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// adminConfig is for tests, which ask often: the default of five requests a
// second would be what they measure.
func (c *Cluster) adminConfig() *rest.Config {
	return &rest.Config{
		Host:            c.serverURL(),
		BearerToken:     c.secrets.tokens["admin"],
		TLSClientConfig: rest.TLSClientConfig{CAData: c.secrets.ca},
		UserAgent:       "capmgr-localcluster",
		QPS:             200,
		Burst:           400,
	}
}

func (c *Cluster) serverURL() string { return "https://" + address(c.apiPort) }
