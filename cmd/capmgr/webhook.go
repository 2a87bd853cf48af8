package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/execute"
	"github.com/capmgr/capmgr/pkg/state"
	"github.com/capmgr/capmgr/pkg/webhook"
)

// serveWebhook makes a manager answer the API server, on every replica, with a certificate that the
// leader keeps.
func serveWebhook(mgr ctrl.Manager, config *v1alpha1.Config, kube kubernetes.Interface, mirror *state.Mirror, log logr.Logger) error {
	w := config.Webhook
	if w == nil {
		return nil
	}
	namespace := config.LeaderElection.Namespace
	shown := &certificate{kube: kube, namespace: namespace, log: log}
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{Port: int(w.Port), TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.GetCertificate = shown.get }}})
	stamper := &webhook.Stamper{Scheduler: config.SchedulerNames[0], Lookup: lookup(mgr.GetAPIReader())}
	holder := &webhook.Holder{Holds: mirror.Holds}
	server.Register(webhook.PodsPath, &ctrlwebhook.Admission{Handler: stamper.Pods()})
	server.Register(webhook.JobsPath, &ctrlwebhook.Admission{Handler: stamper.Jobs()})
	server.Register(webhook.RayJobsPath, &ctrlwebhook.Admission{Handler: holder.RayJobs()})
	keeper := &execute.Certificate{Kube: kube, Namespace: namespace, Log: log, Now: time.Now,
		Hosts: append([]string{w.Service + "." + namespace + ".svc"}, w.Hosts...)}
	return errors.Join(mgr.Add(server), mgr.Add(standby(shown.follow)), mgr.Add(keeper))
}

// lookup reads the metadata of Ray's objects from the API server itself: a RayCluster's first pods are
// made before a watch has shown it.
func lookup(reader client.Reader) webhook.Lookup {
	return func(ctx context.Context, kind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(rayv1.GroupVersion.WithKind(kind))
		err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return o, err
	}
}

// certificate is what a replica shows to the API server, as the Secret has it.
type certificate struct {
	kube      kubernetes.Interface
	namespace string
	log       logr.Logger
	pair      atomic.Pointer[tls.Certificate]
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p := c.pair.Load(); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no certificate yet in Secret %s/%s", c.namespace, webhook.SecretName)
}

// follow reads the Secret again and again: often until it has one, then as often as it may be renewed
// without anybody noticing.
func (c *certificate) follow(ctx context.Context) error {
	for {
		if err := c.read(ctx); err != nil && ctx.Err() == nil {
			c.log.V(1).Info("No certificate for the webhook", "reason", err.Error())
		}
		wait := time.Minute
		if c.pair.Load() == nil {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (c *certificate) read(ctx context.Context) error {
	s, err := c.kube.CoreV1().Secrets(c.namespace).Get(ctx, webhook.SecretName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read Secret %s/%s: %w", c.namespace, webhook.SecretName, err)
	}
	pair, err := webhook.Pair(s.Data)
	if err != nil {
		return err
	}
	c.pair.Store(pair)
	return nil
}
