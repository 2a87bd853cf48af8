package localcluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// lifetime outlasts any run, a demo that is kept included.
const lifetime = 365 * 24 * time.Hour

// identities are the users of the processes. Each has its own name, so that an
// object's managed fields and the API server's log tell them apart, and all are
// administrators: what limited identities may do is for ServiceAccounts to show.
var identities = []string{"admin", "kube-controller-manager", "kwok", "kuberay-operator"}

// secrets are the keys of one run: made anew for each, valid for no other.
type secrets struct {
	dir    string
	ca     []byte // PEM
	tokens map[string]string
}

// newSecrets makes a certificate authority, the API server's certificate, the
// key that signs ServiceAccount tokens and a token for each identity.
func newSecrets(dir string) (*secrets, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of secrets: %w", err)
	}
	s := &secrets{dir: dir, tokens: map[string]string{}}
	if err := s.makeCertificates(); err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	if _, err := s.makeKey("service-account.key"); err != nil {
		return nil, fmt.Errorf("make the key for ServiceAccount tokens: %w", err)
	}
	if err := s.makeTokens(); err != nil {
		return nil, fmt.Errorf("make tokens: %w", err)
	}
	return s, nil
}

func (s *secrets) file(name string) string { return filepath.Join(s.dir, name) }

func (s *secrets) makeTokens() error {
	var lines strings.Builder
	for i, name := range identities {
		s.tokens[name] = rand.Text()
		fmt.Fprintf(&lines, "%s,%s,%d,system:masters\n", s.tokens[name], name, i)
	}
	return os.WriteFile(s.file("tokens.csv"), []byte(lines.String()), 0o600)
}

func (s *secrets) makeCertificates() error {
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "capmgr-localcluster"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	authorityKey, err := s.makeKey("ca.key")
	if err != nil {
		return err
	}
	if s.ca, err = s.sign("ca.crt", authority, authority, authorityKey, authorityKey); err != nil {
		return err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	servingKey, err := s.makeKey("apiserver.key")
	if err != nil {
		return err
	}
	_, err = s.sign("apiserver.crt", serving, authority, servingKey, authorityKey)
	return err
}

// sign writes the certificate that issuer gives to key, and returns it as PEM.
func (s *secrets) sign(name string, cert, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return text, os.WriteFile(s.file(name), text, 0o600)
}

func (s *secrets) makeKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return key, os.WriteFile(s.file(name), text, 0o600)
}
