package ray

import (
	"net"
	"strings"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
)

// Head is where the head of a RayCluster is asked, and what it wants of those who ask.
type Head struct {
	UID       string // of the RayCluster
	Namespace string
	Name      string
	Address   string // host:port of its GCS

	TokenSecret string // Secret in its namespace with the token, under TokenKey; "" where it wants none
	Delegated   bool   // it wants a Kubernetes token of whoever asks: it is not given one
	TLS         bool   // it wants a client certificate
}

// TokenKey is where KubeRay keeps a cluster's token in its Secret.
const TokenKey = "auth_token"

// gcsPort is where a GCS listens when nobody says otherwise.
const gcsPort = "6379"

// HeadOf says where the head of a RayCluster is asked, or that it cannot be yet.
func HeadOf(rc *rayv1.RayCluster) (Head, bool) {
	ip := rc.Status.Head.PodIP
	if ip == "" || rc.DeletionTimestamp != nil || Suspended(rc) || ScalerOf(rc) == "" {
		return Head{}, false
	}
	port := rc.Spec.HeadGroupSpec.RayStartParams["port"]
	if port == "" {
		port = gcsPort
	}
	h := Head{UID: string(rc.UID), Namespace: rc.Namespace, Name: rc.Name, Address: net.JoinHostPort(ip, port), TLS: usesTLS(rc)}
	if o := rc.Spec.AuthOptions; o != nil && o.Mode == rayv1.AuthModeToken {
		h.Delegated = o.EnableK8sTokenAuth != nil && *o.EnableK8sTokenAuth
		h.TokenSecret = rc.Name
		if o.SecretName != nil && *o.SecretName != "" {
			h.TokenSecret = *o.SecretName
		}
	}
	return h, true
}

// usesTLS says whether the head's container sets RAY_USE_TLS.
func usesTLS(rc *rayv1.RayCluster) bool {
	for _, c := range rc.Spec.HeadGroupSpec.Template.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == "RAY_USE_TLS" && (e.Value == "1" || strings.EqualFold(e.Value, "true")) {
				return true
			}
		}
	}
	return false
}
