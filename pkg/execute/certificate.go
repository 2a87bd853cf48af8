package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/capmgr/capmgr/pkg/webhook"
)

// Certificate keeps the webhook's certificate: it makes and renews it, and tells the API server what
// to verify it by. It runs on the leader. Secret and configuration are there already, so that capmgr
// needs no right to create either.
type Certificate struct {
	Kube      kubernetes.Interface
	Namespace string   // of the Secret
	Hosts     []string // that the API server reaches the webhook by
	Log       logr.Logger
	Now       func() time.Time
}

const (
	// keptEvery is the time between two looks at the certificate.
	keptEvery = 10 * time.Minute
	// keptAgain is the time until another try.
	keptAgain = 15 * time.Second
)

// Start keeps the certificate until ctx ends.
func (c *Certificate) Start(ctx context.Context) error {
	for {
		wait := keptEvery
		if err := c.keep(ctx); err != nil && ctx.Err() == nil {
			c.Log.Error(err, "The webhook has no good certificate; the API server goes on without it")
			wait = keptAgain
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

func (c *Certificate) keep(ctx context.Context) error {
	secrets := c.Kube.CoreV1().Secrets(c.Namespace)
	s, err := secrets.Get(ctx, webhook.SecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("keep the webhook's certificate: Secret %s/%s is missing: apply deploy/components/webhook", c.Namespace, webhook.SecretName)
	}
	if err != nil {
		return fmt.Errorf("keep the webhook's certificate: %w", err)
	}
	data, fresh, err := webhook.Renew(s.Data, c.Hosts, c.Now())
	if err != nil {
		return err
	}
	if fresh {
		s = s.DeepCopy()
		s.Data = data
		if _, err := secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("write the webhook's certificate: %w", err)
		}
		c.Log.Info("Made a certificate for the webhook", "secret", c.Namespace+"/"+webhook.SecretName)
	}
	return c.tell(ctx, data[webhook.CAKey])
}

// tell puts the authority into the configuration that the API server reads.
func (c *Certificate) tell(ctx context.Context, authority []byte) error {
	configurations := c.Kube.AdmissionregistrationV1().MutatingWebhookConfigurations()
	have, err := configurations.Get(ctx, webhook.ConfigurationName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("tell the API server of the webhook: MutatingWebhookConfiguration %s is missing: apply deploy/components/webhook", webhook.ConfigurationName)
	}
	if err != nil {
		return fmt.Errorf("tell the API server of the webhook: %w", err)
	}
	p := authorities(have, authority)
	if len(p) == 0 {
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("tell the API server of the webhook: %w", err)
	}
	if _, err := configurations.Patch(ctx, webhook.ConfigurationName, types.JSONPatchType, data, metav1.PatchOptions{FieldManager: string(fieldOwner)}); err != nil {
		return fmt.Errorf("tell the API server of the webhook: %w", err)
	}
	return nil
}

// authorities is the patch that gives every webhook of a configuration the authority that it lacks.
func authorities(have *admissionregistrationv1.MutatingWebhookConfiguration, authority []byte) (p patch) {
	for k, w := range have.Webhooks {
		if string(w.ClientConfig.CABundle) != string(authority) {
			p.test(fmt.Sprintf("/webhooks/%d/name", k), w.Name)
			p.set(fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", k), authority) // as base64, like the API
		}
	}
	return p
}
