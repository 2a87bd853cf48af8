package fakeaws

import (
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer that refuses the call.
type apiError struct {
	status  int
	code    string
	message string
}

// Error implements error.
func (e *apiError) Error() string { return e.code + ": " + e.message }

// refuse is the ordinary refusal, with status 400.
func refuse(code, format string, args ...any) error {
	return &apiError{status: http.StatusBadRequest, code: code, message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse("ValidationError", format, args...) }

// asAPIError turns any error into an answer.
func asAPIError(err error) *apiError {
	var api *apiError
	if errors.As(err, &api) {
		return api
	}
	return &apiError{status: http.StatusInternalServerError, code: "InternalFailure", message: err.Error()}
}

// refusalOf is the error with which a fault of calls answers; the services word it differently.
func (f *activeFault) refusalOf(service string) *apiError {
	e := &apiError{status: http.StatusBadRequest, code: "Throttling", message: "Rate exceeded"}
	switch service {
	case serviceEC2:
		e = &apiError{status: http.StatusServiceUnavailable, code: "RequestLimitExceeded", message: "Request limit exceeded."}
	case serviceEKS:
		e = &apiError{status: http.StatusTooManyRequests, code: "ThrottlingException", message: "Rate exceeded"}
	}
	if f.Kind == Refuse {
		e.status, e.message = http.StatusBadRequest, "refused by a scripted fault"
	}
	if f.Code != "" {
		e.code = f.Code
	}
	if f.Message != "" {
		e.message = f.Message
	}
	return e
}

// launchRefusal is the error code and the text with which EC2 refuses to launch into g.
func (f *activeFault) launchRefusal(g *group) (code, message string) {
	switch {
	case f.Kind == QuotaExceeded && g.cfg.CapacityType == Spot:
		code, message = "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"
	case f.Kind == QuotaExceeded:
		code = "VcpuLimitExceeded"
		message = fmt.Sprintf("You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket that %s belongs to.", g.cfg.InstanceType)
	default:
		code = "InsufficientInstanceCapacity"
		message = fmt.Sprintf("We currently do not have sufficient %s capacity in the Availability Zone you requested (%s).", g.cfg.InstanceType, g.cfg.Zone)
	}
	if f.Code != "" {
		code = f.Code
	}
	if f.Message != "" {
		message = f.Message
	}
	return code, message
}
