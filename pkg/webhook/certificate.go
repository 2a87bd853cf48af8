package webhook

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/util/cert"
)

const (
	// SecretName is the Secret that keeps the webhook's certificate.
	SecretName = "capmgr-webhook" //nolint:gosec // the name of one
	// ConfigurationName is the MutatingWebhookConfiguration that tells the API server of the webhook.
	ConfigurationName = "capmgr"

	// lifetime is how long a certificate is valid. It is renewed when a third of that is left.
	lifetime = 90 * 24 * time.Hour
)

// Keys of the Secret.
const (
	CertKey = "tls.crt"
	KeyKey  = "tls.key"
	// CAKey has what the API server verifies by: the authority of the certificate, and that of the one
	// before, which replicas may still be showing.
	CAKey = "ca.crt"
)

// Renew returns the data that the Secret is to have for a webhook that is reached by these hosts, and
// whether that is new: nothing is changed while what is there is good.
func Renew(data map[string][]byte, hosts []string, now time.Time) (map[string][]byte, bool, error) {
	if good(data, hosts, now) {
		return data, false, nil
	}
	var ips []net.IP
	var names []string
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, host)
		}
	}
	if len(names) == 0 {
		return nil, false, errors.New("make a certificate for the webhook: it has no name")
	}
	chain, key, err := cert.GenerateSelfSignedCertKeyWithOptions(cert.SelfSignedCertKeyOptions{Host: names[0], AlternateDNS: names[1:], AlternateIPs: ips, MaxAge: lifetime})
	if err != nil {
		return nil, false, fmt.Errorf("make a certificate for the webhook: %w", err)
	}
	_, ca, found := cutPEM(chain)
	if !found {
		return nil, false, errors.New("make a certificate for the webhook: it came without its authority")
	}
	before, _, _ := cutPEM(data[CAKey])
	return map[string][]byte{CertKey: chain, KeyKey: key, CAKey: append(bytes.Clone(ca), before...)}, true, nil
}

// cutPEM splits a text after its first block.
func cutPEM(text []byte) (first, rest []byte, found bool) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, nil, false
	}
	return pem.EncodeToMemory(block), rest, len(bytes.TrimSpace(rest)) > 0
}

// good says whether a certificate can be shown to all hosts for a while longer.
func good(data map[string][]byte, hosts []string, now time.Time) bool {
	pair, err := Pair(data)
	if err != nil {
		return false
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data[CAKey])
	for _, host := range hosts {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: pool, CurrentTime: now}); err != nil {
			return false
		}
	}
	return now.Before(pair.Leaf.NotAfter.Add(-lifetime / 3))
}

// Pair reads the certificate that the Secret keeps.
func Pair(data map[string][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(data[CertKey], data[KeyKey])
	if err != nil {
		return nil, fmt.Errorf("read the certificate in Secret %s: %w", SecretName, err)
	}
	return &pair, nil
}
