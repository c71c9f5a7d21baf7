package tlsprobe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// R8: every problem has advice.
func TestEveryProblemHasAdvice(t *testing.T) {
	problems := []Problem{HostNotFound, LookupFailed, Inside, Refused, ConnectionFailed, Closed, Timeout,
		NotSMTP, TLSFromStart, ClearFromStart, SessionRefused, NoSTARTTLS, STARTTLSRefused, BytesBeforeTLS, HandshakeFailed, TLSTooOld,
		SelfSigned, UnknownCA, Expired, NotYetValid, ChainInvalid, NameMismatch, ExpiresSoon}
	for _, p := range problems {
		if len(advice[p]) == 0 {
			t.Errorf("%s has none", p)
		}
	}
	if len(advice) != len(problems) {
		t.Errorf("advice for %d problems, but there are %d", len(advice), len(problems))
	}
}

// Only problems that an option makes disappear mention the option, last and as what
// it is.
func TestAdvice(t *testing.T) {
	mismatch := Finding{Problem: NameMismatch}
	for _, c := range []struct {
		name   string
		report Report
		want   []string
	}{
		{"all is well", Report{TLS: holds(""), Trust: holds(""), Name: holds("")}, nil},
		{"two failures", Report{
			TLS: holds(""), Trust: fails(Finding{Problem: SelfSigned}), Name: fails(mismatch),
			Chain: []Certificate{{Names: []string{"*.lab.test", "mail.lab.test", "mx.lab.test"}}},
		}, []string{
			"ask the relay provider for a certificate of a public CA",
			"or get the certificate from the provider by a safe way, and name its file in ca_file",
			"not recommended: with require_ca = no anybody's certificate would be taken",
			"if the relay provider's documentation gives it so, write another host name: mail.lab.test, mx.lab.test",
			"ask the relay provider for the host name that its certificate bears",
			"not recommended: with verify_hostname = no the certificate of any other host would be taken",
		}},
		{"asked for no name", Report{Target: Target{Host: "mx.lab.test"}, TLS: holds(""), Trust: fails(Finding{Problem: SelfSigned}), Name: holds("")}, []string{
			"it was asked for no name (SNI), as Sendmail does: where --sni mx.lab.test shows a certificate that holds, Sendmail can't use this host with require_ca or verify_hostname",
			"ask the relay provider for a certificate of a public CA",
			"or get the certificate from the provider by a safe way, and name its file in ca_file",
			"not recommended: with require_ca = no anybody's certificate would be taken",
		}},
		{"asked for its name, or has none", Report{Target: Target{Host: "192.0.2.1"}, TLS: holds(""), Trust: holds(""), Name: fails(mismatch)}, []string{
			"ask the relay provider for the host name that its certificate bears",
			"not recommended: with verify_hostname = no the certificate of any other host would be taken",
		}},
		{"no names to propose", Report{
			TLS: holds(""), Trust: holds(""), Name: fails(mismatch), Chain: []Certificate{{Names: []string{"*.lab.test", "Relay Server"}}},
		}, []string{
			"ask the relay provider for the host name that its certificate bears",
			"not recommended: with verify_hostname = no the certificate of any other host would be taken",
		}},
		{"many names to propose", Report{
			TLS: holds(""), Trust: holds(""), Name: fails(mismatch), Chain: []Certificate{{Names: []string{"a.test", "b.test", "c.test", "d.test", "e.test", "f.test"}}},
		}, []string{
			"if the relay provider's documentation gives it so, write another host name: a.test, b.test, c.test, d.test, e.test …",
			"ask the relay provider for the host name that its certificate bears",
			"not recommended: with verify_hostname = no the certificate of any other host would be taken",
		}},
		{"no TLS", Report{TLS: fails(Finding{Problem: NoSTARTTLS}), Trust: fails(Finding{Problem: NotChecked}), Name: fails(Finding{Problem: NotChecked})}, []string{
			"try port 587: some servers offer TLS only there",
			"ask the relay provider which host and port offer TLS",
			"not recommended: with require_tls = no mail would go in clear, for all on the way to read",
		}},
		{"not reached", Report{TLS: fails(Finding{Problem: HostNotFound}), Trust: fails(Finding{Problem: NotChecked}), Name: fails(Finding{Problem: NotChecked})}, []string{
			"check how the host's name is written; ask the relay provider for it",
		}},
		{"a warning", Report{TLS: holds(""), Trust: holds(""), Name: holds(""), Warnings: []Finding{{Problem: ExpiresSoon}}}, []string{
			"ask the relay provider whether it renews the certificate in time",
		}},
	} {
		if diff := cmp.Diff(c.want, c.report.Advice()); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
