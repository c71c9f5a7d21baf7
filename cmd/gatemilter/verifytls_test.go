package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
	"gatemilter/cmd/internal/verify"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// probed is a report with everything in it, whose host tries to play with terminals.
func probed() *tlsprobe.Report {
	end := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	return &tlsprobe.Report{
		Target:   tlsprobe.Target{Host: "relay.example.com", Port: 587, SNI: "relay.example.com"},
		Address:  netip.MustParseAddrPort("192.0.2.1:587"),
		Greeting: "relay\x1b[2J ESMTP",
		Version:  policy.TLS13,
		Cipher:   "TLS_AES_128_GCM_SHA256",
		Chain: []tlsprobe.Certificate{{
			Subject: "CN=mail", Issuer: "CN=A CA\t\u202e", Names: []string{"mail.example.com", "evil\n"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
			NotBefore: end.AddDate(0, 0, -90), NotAfter: end, Key: "RSA 2048", Fingerprint: "AA:BB", KeyFingerprint: "CC:DD",
		}, {
			Subject: "CN=A CA", Issuer: "CN=Root", NotBefore: end.AddDate(-1, 0, 0), NotAfter: end.AddDate(0, 0, -20), Key: "ECDSA P-256", Fingerprint: "EE:FF", KeyFingerprint: "00:11",
		}},
		TLS:      tlsprobe.Check{Holds: true, Finding: tlsprobe.Finding{Reason: "STARTTLS with TLS 1.3"}},
		Trust:    tlsprobe.Check{Finding: tlsprobe.Finding{Problem: tlsprobe.NotChecked, Reason: "not today"}},
		Name:     tlsprobe.Check{Finding: tlsprobe.Finding{Problem: tlsprobe.NameMismatch, Reason: `it has "mail.example.com"`}},
		Auth:     []string{"PLAIN", "LOGIN"},
		Login:    tlsprobe.Check{Holds: true, Finding: tlsprobe.Finding{Reason: "PLAIN, LOGIN"}},
		Warnings: []tlsprobe.Finding{{Problem: tlsprobe.ExpiresSoon, Reason: "soon over"}},
	}
}

const probedText = `
Target      relay.example.com, port 587, STARTTLS
Reached     192.0.2.1:587
Greeting    relay\x1b[2J ESMTP
Connection  TLS 1.3, TLS_AES_128_GCM_SHA256
Login       PLAIN, LOGIN

Options of a route
  require_tls      ok    STARTTLS with TLS 1.3
  require_ca       -     not today
  verify_hostname  FAIL  it has "mail.example.com"

Certificates, as the host sent them
  #  for                                  issuer           valid from  expires                   key
  1  mail.example.com, evil\n, 192.0.2.2  CN=A CA\t\u202e  2026-09-02  2026-12-01, 10 days left  RSA 2048
  2  CN=A CA                              CN=Root          2025-12-01  2026-11-11, over          ECDSA P-256

SHA-256 of the host's own
  certificate  AA:BB
  public key   CC:DD

Warnings
  - soon over

Advice
  - if the relay provider's documentation gives it so, write another host name: mail.example.com
  - ask the relay provider for the host name that its certificate bears
  - not recommended: with verify_hostname = no the certificate of any other host would be taken
  - ask the relay provider whether it renews the certificate in time

Result
  FAIL: with the options that fail set to yes, no mail would go to this host
`

const probedJSON = `
{
  "target": {
    "host": "relay.example.com",
    "port": 587,
    "implicit": false,
    "sni": "relay.example.com"
  },
  "address": "192.0.2.1:587",
  "greeting": "relay\u001b[2J ESMTP",
  "version": "1.3",
  "cipher": "TLS_AES_128_GCM_SHA256",
  "passed": false,
  "checks": [
    {
      "option": "require_tls",
      "holds": true,
      "reason": "STARTTLS with TLS 1.3"
    },
    {
      "option": "require_ca",
      "holds": false,
      "problem": "not-checked",
      "reason": "not today"
    },
    {
      "option": "verify_hostname",
      "holds": false,
      "problem": "name-mismatch",
      "reason": "it has \"mail.example.com\""
    }
  ],
  "warnings": [
    {
      "problem": "expires-soon",
      "reason": "soon over"
    }
  ],
  "chain": [
    {
      "subject": "CN=mail",
      "issuer": "CN=A CA\t\u202e",
      "names": [
        "mail.example.com",
        "evil\n"
      ],
      "ips": [
        "192.0.2.2"
      ],
      "not_before": "2026-09-02T12:00:00Z",
      "not_after": "2026-12-01T12:00:00Z",
      "key": "RSA 2048",
      "sha256": "AA:BB",
      "key_sha256": "CC:DD"
    },
    {
      "subject": "CN=A CA",
      "issuer": "CN=Root",
      "not_before": "2025-12-01T12:00:00Z",
      "not_after": "2026-11-11T12:00:00Z",
      "key": "ECDSA P-256",
      "sha256": "EE:FF",
      "key_sha256": "00:11"
    }
  ],
  "match_names": [
    "mail.example.com"
  ],
  "advice": [
    "if the relay provider's documentation gives it so, write another host name: mail.example.com",
    "ask the relay provider for the host name that its certificate bears",
    "not recommended: with verify_hostname = no the certificate of any other host would be taken",
    "ask the relay provider whether it renews the certificate in time"
  ],
  "login": {
    "holds": true,
    "mechanisms": [
      "PLAIN",
      "LOGIN"
    ],
    "reason": "PLAIN, LOGIN"
  }
}
`

// R8: the whole of what is shown, as text and for scripts. Nothing of the host reaches
// the terminal unescaped.
func TestVerifyTLSOutput(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for _, form := range []struct {
		write func(*tlsprobe.Report, time.Time, io.Writer) error
		want  string
	}{{writeTLSText, probedText}, {writeTLSJSON, probedJSON}} {
		var got bytes.Buffer
		err := form.write(probed(), now, &got)
		if diff := cmp.Diff(form.want[1:], got.String()); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
}

// What a host offers to log in with is shown, and changes nothing for routes.
func TestVerifyTLSLogin(t *testing.T) {
	ca := must(lab.NewCA("Test CA"))
	caFile := writeCA(t, ca)
	with, without := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{}}), newServer(t, lab.SinkConfig{Cert: certified(ca)})
	kerberos := newServer(t, lab.SinkConfig{Cert: certified(ca)})
	kerberos.Answer(func(line string) string {
		if strings.HasPrefix(line, "EHLO") {
			return "250-kerberos\r\n250-STARTTLS\r\n250 AUTH GSSAPI"
		}
		return ""
	})
	for _, c := range []struct {
		server     *lab.Sink
		text, json string
	}{
		{with, "Login       PLAIN, LOGIN\n", `"mechanisms": [`},
		{without, "Login       none offered: a user's own server needs one that Postfix's client knows\n", `"problem": "no-login"`},
		{kerberos, "Login       GSSAPI offered: a user's own server needs one that Postfix's client knows\n", `only GSSAPI"`},
	} {
		for option, want := range map[string]string{"": c.text, " --json": c.json} {
			var out, errs bytes.Buffer
			status := run(t.Context(), strings.Fields("verify-tls "+c.server.Addr().String()+" --ca-file "+caFile+option), stdio{nil, &out, &errs})
			if status != exitFine || !strings.Contains(out.String(), want) {
				t.Errorf("exit status %d, want %q in\n%s%s", status, want, out.String(), errs.String())
			}
		}
	}
}

// R8: the command against a real Postfix, as a user calls it.
func TestVerifyTLSPostfix(t *testing.T) {
	ca := must(lab.NewCA("Test CA"))
	p := startPostfix(t, lab.Config{
		Cert: must(ca.Issue(lab.Subject{Hosts: []string{"mx.lab.test", "127.0.0.1"}})),
		Services: map[string]string{
			"submissions": "-o smtpd_tls_wrappermode=yes",
			"clear":       "-o smtpd_tls_security_level=none",
			"old":         "-o smtpd_tls_mandatory_protocols=TLSv1.2 -o smtpd_tls_protocols=TLSv1.2",
		},
	})
	caFile := writeCA(t, ca)
	_, port, _ := net.SplitHostPort(p.Addr())
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{p.Addr() + " --ca-file " + caFile, exitFine, "STARTTLS with TLS 1.3"},
		{p.ServiceAddr("old") + " --ca-file " + caFile, exitFine, "STARTTLS with TLS 1.2"},
		{"--implicit " + p.ServiceAddr("submissions") + " --ca-file " + caFile, exitFine, "TLS from the start with TLS 1.3"},
		{p.Addr(), exitFinding, `the issuer "CN=Test CA" is no trusted CA`},
		{"localhost:" + port + " --ca-file " + caFile, exitFinding, `the certificate is not for localhost: it has "mx.lab.test", 127.0.0.1`},
		{p.ServiceAddr("clear"), exitFinding, "the server does not offer STARTTLS"},
		{"--implicit " + p.Addr(), exitFinding, "the server greets in clear instead of beginning TLS"},
		{p.ServiceAddr("submissions") + " --timeout 3s", exitFinding, "the server waits for TLS from the start instead of greeting"},
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), append([]string{"verify-tls"}, strings.Fields(c.args)...), stdio{nil, &out, &errs})
		if status != c.status || !strings.Contains(out.String(), c.want) || errs.Len() > 0 {
			t.Errorf("%s: status %d, want %d and %q\n%s%s", c.args, status, c.status, c.want, out.String(), errs.String())
		}
	}
}

// The probe and Postfix's own client are of one opinion about certificates of every
// shape: which pass (R6, R7), and what the report offers for "verify match=" and
// "fingerprint match=" (R6 without R7).
func TestVerifyTLSAgreesWithPostfix(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	const host = "relay.lab.test"
	ca, other := must(lab.NewCA("Test CA")), must(lab.NewCA("Other CA"))
	bearing := func(common string, hosts ...string) lab.Subject { return lab.Subject{CommonName: common, Hosts: hosts} }
	expired := lab.Subject{Hosts: []string{host}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	future := lab.Subject{Hosts: []string{host}, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}
	client := newFinger(t, ca)
	for _, c := range []struct {
		name string
		cert *lab.Cert
	}{
		{"good", must(ca.Issue(bearing("", host)))},
		{"upper case", must(ca.Issue(bearing("", "RELAY.Lab.Test")))},
		{"wrong name", must(ca.Issue(bearing("", "mail.lab.test", "mx.lab.test")))},
		{"wrong name besides the right common name", must(ca.Issue(bearing(host, "mail.lab.test")))},
		{"common name", must(ca.Issue(bearing(host)))},
		{"common name besides an address", must(ca.Issue(bearing(host, "192.0.2.1")))},
		{"wrong common name", must(ca.Issue(bearing("mail.lab.test")))},
		{"odd common name", must(ca.Issue(bearing("Relay Server: the|one")))},
		{"keyword as common name", must(ca.Issue(bearing("nexthop")))},
		{"address as common name", must(ca.Issue(bearing("127.0.0.1")))},
		{"wildcard", must(ca.Issue(bearing("", "*.lab.test")))},
		{"wildcard common name", must(ca.Issue(bearing("*.lab.test")))},
		{"wildcard too wide", must(ca.Issue(bearing("", "*.test")))},
		{"wildcard too high", must(ca.Issue(bearing("", "*.relay.lab.test")))},
		{"part of a label wild", must(ca.Issue(bearing("", "rel*.lab.test")))},
		{"leading point", must(ca.Issue(bearing("", ".lab.test")))},
		{"address alone", must(ca.Issue(bearing("", "127.0.0.1")))},
		{"two addresses", must(ca.Issue(bearing("", "127.0.0.1", "2001:db8::1")))},
		{"no name", must(ca.Issue(bearing("")))},
		{"expired", must(ca.Issue(expired))},
		{"not yet valid", must(ca.Issue(future))},
		{"other CA", must(other.Issue(bearing("", host)))},
		{"self-signed", must(lab.SelfSigned(bearing("", host)))},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := serveTLS(t, c.cert.TLS)
			prober := tlsprobe.Prober{Lookup: func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}}
			r, err := prober.Probe(t.Context(), tlsprobe.Target{Host: host, Port: port}, ca.Pool())
			if err != nil || !r.TLS.Holds {
				t.Fatal(err, r.TLS)
			}
			if got := client.verified(t, port, "secure", host); got != r.Passed() {
				t.Errorf("Postfix verifies it: %v; the probe: %+v, %+v", got, r.Trust, r.Name)
			}
			if names := r.MatchNames(); len(names) > 0 && client.verified(t, port, "verify", names...) != r.Trust.Holds {
				t.Errorf("trusted %v, but Postfix does not say the same of match %q", r.Trust.Holds, names)
			}
			for _, print := range []string{r.Chain[0].Fingerprint, r.Chain[0].KeyFingerprint} {
				if !client.verified(t, port, "fingerprint", print) {
					t.Errorf("Postfix does not know it by %s", print)
				}
			}
		})
	}
}

// A finger is Postfix's posttls-finger(1), which does TLS as its smtp client does.
type finger struct{ config, caFile string }

func newFinger(t *testing.T, ca *lab.CA) finger {
	config := t.TempDir()
	old := time.Now().Add(-time.Minute) // Postfix waits for a file that may still be written
	for name, text := range map[string]string{"main.cf": "compatibility_level = 3.6\n", "master.cf": ""} {
		path := filepath.Join(config, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	return finger{config, writeCA(t, ca)}
}

// verified tells whether a server passes at a security level of Postfix.
func (f finger) verified(t *testing.T, port uint16, level string, match ...string) bool {
	t.Helper()
	args := append([]string{"-c", "-l", level, "-d", "sha256", "-F", f.caFile, "[127.0.0.1]:" + strconv.Itoa(int(port))}, match...)
	cmd := exec.CommandContext(t.Context(), "posttls-finger", args...)
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+f.config)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "TLS connection established") {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.Contains(string(out), "Verified TLS connection established")
}

// serveTLS is an SMTP server that does STARTTLS and nothing else.
func serveTLS(t *testing.T, cert tls.Certificate) (port uint16) {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				startTLSSession(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		sessions.Wait() // the clients have ended
	})
	return netip.MustParseAddrPort(listener.Addr().String()).Port()
}

func startTLSSession(conn net.Conn, config *tls.Config) {
	io.WriteString(conn, "220 relay.lab.test ESMTP\r\n")
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return
		case strings.HasPrefix(line, "EHLO"):
			io.WriteString(conn, "250-relay.lab.test\r\n250 STARTTLS\r\n")
		case strings.HasPrefix(line, "STARTTLS"):
			io.WriteString(conn, "220 go ahead\r\n")
			conn = tls.Server(conn, config)
			in = bufio.NewReader(conn)
		default:
			io.WriteString(conn, "221 bye\r\n")
			return
		}
	}
}

// A file of CA certificates without any is refused: all hosts would fail.
func TestVerifyTLSRoots(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, []byte("no PEM\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{name, name + ".missing"} {
		if pool, err := verify.Roots(file); err == nil {
			t.Errorf("%s: %v", file, pool)
		}
	}
	ca := must(lab.NewCA("Test CA"))
	want := x509.NewCertPool()
	want.AppendCertsFromPEM(ca.PEM())
	if pool, err := verify.Roots(writeCA(t, ca)); err != nil || !pool.Equal(want) {
		t.Errorf("%v, %v", pool, err)
	}
}
