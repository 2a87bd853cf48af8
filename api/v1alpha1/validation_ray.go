package v1alpha1

import (
	"net"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (v *validator) hold(value string, path *field.Path) {
	if value != "" && value != HoldSuspend && value != HoldNever {
		v.invalid(path, value, "must be %s or %s, not %q; leave it out to inherit", HoldSuspend, HoldNever, value)
	}
}

func (v *validator) rayTLS(path *field.Path) {
	t := v.config.Ray.TLS
	if t == nil {
		return
	}
	for _, f := range []struct{ name, file string }{{"caFile", t.CAFile}, {"certFile", t.CertFile}, {"keyFile", t.KeyFile}} {
		if f.file == "" {
			v.required(path.Child(f.name), "name a PEM file")
		}
	}
}

func (v *validator) webhook(path *field.Path) {
	w := v.config.Webhook
	if w == nil {
		return
	}
	if len(validation.IsValidPortNum(int(w.Port))) > 0 {
		v.invalid(path.Child("port"), w.Port, "must be a port from 1 to 65535, not %d", w.Port)
	}
	v.objectName(w.Service, path.Child("service"))
	for i, host := range w.Hosts {
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(host)) > 0 {
			v.invalid(path.Child("hosts").Index(i), host, "%q is neither a name nor an address", host)
		}
	}
}
