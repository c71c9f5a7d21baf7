package tlsprobe

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
)

// RFC 4954, section 3: mechanisms are in a line AUTH of the answer to EHLO. Postfix can use
// some of them.
func TestMechanisms(t *testing.T) {
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprint("M", i))
	}
	for answer, want := range map[string]string{
		"250-relay\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE\r\n":                    "true PLAIN, LOGIN",
		"250-relay\r\n250 auth plain\r\n":                                      "true PLAIN",
		"250-relay\r\n250-AUTH=LOGIN\r\n250 AUTH XOAUTH2\tLOGIN  CRAM-MD5\r\n": "true LOGIN, XOAUTH2, CRAM-MD5",
		"250-relay\r\n250 AUTH SCRAM-SHA-256\r\n":                              "true SCRAM-SHA-256",
		"250-relay\r\n250 AUTH DIGEST-MD5\r\n":                                 "true DIGEST-MD5",
		"250-relay\r\n250 AUTH GSSAPI NTLM\r\n":                                "true GSSAPI, NTLM",

		"250-relay\r\n250 AUTH GSSAPI XOAUTH2 ANONYMOUS\r\n":            "false the server offers no login that Postfix's client knows, only GSSAPI, XOAUTH2, ANONYMOUS",
		"250-relay\r\n250 AUTH SCRAM-SHA-256-PLUS\r\n":                  "false the server offers no login that Postfix's client knows, only SCRAM-SHA-256-PLUS",
		"250-relay\r\n250 AUTH PLAI\x1b TOO-LONG-TO-BE-ONE-OF-THEM\r\n": "false the server offers no login",
		"250-relay\r\n250 AUTH\r\n":                                     "false the server offers no login",
		"250-AUTH PLAIN\r\n250-SIZE\r\n250 AUTHX PLAIN\r\n":             "false the server offers no login",
		"250-relay\r\n250 \r\n":                                         "false the server offers no login",
		"502-what?\r\n502 AUTH PLAIN\r\n":                               "false the server offers no login",
		"250-relay\r\n250 AUTH " + strings.Join(many, " ") + "\r\n":     "",
	} {
		r, err := parse([]byte(answer))
		if want == "" { // a line that is too long
			if err == nil {
				t.Errorf("%.50q: %v", answer, r)
			}
			continue
		}
		check := judgeLogin(r.auth())
		if got := fmt.Sprint(check.Holds, " ", check.Reason); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", answer, got, err, want)
		}
	}
	r := reply{code: 250, lines: []string{"relay", "AUTH " + strings.Join(many, " ")}}
	if got := r.auth(); len(got) != maxMechanisms {
		t.Errorf("%d mechanisms are kept", len(got))
	}
}

// What counts is what the host offers at the end of the handshake, or in clear if there is
// to be none. A host that can't be asked has not offered anything.
func TestLoginOffered(t *testing.T) {
	ca := authority("Lab CA", nil)
	cert := ca.issue(names("", relay))
	const without, with, inClear = "250-relay\r\n250 STARTTLS\r\n", "250-relay\r\n250 AUTH PLAIN\r\n", "250-relay\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"
	for _, c := range []struct {
		what   string
		server mta
		target Target
		want   string
	}{
		{"after the handshake only", mta{ehlo: without, afterTLS: with}, Target{}, "ok: PLAIN"},
		{"in clear only", mta{ehlo: inClear, afterTLS: without}, Target{}, "no-login: the server offers no login"},
		{"TLS from the start", mta{implicit: true, afterTLS: with}, Target{Implicit: true}, "ok: PLAIN"},
		{"TLS from the start, without", mta{implicit: true}, Target{Implicit: true}, "no-login: the server offers no login"},
		{"no extensions after the handshake", mta{ehlo: without, afterTLS: "502 what?\r\n"}, Target{}, "no-login: the server offers no login"},
		{"asked in clear", mta{ehlo: inClear, afterTLS: without}, Target{Clear: true}, "ok: PLAIN"},
		{"asked in clear, after the handshake only", mta{ehlo: without, afterTLS: with}, Target{Clear: true}, "no-login: the server offers no login"},
		{"asked in clear, without extensions", mta{ehlo: "500 what?\r\n"}, Target{Clear: true}, "no-login: the server offers no login"},
		{"no TLS", mta{ehlo: with}, Target{}, "no-starttls: the server does not offer STARTTLS"},
		{"refused", mta{greeting: "554 go away\r\n"}, Target{Clear: true}, `session-refused: the server greets with "554 go away"`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			c.server.config = &tls.Config{Certificates: []tls.Certificate{cert}}
			c.target.Host, c.target.Port = relay, serve(t, c.server.handle)
			r, err := prober().Probe(t.Context(), c.target, pool())
			if err != nil {
				t.Fatal(err)
			}
			word := string(r.Login.Problem)
			if r.Login.Holds {
				word = "ok" + word
			}
			if got := word + ": " + r.Login.Reason; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.target.Clear && (len(r.Chain) > 0 || r.TLS.Holds || r.Passed()) {
				t.Errorf("in clear, yet %+v", r)
			}
		})
	}
}
