package tlsprobe

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Certificates, good and bad in one way each (R6, R7).
func TestCertificates(t *testing.T) {
	ca, other := authority("Lab CA", nil), authority("Other CA", nil)
	between := authority("Between CA", ca)
	lonely := between.issue(names("", relay))
	lonely.Certificate = lonely.Certificate[:1]
	client := names("", relay)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	private := selfSign(names("", relay))
	stale := selfSign(valid(in(-30), in(-3), names("", relay)))
	whole := other.issue(names("", relay))
	whole.Certificate = append(whole.Certificate, other.cert.Raw)

	swollen := whole
	for range maxChain {
		swollen.Certificate = append(swollen.Certificate[:len(swollen.Certificate):len(swollen.Certificate)], between.cert.Raw)
	}

	for _, c := range []struct {
		name string
		host string
		cert tls.Certificate
		want string
	}{
		{"good", relay, ca.issue(names("", relay)), lines(tls13, signed, bears)},
		{"name in another case", "RELAY.lab.TEST", ca.issue(names("", "Relay.Lab.test")), lines(tls13, signed, "ok: the certificate bears the name RELAY.lab.TEST")},
		{"intermediate sent", relay, between.issue(names("", relay)), lines(tls13, signed, bears)},
		{"wildcard", relay, ca.issue(names("", "*.lab.test")), lines(tls13, signed, bears)},
		{"common name only", relay, ca.issue(names(relay)), lines(tls13, signed, bears)},
		{"second common name", relay, ca.issue(twoCommonNames(relay, "Relay Server")), lines(tls13, signed, bears)},
		{"common name besides an address", relay, ca.issue(names(relay, "192.0.2.1")), lines(tls13, signed, bears)},
		{"IP address", "127.0.0.1", ca.issue(names("", "127.0.0.1")), lines(tls13, signed, "ok: the certificate bears the name 127.0.0.1")},
		{"trusted itself", relay, private, lines(tls13, "ok: the certificate itself is a trusted one", bears)},

		{"wrong name", relay, ca.issue(names(relay, "mail.lab.test", "192.0.2.1")), lines(tls13, signed,
			`name-mismatch: the certificate is not for relay.lab.test: it has "mail.lab.test", 192.0.2.1`)},
		{"many wrong names", relay, ca.issue(names("", "a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test")), lines(tls13, signed,
			`name-mismatch: the certificate is not for relay.lab.test: it has "a.test", "b.test", "c.test", "d.test", "e.test", and 2 more`)},
		{"no name", relay, ca.issue(names("")), lines(tls13, signed, "name-mismatch: the certificate is not for relay.lab.test: it has no name at all")},
		{"IP address only", relay, ca.issue(names("", "127.0.0.1")), lines(tls13, signed,
			"name-mismatch: the certificate is not for relay.lab.test: it has 127.0.0.1")},
		{"IP address as a name", "127.0.0.1", ca.issue(names("127.0.0.1")), lines(tls13, signed,
			`name-mismatch: the certificate is not for 127.0.0.1: it has "127.0.0.1"`)},
		{"hostile name", relay, ca.issue(names("a\x1b[2J\u202eb")), lines(tls13, signed,
			`name-mismatch: the certificate is not for relay.lab.test: it has "a\x1b[2J\u202eb"`)},

		{"self-signed", relay, selfSign(names("", relay)), lines(tls13, "self-signed: the certificate is signed with its own key instead of a CA's", bears)},
		{"self-signed and expired", relay, selfSign(valid(in(-30), in(-3), names("", relay))), lines(tls13,
			"self-signed: the certificate is signed with its own key instead of a CA's", bears)},
		{"trusted itself, expired", relay, stale, lines(tls13, `expired: the certificate of "relay.lab.test" expired on 2026-11-18, 3 days ago`, bears)},
		{"other CA", relay, other.issue(names("", relay)), lines(tls13,
			`unknown-ca: the issuer "CN=Other CA" is no trusted CA, and the server sent no certificate for it`, bears)},
		{"other CA, sent too", relay, whole, lines(tls13, `unknown-ca: it leads to the CA "Other CA", which is not trusted here`, bears)},
		{"too many certificates", relay, swollen, lines(tls13, `unknown-ca: it leads to the CA "Other CA", which is not trusted here`, bears)},
		{"intermediate not sent", relay, lonely, lines(tls13,
			`unknown-ca: the issuer "CN=Between CA" is no trusted CA, and the server sent no certificate for it`, bears)},
		{"expired", relay, ca.issue(valid(in(-90), in(-2), names("", relay))), lines(tls13,
			`expired: the certificate of "relay.lab.test" expired on 2026-11-19, 2 days ago`, bears)},
		{"expired, of another CA, wrong name", relay, other.issue(valid(in(-90), in(-2), names("mail.lab.test"))), lines(tls13,
			`unknown-ca: the issuer "CN=Other CA" is no trusted CA, and the server sent no certificate for it`,
			`name-mismatch: the certificate is not for relay.lab.test: it has "mail.lab.test"`)},
		{"not yet valid", relay, ca.issue(valid(in(1), in(90), names("", relay))), lines(tls13,
			`not-yet-valid: the certificate of "relay.lab.test" is valid from 2026-11-22 on, in 1 day`, bears)},
		{"expires soon", relay, ca.issue(valid(in(-60), in(29), names("", relay))), lines(tls13, signed, bears,
			`expires-soon: the certificate of "relay.lab.test" expires on 2026-12-20, in 29 days`)},
		{"expires in time", relay, ca.issue(valid(in(-60), in(30), names("", relay))), lines(tls13, signed, bears)},
		{"for clients", relay, ca.issue(client), lines(tls13, "chain-invalid: certificate specifies an incompatible key usage", bears)},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := Target{Host: c.host, Port: serve(t, with(c.cert).handle)}
			r, err := prober().Probe(t.Context(), target, pool(ca.cert, private.Leaf, stale.Leaf))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, summary(r)); diff != "" {
				t.Error(diff)
			}
			if n := min(len(c.cert.Certificate), maxChain); len(r.Chain) != n {
				t.Errorf("%d certificates, want %d", len(r.Chain), n)
			}
		})
	}
}
