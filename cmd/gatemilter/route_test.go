package main

import (
	"bytes"
	"strings"
	"testing"

	"gatemilter/policy"
)

// R6: the file of authorities is shown in both forms.
func TestRouteShowsAuthorities(t *testing.T) {
	way := outgoing{Way: policy.Way{Route: &policy.Route{
		Name:    "relays",
		Primary: []policy.Host{{Name: "a.example", Port: 25, Load: 100}},
		TLS:     policy.TLSDemand{Required: true, CA: true, CAFile: "/etc/gatemilter/relay-ca.pem"},
	}}}
	for _, form := range []struct {
		write func(*bytes.Buffer) error
		want  string
	}{
		{func(b *bytes.Buffer) error { return way.writeText(b) }, "  require_ca       yes: the certificate is signed by one of the authorities in /etc/gatemilter/relay-ca.pem\n"},
		{func(b *bytes.Buffer) error { return way.writeJSON(b) }, `"ca_file": "/etc/gatemilter/relay-ca.pem",` + "\n"},
	} {
		var b bytes.Buffer
		if err := form.write(&b); err != nil {
			t.Error(err)
		} else if !strings.Contains(b.String(), form.want) {
			t.Errorf("%q is not in\n%s", form.want, b.String())
		}
	}
}
