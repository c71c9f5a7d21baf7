package config

import (
	"strings"
	"testing"

	"gatemilter/policy"
)

// O4: what is given elsewhere than in a file is read as if it stood in one.
func TestParseUserServer(t *testing.T) {
	for _, c := range []struct {
		text string
		tls  policy.UserTLS
		host string
		port uint16
		err  string
	}{
		{"smtp.partner.example", policy.STARTTLS, "smtp.partner.example", 587, ""},
		{"SMTP.Partner.example:2525", policy.STARTTLS, "smtp.partner.example", 2525, ""},
		{"smtp.partner.example", policy.ImplicitTLS, "smtp.partner.example", 465, ""},
		{"[2001:db8::25]:465", policy.ImplicitTLS, "2001:db8::25", 465, ""},
		{"[2001:db8::25]", policy.STARTTLS, "2001:db8::25", 587, ""},
		{"2001:db8::25", policy.STARTTLS, "", 0, "an IPv6 address needs brackets"},
		{"smtp.partner.example:465", policy.STARTTLS, "", 0, "there, TLS is from the start"},
		{"smtp.partner.example:587", policy.ImplicitTLS, "", 0, "there, TLS is not from the start"},
		{"smtp.partner.example:110", policy.STARTTLS, "", 0, "write 587 or 25"},
		{"smtp.partner.example:smtp", policy.STARTTLS, "", 0, "write 587 or 25"},
		{"https://smtp.partner.example", policy.STARTTLS, "", 0, "it is a URL"},
		{"", policy.STARTTLS, "", 0, "is no host"},
	} {
		host, port, err := ParseUserServer(c.text, c.tls)
		if host != c.host || port != c.port || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q, %s: %q, %d, %v", c.text, c.tls, host, port, err)
		}
	}
}

func TestParseLogin(t *testing.T) {
	for text, want := range map[string]string{"Alice@Example.com": "alice@example.com", "bob": "bob"} {
		if got, err := ParseLogin(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "<bob>", "a\x00b", strings.Repeat("x", maxLogin+1)} {
		if got, err := ParseLogin(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got, err := ParseAddress("Alice@BÜCHER.example"); got != "alice@xn--bcher-kva.example" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
