// Package verify judges the hosts of routes: which of the options that a route sets
// for TLS (require_tls, require_ca, verify_hostname) the host holds, by what a probe of
// it has shown.
package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// An Option is a check under the name that it has in a route.
type Option struct {
	Name string
	tlsprobe.Check
}

// Options returns all checks of a report.
func Options(r *tlsprobe.Report) []Option {
	return []Option{{"require_tls", r.TLS}, {"require_ca", r.Trust}, {"verify_hostname", r.Name}}
}

// Failed returns the options that are demanded and the host fails. What could not be
// checked counts where nothing else says why.
func Failed(d policy.TLSDemand, r *tlsprobe.Report) []Option {
	demanded := map[string]bool{"require_tls": d.Required, "require_ca": d.CA, "verify_hostname": d.Hostname}
	var failed, unchecked []Option
	for _, o := range Options(r) {
		switch {
		case !demanded[o.Name] || o.Holds:
		case o.Problem == tlsprobe.NotChecked:
			unchecked = append(unchecked, o)
		default:
			failed = append(failed, o)
		}
	}
	if failed == nil {
		return unchecked
	}
	return failed
}

// Targets returns the hosts behind a host of the route: itself, or its MX hosts; asked for by
// name if the mail server does so.
func Targets(ctx context.Context, r *policy.Route, h policy.Host, sni bool) ([]tlsprobe.Target, error) {
	if !r.MXLookup {
		return []tlsprobe.Target{tlsprobe.Target{Host: h.Name, Port: h.Port}.Asking(sni)}, nil
	}
	records, err := net.DefaultResolver.LookupMX(ctx, h.Name)
	if err != nil {
		return nil, fmt.Errorf("MX hosts of %s are not found: %w; mx_lookup = no takes it for a host itself", h.Name, err)
	}
	var targets []tlsprobe.Target
	for _, mx := range records {
		targets = append(targets, tlsprobe.Target{Host: strings.TrimSuffix(mx.Host, "."), Port: h.Port}.Asking(sni))
	}
	return targets, nil
}

// Roots reads the CA certificates of a file; nil, for the system's, if there is none.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%q has no certificate in it: it must hold -----BEGIN CERTIFICATE----- and what follows", file)
	}
	return roots, nil
}
