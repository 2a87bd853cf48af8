package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
	"github.com/capmgr/capmgr/pkg/state"
)

// heads asks the heads of RayClusters and tells the mirror. A decision never waits for one.
type heads struct {
	mirror *state.Mirror
	poller *gcs.Poller
	kube   kubernetes.Interface
	tls    *tls.Config // nil: heads that want a certificate are not asked

	tokens map[string]token // by namespace/name of the Secret
}

// token is what a Secret said when it was read.
type token struct {
	value string
	err   error
	read  time.Time
}

// tokenAge is how often a Secret is read again: KubeRay makes it once, and never changes it.
const tokenAge = time.Minute

// newHeads returns nil where nobody is to be asked.
func newHeads(config *v1alpha1.Config, mirror *state.Mirror, kube kubernetes.Interface) (*heads, error) {
	if !*config.Ray.AskHeads {
		return nil, nil
	}
	h := &heads{mirror: mirror, kube: kube, tokens: map[string]token{}}
	if t := config.Ray.TLS; t != nil {
		var err error
		if h.tls, err = clientTLS(t); err != nil {
			return nil, err
		}
	}
	h.poller = gcs.NewPoller(gcs.Options{Changed: func(uid string) {
		if a, ok := h.poller.Last(uid); ok {
			mirror.Hear(uid, a)
		}
	}})
	return h, nil
}

func clientTLS(t *v1alpha1.RayTLS) (*tls.Config, error) {
	ca, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ray.tls.caFile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("ray.tls.caFile: %s has no certificate in PEM", t.CAFile)
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("ray.tls.certFile, keyFile: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// Start asks until ctx ends.
func (h *heads) Start(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- h.poller.Start(ctx) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return <-ended
		case <-tick.C:
			h.poller.Watch(h.targets(ctx))
		}
	}
}

// NeedLeaderElection is false: a standby knows what heads say when it takes over.
func (h *heads) NeedLeaderElection() bool { return false }

// targets are the heads that can be asked. Why another one cannot is told in its verdicts.
func (h *heads) targets(ctx context.Context) []gcs.Target {
	var targets []gcs.Target
	for _, head := range h.mirror.Heads() {
		t := gcs.Target{UID: head.UID, Name: head.Namespace + "/" + head.Name, Address: head.Address}
		if err := h.credentials(ctx, head, &t); err != nil {
			h.mirror.Hear(head.UID, gcs.Answer{Err: err, Failed: time.Unix(0, 0)})
			continue
		}
		targets = append(targets, t)
	}
	return targets
}

// credentials adds what a head wants of those who ask.
func (h *heads) credentials(ctx context.Context, head ray.Head, t *gcs.Target) error {
	switch {
	case head.TLS && h.tls == nil:
		return fmt.Errorf("%w: it wants a client certificate; set ray.tls in the configuration", gcs.ErrNoToken)
	case head.Delegated:
		// capmgr's own token opens the whole cluster. It is not shown to a program of a user's.
		return fmt.Errorf("%w: it wants a Kubernetes token, and capmgr shows its own to nobody", gcs.ErrNoToken)
	case head.TLS:
		t.TLS = h.tls
	}
	if head.TokenSecret == "" {
		return nil
	}
	var err error
	t.Token, err = h.token(ctx, head.Namespace, head.TokenSecret)
	return err
}

func (h *heads) token(ctx context.Context, namespace, name string) (string, error) {
	key := namespace + "/" + name
	if k, known := h.tokens[key]; known && time.Since(k.read) < tokenAge {
		return k.value, k.err
	}
	value, err := h.readToken(ctx, namespace, name)
	h.tokens[key] = token{value, err, time.Now()}
	return value, err
}

// readToken reads one Secret by its name, where somebody allowed it.
func (h *heads) readToken(ctx context.Context, namespace, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := h.kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("%w: bind the ClusterRole capmgr-ray-tokens in namespace %s", gcs.ErrNoToken, namespace)
	case err != nil:
		return "", fmt.Errorf("%w: Secret %s/%s", gcs.ErrNoToken, namespace, name)
	case s.Type != corev1.SecretTypeOpaque && s.Type != "":
		// A cluster's owner names the Secret. One of another purpose is not handed to his head.
		return "", fmt.Errorf("%w: Secret %s/%s is of type %s, not Opaque", gcs.ErrNoToken, namespace, name, s.Type)
	case len(s.Data[ray.TokenKey]) == 0:
		return "", fmt.Errorf("%w: Secret %s/%s has no %s", gcs.ErrNoToken, namespace, name, ray.TokenKey)
	}
	return string(s.Data[ray.TokenKey]), nil
}
