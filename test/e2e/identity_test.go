package e2e

import (
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/capmgr/capmgr/test/stack"
)

// A whole story runs under the service account of deploy/: nothing that capmgr asks for is denied,
// and what it has no business with is denied.
func TestLimitedIdentity(t *testing.T) {
	t.Parallel()
	s := stage(t, "life")
	s.create(t, gang("life", "whole", "life", 2))
	s.awaitReady(t, "life", "whole", time.Minute)
	s.remove(t, gang("life", "whole", "life", 2))
	s.awaitGone(t, "life", time.Minute)

	// That nothing was denied is checked at the end of every test; here, that there was something.
	entries, err := s.audit()
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, e := range entries {
		path, _, _ := strings.Cut(e.RequestURI, "?")
		asked[e.Verb+" "+path[strings.LastIndex(path, "/")+1:]] = true
	}
	for _, want := range []string{"create binding", "create capacityrequests", "update status", "create events", "watch pods", "update capmgr"} {
		if !asked[want] {
			t.Errorf("the audit log has no %q of capmgr: it watches somebody else; it has %v", want, asked)
		}
	}
	for _, r := range []struct {
		verb, group, resource, subresource, namespace string
		allowed                                       bool
	}{
		{"create", "", "pods", "binding", "life", true}, // so that a misspelt user does not pass the rest
		{"delete", "", "pods", "", "life", false},
		{"create", "", "pods", "", "life", false},
		{"update", "", "pods", "", "life", false},
		{"get", "", "secrets", "", "life", false},
		{"list", "", "secrets", "", "kube-system", false},
		{"list", "", "configmaps", "", "life", false},
		{"delete", "", "nodes", "", "", false},
		{"create", "", "nodes", "", "", false},
		{"create", "ray.io", "rayclusters", "", "life", false},
		{"update", "ray.io", "rayclusters", "", "life", false},
		{"delete", "ray.io", "rayclusters", "", "life", false},
		{"update", "scheduling.run.ai", "queues", "", "", false},
		{"delete", "coordination.k8s.io", "leases", "", "kube-node-lease", false},
		{"update", "coordination.k8s.io", "leases", "", "kube-node-lease", false},
		{"create", "", "serviceaccounts", "token", "capmgr-system", false},
		{"escalate", "rbac.authorization.k8s.io", "clusterroles", "", "", false},
		{"impersonate", "", "users", "", "", false},
	} {
		review, err := s.Kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:   stack.ServiceAccount,
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:capmgr-system", "system:authenticated"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.subresource, Namespace: r.namespace},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed != r.allowed {
			t.Errorf("%s %s/%s %s in %q: allowed is %v, want %v", r.verb, r.group, r.resource, r.subresource, r.namespace, review.Status.Allowed, r.allowed)
		}
	}
}
