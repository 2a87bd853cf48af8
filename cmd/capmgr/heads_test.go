package main

import (
	"crypto/tls"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/capmgr/capmgr/pkg/ray"
	"github.com/capmgr/capmgr/pkg/ray/gcs"
)

func TestCredentialsOfHeads(t *testing.T) {
	secret := func(name string, kind corev1.SecretType, key string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name}, Type: kind, Data: map[string][]byte{key: []byte("value of " + name)}}
	}
	cases := map[string]struct {
		reason string
		head   ray.Head
		tls    *tls.Config
		token  string
		fails  string // a part of why it is not asked
	}{
		"Open":      {"most heads want nothing", ray.Head{}, nil, "", ""},
		"Token":     {"from the cluster's own Secret", ray.Head{TokenSecret: "good"}, nil, "value of good", ""},
		"Missing":   {"not made yet", ray.Head{TokenSecret: "none"}, nil, "", "Secret ml/none"},
		"OtherKey":  {"of another purpose", ray.Head{TokenSecret: "other-key"}, nil, "", "has no auth_token"},
		"OtherType": {"a user names a Secret that is not Ray's: it is not handed to his head", ray.Head{TokenSecret: "certificate"}, nil, "", "is of type kubernetes.io/tls"},
		"Forbidden": {"nobody allowed it: the verdict says what to do", ray.Head{TokenSecret: "forbidden"}, nil, "", "bind the ClusterRole capmgr-ray-tokens in namespace ml"},
		"Delegated": {"capmgr's own token opens the whole cluster", ray.Head{TokenSecret: "good", Delegated: true}, nil, "", "shows its own to nobody"},
		"TLS":       {"with the certificate of the configuration", ray.Head{TLS: true}, &tls.Config{MinVersion: tls.VersionTLS12}, "", ""},
		"NoTLS":     {"without", ray.Head{TLS: true}, nil, "", "set ray.tls"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset(secret("good", corev1.SecretTypeOpaque, ray.TokenKey), secret("other-key", corev1.SecretTypeOpaque, "password"), secret("certificate", corev1.SecretTypeTLS, ray.TokenKey))
			kube.PrependReactor("get", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
				if a.(clienttesting.GetAction).GetName() == "forbidden" {
					return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "forbidden", nil)
				}
				return false, nil, nil
			})
			h := &heads{kube: kube, tls: tc.tls, tokens: map[string]token{}}
			tc.head.Namespace = "ml"
			var target gcs.Target
			err := h.credentials(t.Context(), tc.head, &target)
			if (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%s: %v, want %q", tc.reason, err, tc.fails)
			}
			if target.Token != tc.token || target.TLS != tc.tls {
				t.Errorf("%s: token %q, TLS %v", tc.reason, target.Token, target.TLS != nil)
			}
			reads := len(kube.Actions())
			_ = h.credentials(t.Context(), tc.head, &target) // as before
			if len(kube.Actions()) != reads {
				t.Errorf("%s: the Secret is read every second", tc.reason)
			}
		})
	}
}
