package tlsprobe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gatemilter/policy"
)

// TestMain fails if any probe left a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const relay = "relay.lab.test"

// prober is one for which every name stands for loopback.
func prober() *Prober {
	return &Prober{
		Lookup:  func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{loopback}, nil },
		Now:     func() time.Time { return now },
		Timeout: 10 * time.Second,
	}
}

var loopback = netip.MustParseAddr("127.0.0.1")

// summary is what a probe says of TLS, trust and name, one line each, and of what
// to watch: the problem or ok, and why.
func summary(r Report) string {
	var lines []string
	for _, c := range []Check{r.TLS, r.Trust, r.Name} {
		word := string(c.Problem)
		if c.Holds {
			word = "ok" + word
		}
		lines = append(lines, word+": "+c.Reason)
	}
	for _, w := range r.Warnings {
		lines = append(lines, string(w.Problem)+": "+w.Reason)
	}
	return strings.Join(lines, "\n")
}

// What the checks say where nothing is wrong, or nothing could be seen.
const (
	tls13    = "ok: STARTTLS with TLS 1.3"
	signed   = `ok: signed by the trusted CA "Lab CA"`
	bears    = "ok: the certificate bears the name relay.lab.test"
	noChecks = "not-checked: there was no handshake, so no certificate\nnot-checked: there was no handshake, so no certificate"
)

func lines(l ...string) string { return strings.Join(l, "\n") }

// A sessionCase is a session with a server, and what the probe says of it.
type sessionCase struct {
	name     string
	server   func(net.Conn)
	implicit bool
	want     string
}

func (c sessionCase) run(t *testing.T, timeout time.Duration, roots *x509.CertPool) {
	t.Run(c.name, func(t *testing.T) {
		t.Parallel()
		p := prober()
		p.Timeout = timeout
		r, err := p.Probe(t.Context(), Target{Host: relay, Port: serve(t, c.server), Implicit: c.implicit}, roots)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, summary(r)); diff != "" {
			t.Error(diff)
		}
		if len(r.Advice()) == 0 != r.Passed() {
			t.Errorf("passed %v, advice %q", r.Passed(), r.Advice())
		}
	})
}

// Sessions, each of which goes wrong in its own way (R5).
func TestSessions(t *testing.T) {
	ca := authority("Lab CA", nil)
	good := with(ca.issue(names("", relay)))
	rsaCert := ca.sign(names("", relay), newRSA())
	change := func(f func(*mta)) func(net.Conn) {
		m := mta{config: good.config.Clone()}
		f(&m)
		return m.handle
	}
	for _, c := range []sessionCase{
		{"implicit", change(func(m *mta) { m.implicit = true }), true, lines("ok: TLS from the start with TLS 1.3", signed, bears)},
		{"greeting of several lines", change(func(m *mta) { m.greeting = "220-no spam\r\n220\r\n" }), false, lines(tls13, signed, bears)},
		{"bare line ends", change(func(m *mta) { m.greeting = "220 relay\n" }), false, lines(tls13, signed, bears)},
		{"TLS 1.2 with RSA key exchange", change(func(m *mta) {
			m.config = &tls.Config{Certificates: []tls.Certificate{rsaCert}, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}
		}), false, lines("ok: STARTTLS with TLS 1.2", signed, bears)},
		{"TLS 1.0", change(func(m *mta) { m.config.MinVersion, m.config.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }), false,
			lines("tls-too-old: STARTTLS with TLS 1.0 only: at least 1.2 is needed", signed, bears)},
		{"TLS older still", says("\x15\x03\x00\x00\x02\x02\x46"), true,
			lines("tls-too-old: there is no version of TLS in common: remote error: tls: protocol version not supported", noChecks)},

		{"no STARTTLS", change(func(m *mta) { m.ehlo = "250-relay STARTTLS\r\n250 STARTTLSX\r\n" }), false,
			lines("no-starttls: the server does not offer STARTTLS", noChecks)},
		{"no extensions", change(func(m *mta) { m.ehlo = "502 what?\r\n" }), false,
			lines(`no-starttls: the server knows no extensions, so no STARTTLS: it answers EHLO with "502 what?"`, noChecks)},
		{"STARTTLS refused", change(func(m *mta) { m.startTLS = "454 4.7.0 TLS not available\r\n" }), false,
			lines(`starttls-refused: the server answers STARTTLS with "454 4.7.0 TLS not available"`, noChecks)},
		{"bytes behind the consent", change(func(m *mta) { m.startTLS = "220 go ahead\r\n250 AUTH PLAIN\r\n" }), false,
			lines("bytes-before-tls: the server sends more in clear after it agreed to TLS: somebody on the way may have added it", noChecks)},
		{"consent without TLS", change(func(m *mta) { m.config = nil }), false,
			lines(`handshake-failed: after it agreed to TLS the server sent something else: it begins with "500 w"`, noChecks)},
		{"client certificate demanded", change(func(m *mta) { m.config.ClientAuth = tls.RequireAnyClientCert }), false,
			lines("handshake-failed: the server breaks TLS off: certificate required", signed, bears)},
		{"refused after the handshake", change(func(m *mta) { m.afterTLS = "550 5.7.1 go away\r\n" }), false,
			lines(`session-refused: the server answers EHLO with "550 5.7.1 go away"`, signed, bears)},

		{"greeting 421", says("421 4.3.2 later\r\n"), false, lines(`session-refused: the server greets with "421 4.3.2 later"`, noChecks)},
		{"greeting 554", says("554 5.7.1 no\x1b[2J\r\n"), false, lines(`session-refused: the server greets with "554 5.7.1 no\x1b[2J"`, noChecks)},
		{"EHLO 451", change(func(m *mta) { m.ehlo = "451 later\r\n" }), false, lines(`session-refused: the server answers EHLO with "451 later"`, noChecks)},
		{"closed at once", func(net.Conn) {}, false, lines("connection-closed: the server closed the connection, instead of the greeting", noChecks)},
		{"closed in a reply", func(c net.Conn) { c.Write([]byte("220 rel")) }, false,
			lines("connection-closed: the server closed the connection, instead of the greeting", noChecks)},
		{"closed in the handshake", func(net.Conn) {}, true, lines("connection-closed: the server closed the connection in the handshake", noChecks)},

		{"plain where TLS was expected", good.handle, true, lines("clear-from-the-start: the server greets in clear instead of beginning TLS", noChecks)},
		{"HTTP where TLS was expected", answers("HTTP/1.1 400 Bad Request\r\n\r\n"), true,
			lines(`not-smtp: what it sent is no TLS: it begins with "HTTP/"`, noChecks)},
		{"HTTPS", change(func(m *mta) { m.implicit, m.greeting = true, "HTTP/1.1 400 Bad Request\r\n" }), true,
			lines(`not-smtp: what it sent is no SMTP reply: "HTTP/1.1 400 Bad Request"`, signed, bears)},
		{"SSH", says("SSH-2.0-OpenSSH_9.2\r\n"), false, lines(`not-smtp: what it sent is no SMTP reply: "SSH-2.0-OpenSSH_9.2"`, noChecks)},
		{"endless reply", repeats("220-more\r\n"), false, lines("not-smtp: a reply has more than 100 lines", noChecks)},
		{"endless line", repeats("220 more"), false, lines("not-smtp: a line has more than 2048 octets: it begins with "+
			`"`+strings.Repeat("220 more", 12)+`220 "…`, noChecks)},
	} {
		c.run(t, 30*time.Second, pool(ca.cert))
	}
}

// Servers that wait for what doesn't come (R5). Some of them wait for TLS.
func TestSilentServers(t *testing.T) {
	ca := authority("Lab CA", nil)
	implicit := with(ca.issue(names("", relay)))
	implicit.implicit = true
	for _, c := range []sessionCase{
		{"TLS where plain was expected", implicit.handle, false,
			lines("tls-from-the-start: the server waits for TLS from the start instead of greeting", noChecks)},
		{"HTTP", answers("HTTP/1.1 400 Bad Request\r\n\r\n"), false,
			lines(`not-smtp: the server does not greet, and answers a handshake with "HTTP/"`, noChecks)},
		{"hanging server", says(""), false, lines("timeout: no answer in time, instead of the greeting", noChecks)},
		{"hanging in a reply", says("220-wait"), false, lines("timeout: no answer in time, instead of the greeting", noChecks)},
		{"hanging after EHLO", says("220 relay\r\n"), false, lines("timeout: no answer in time, instead of an answer to EHLO", noChecks)},
		{"hanging in the handshake", says(""), true, lines("timeout: no answer in time in the handshake", noChecks)},
	} {
		c.run(t, 5*time.Second, pool(ca.cert))
	}
}

// What comes before a session.
func TestReaching(t *testing.T) {
	ca := authority("Lab CA", nil)
	open, deaf := serve(t, with(ca.issue(names("", relay))).handle), deafPort(t)
	finds := func(ips ...string) func(context.Context, string) ([]netip.Addr, error) {
		var found []netip.Addr
		for _, ip := range ips {
			found = append(found, netip.MustParseAddr(ip))
		}
		return func(context.Context, string) ([]netip.Addr, error) { return found, nil }
	}
	says := func(err error) func(context.Context, string) ([]netip.Addr, error) {
		return func(context.Context, string) ([]netip.Addr, error) { return nil, err }
	}
	for _, c := range []struct {
		name   string
		lookup func(context.Context, string) ([]netip.Addr, error)
		port   uint16
		want   string
	}{
		{"second address", finds("127.0.0.2", "127.0.0.1"), open, lines(tls13, signed, bears)},
		{"mapped address", finds("::ffff:127.0.0.1"), open, lines(tls13, signed, bears)},
		{"nobody listens", finds("127.0.0.1"), deaf, lines(fmt.Sprintf("connection-refused: 127.0.0.1:%d: connection refused", deaf), noChecks)},
		{"no such name", says(&net.DNSError{Err: "no such host", IsNotFound: true}), open,
			lines("host-not-found: DNS knows no address of relay.lab.test", noChecks)},
		{"no address", finds(), open, lines("host-not-found: DNS knows no address of relay.lab.test", noChecks)},
		{"DNS trouble", says(&net.DNSError{Err: "server misbehaving", Name: relay, IsTemporary: true}), open,
			lines("lookup-failed: DNS gives no answer about relay.lab.test: lookup relay.lab.test: server misbehaving", noChecks)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := prober()
			p.Lookup = c.lookup
			r, err := p.Probe(t.Context(), Target{Host: relay, Port: c.port}, pool(ca.cert))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, summary(r)); diff != "" {
				t.Error(diff)
			}
			if reached := netip.AddrPortFrom(loopback, c.port); r.Passed() && r.Address != reached {
				t.Errorf("reached %s, want %s", r.Address, reached)
			}
		})
	}
}

// Each address gets its share of the time: one that swallows everything doesn't
// keep the next from being tried.
func TestSilentAddress(t *testing.T) {
	p := prober()
	p.Timeout = 200 * time.Millisecond
	p.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
	}
	p.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		if address == "192.0.2.2:25" {
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errors.New("network is unreachable"))}
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r, err := p.Probe(t.Context(), Target{Host: relay, Port: 25}, pool())
	want := lines("timeout: 192.0.2.1:25: no answer in time; 192.0.2.2:25: network is unreachable", noChecks)
	if diff := cmp.Diff(want, summary(r)); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// The end of the context ends a probe at once: a cancelled one has no report, and
// a deadline is a time-out.
func TestContext(t *testing.T) {
	accepted := make(chan struct{}, 2)
	target := Target{Host: relay, Port: serve(t, func(conn net.Conn) {
		accepted <- struct{}{}
		says("")(conn)
	})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-accepted
		cancel()
	}()
	p := prober()
	p.Timeout = time.Hour
	if r, err := p.Probe(ctx, target, pool()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", r, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := p.Probe(ctx, target, pool())
	if diff := cmp.Diff(lines("timeout: no answer in time", noChecks), summary(r)); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// Everything that a report holds, of one good probe.
func TestReport(t *testing.T) {
	ca := authority("Lab CA", nil)
	between := authority("Between CA", ca)
	cert := between.issue(names("Relay", relay, "*.lab.test", "192.0.2.1"))
	target := Target{Host: relay, Port: serve(t, with(cert).handle), SNI: relay}
	r, err := prober().Probe(t.Context(), target, pool(ca.cert))
	if err != nil {
		t.Fatal(err)
	}
	want := Report{
		Target: target, Address: netip.AddrPortFrom(loopback, target.Port), Greeting: "relay.lab.test ESMTP",
		Version: policy.TLS13, Cipher: "TLS_AES_128_GCM_SHA256",
		Chain: []Certificate{{
			Subject: "CN=Relay", Issuer: "CN=Between CA",
			Names: []string{relay, "*.lab.test"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			NotBefore: in(-10), NotAfter: in(90), Key: "ECDSA P-256",
			Fingerprint: fingerprint(cert.Leaf.Raw), KeyFingerprint: fingerprint(cert.Leaf.RawSubjectPublicKeyInfo),
		}, {
			Subject: "CN=Between CA", Issuer: "CN=Lab CA", Names: []string{"Between CA"},
			NotBefore: in(-10), NotAfter: in(3650), Key: "ECDSA P-256",
			Fingerprint: fingerprint(between.cert.Raw), KeyFingerprint: fingerprint(between.cert.RawSubjectPublicKeyInfo),
		}},
		TLS:   holds("STARTTLS with TLS 1.3"),
		Trust: holds(`signed by the trusted CA "Lab CA"`),
		Name:  holds("the certificate bears the name relay.lab.test"),
		Login: fails(Finding{NoLogin, "the server offers no login"}),
	}
	if diff := cmp.Diff(want, r, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if !r.Passed() || r.Advice() != nil {
		t.Errorf("passed %v, advice %q", r.Passed(), r.Advice())
	}
}

// What is no target is not probed.
func TestBadTarget(t *testing.T) {
	p := &Prober{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("it was dialled")
		return nil, errors.New("no")
	}}
	for _, target := range []Target{{}, {Host: relay, Port: 80}, {Host: relay, Port: 465}, {Host: "a b", Port: 25}, {Host: relay, Port: 25, SNI: "-"}, {Host: relay, Port: 25, Clear: true, Implicit: true}} {
		if r, err := p.Probe(t.Context(), target, pool()); err == nil {
			t.Errorf("%+v: %+v", target, r)
		}
	}
}
