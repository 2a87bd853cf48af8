package fakeaws

import (
	"net/http"
	"strings"
)

// The services, as signatures name them.
const (
	serviceAutoScaling = "autoscaling"
	serviceEC2         = "ec2"
	serviceEKS         = "eks"
)

// identify tells the service from the scope of the signature's credential,
// <key>/<date>/<region>/<service>/aws4_request. The service is known even when the signature is
// refused, because the refusal must be written in that service's protocol.
func identify(r *http.Request, p params, region string) (string, error) {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		service := guess(r, p)
		code := "MissingAuthenticationToken"
		if service == serviceEKS {
			code = "MissingAuthenticationTokenException"
		}
		return service, &apiError{http.StatusForbidden, code, "Request is missing Authentication Token"}
	}
	scope := strings.Split(credential(authorization), "/")
	if len(scope) != 5 || !strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 ") {
		return guess(r, p), &apiError{http.StatusForbidden, "IncompleteSignature", "The Authorization header has no credential scope"}
	}
	service := scope[3]
	if service != serviceAutoScaling && service != serviceEC2 && service != serviceEKS {
		return guess(r, p), &apiError{http.StatusForbidden, "SignatureDoesNotMatch", "Credential should be scoped to a known service, not '" + service + "'."}
	}
	if scope[2] != region {
		return service, &apiError{http.StatusForbidden, "SignatureDoesNotMatch", "Credential should be scoped to a valid region, not '" + scope[2] + "'."}
	}
	return service, nil
}

func credential(authorization string) string {
	_, rest, _ := strings.Cut(authorization, "Credential=")
	value, _, _ := strings.Cut(rest, ",")
	return strings.TrimSpace(value)
}

// guess is for requests without a usable signature.
func guess(r *http.Request, p params) string {
	switch {
	case strings.HasPrefix(r.URL.Path, "/clusters"):
		return serviceEKS
	case p["Version"] == versionEC2:
		return serviceEC2
	default:
		return serviceAutoScaling
	}
}
