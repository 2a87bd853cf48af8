package execute

import (
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/capmgr/capmgr/pkg/webhook"
)

func TestTheWebhooksCertificateIsKept(t *testing.T) {
	kube := fake.NewClientset(
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "capmgr-system", Name: webhook.SecretName}},
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.ConfigurationName},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "pods.capmgr.io"}, {Name: "jobs.capmgr.io"}}})
	now := time.Now()
	c := &Certificate{Kube: kube, Namespace: "capmgr-system", Hosts: []string{"capmgr-webhook.capmgr-system.svc"}, Log: logr.Discard(), Now: func() time.Time { return now }}
	keep := func() (writes int) {
		t.Helper()
		kube.ClearActions()
		if err := c.keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, a := range kube.Actions() {
			if !slices.Contains([]string{"get"}, a.GetVerb()) {
				writes++
			}
		}
		return writes
	}
	if n := keep(); n != 2 {
		t.Errorf("%d writes at first, want the Secret and the configuration", n)
	}
	if n := keep(); n != 0 {
		t.Errorf("%d writes when all is good", n)
	}
	s, err := kube.CoreV1().Secrets("capmgr-system").Get(t.Context(), webhook.SecretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), webhook.ConfigurationName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range m.Webhooks {
		if string(w.ClientConfig.CABundle) != string(s.Data[webhook.CAKey]) || len(w.ClientConfig.CABundle) == 0 {
			t.Errorf("%s is verified by something else", w.Name)
		}
	}
	if _, err := webhook.Pair(s.Data); err != nil {
		t.Error(err)
	}
	now = now.Add(61 * 24 * time.Hour)
	if n := keep(); n != 2 {
		t.Errorf("%d writes when it is to be renewed", n)
	}
}

func TestAMissingConfigurationIsNamed(t *testing.T) {
	c := &Certificate{Kube: fake.NewClientset(), Namespace: "capmgr-system", Hosts: []string{"x"}, Log: logr.Discard(), Now: time.Now}
	if err := c.keep(t.Context()); err == nil || err.Error() != "keep the webhook's certificate: Secret capmgr-system/capmgr-webhook is missing: apply deploy/components/webhook" {
		t.Errorf("got %v", err)
	}
}
