package tlsprobe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// defaultTimeout is generous to servers that greet late to keep spammers away.
const defaultTimeout = 30 * time.Second

// maxAddresses is how many addresses of a host are tried: as many as Postfix tries
// (smtp_mx_address_limit).
const maxAddresses = 5

// A Prober probes hosts. The zero Prober uses the system's network, resolver and
// clock.
type Prober struct {
	// Lookup finds the addresses of a name. Its errors are *net.DNSError.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	// Refuse says what is wrong with an address of the host, or returns nil; without it, none is
	// wrong. All addresses of a name are judged before one is dialled, and one that is refused
	// rules out the host: who delivers there later may choose any of them.
	Refuse func(netip.Addr) error
	Now    func() time.Time // by which certificates are judged
	// HELO is how to introduce ourselves; empty: by the connection's address.
	HELO string
	// Timeout bounds each step: the lookup, connecting, each answer, the handshake.
	// Zero means 30 seconds. There are at most eight steps, and those of a login and a letter.
	Timeout time.Duration
	// Login is tried at last; nil: no attempt is made.
	Login *Login
	// Letter is sent after that, by the same session; nil: nothing is. With a Login, only a host
	// that has accepted it is given the letter, and so with a certificate as it should be, unless
	// Login.Unprotected. Without one, any host is: that's for a relay of one's own.
	Letter *Letter
}

// Probe finds out what a host offers. The certificate has to chain to one of roots;
// nil are the system's. Whatever is wrong with the host is in the report; an error
// says that there could be no probe: the target is none, ctx was cancelled, or the
// system's roots can't be read.
func (p *Prober) Probe(ctx context.Context, t Target, roots *x509.CertPool) (Report, error) {
	if err := t.Check(); err != nil {
		return Report{}, err
	}
	if p.Letter != nil {
		if err := p.Letter.check(); err != nil {
			return Report{}, err
		}
	}
	if roots == nil {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			return Report{}, fmt.Errorf("the system's CA certificates can't be read: %w: install them or name a file with some", err)
		}
	}
	run := run{Prober: p.withDefaults(), report: Report{Target: t}, roots: roots}
	err := run.session(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return Report{}, ctx.Err()
	}
	r := &run.report
	r.TLS, r.Login = judgeTLS(t, r.Version), judgeLogin(r.Auth)
	if err != nil {
		r.TLS = fails(findingOf(err))
		r.Login = r.TLS
	}
	r.judge(run.chain, roots, run.Now())
	return *r, nil
}

func (p *Prober) withDefaults() Prober {
	d := *p
	if d.Lookup == nil {
		d.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if d.Dial == nil {
		d.Dial = new(net.Dialer).DialContext
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Timeout <= 0 {
		d.Timeout = defaultTimeout
	}
	return d
}

// A run is one probe.
type run struct {
	Prober
	report Report
	chain  []*x509.Certificate
	roots  *x509.CertPool
}

// session is a whole session with the host. Its error ended it early.
func (r *run) session(ctx context.Context) error {
	addresses, err := r.resolve(ctx)
	if err != nil {
		return err
	}
	conn, err := r.connect(ctx, addresses)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := newSession(conn, r.Timeout)
	if r.report.Target.Implicit {
		err = r.implicit(s)
	} else {
		err = r.fromClear(ctx, s)
	}
	if err != nil {
		return withContext(ctx, err)
	}
	if r.send(ctx, s) {
		s.quit()
	}
	return nil
}

// implicit is a session that begins with the handshake.
func (r *run) implicit(s *session) error {
	if err := r.handshake(s); err != nil {
		return err
	}
	if err := r.greet(s); err != nil {
		return err
	}
	return r.offers(s)
}

// fromClear is a session that begins in clear, and ends so if there is to be no TLS.
func (r *run) fromClear(ctx context.Context, s *session) error {
	if err := r.greet(s); err != nil {
		if isTimeout(err) && !s.heard() {
			return r.explainSilence(ctx, err)
		}
		return err
	}
	if r.report.Target.Clear {
		return r.offers(s)
	}
	return r.startTLS(s)
}

// startTLS is what follows on the greeting in clear, where there is to be TLS.
func (r *run) startTLS(s *session) error {
	answer, err := s.ehlo(r.HELO)
	switch {
	case err != nil:
		return err
	case answer.code != 250:
		return Finding{NoSTARTTLS, fmt.Sprintf("the server knows no extensions, so no STARTTLS: it answers EHLO with %s", quote(answer.String()))}
	case !answer.offers("STARTTLS"):
		return Finding{NoSTARTTLS, "the server does not offer STARTTLS"}
	}
	if err := s.startTLS(); err != nil {
		return err
	}
	if err := r.handshake(s); err != nil {
		return err
	}
	return r.offers(s)
}

// offers notes what the host offers at last, and tries the login.
func (r *run) offers(s *session) error {
	answer, err := s.ehlo(r.HELO)
	if err != nil {
		return err
	}
	r.report.Auth = answer.auth()
	return r.logIn(s)
}

func (r *run) greet(s *session) error {
	greeting, err := s.answer("the greeting")
	if err != nil {
		return err
	}
	r.report.Greeting = greeting.lines[0]
	if greeting.code != 220 {
		r.report.Said = r.said(greeting)
		return Finding{SessionRefused, "the server greets with " + quote(greeting.String())}
	}
	return nil
}

func (r *run) handshake(s *session) error {
	state, err := s.handshake(r.report.Target.SNI)
	if err != nil {
		return explainHandshake(err, r.report.Target.Implicit)
	}
	r.report.Version = tlsVersion(state.Version)
	r.report.Cipher = tls.CipherSuiteName(state.CipherSuite)
	r.chain = state.PeerCertificates
	return nil
}

// explainSilence finds out whether a server that doesn't greet waits for a
// handshake. It takes a connection of its own.
func (r *run) explainSilence(ctx context.Context, silence error) error {
	dialling, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	conn, err := r.Dial(dialling, "tcp", r.report.Address.String())
	if err != nil {
		return silence
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, err = newSession(conn, r.Timeout).handshake(r.report.Target.SNI)
	var header tls.RecordHeaderError
	switch {
	case err == nil:
		return Finding{TLSFromStart, "the server waits for TLS from the start instead of greeting"}
	case errors.As(err, &header):
		return Finding{NotSMTP, "the server does not greet, and answers a handshake with " + quote(string(header.RecordHeader[:]))}
	}
	return silence
}

// resolve finds the addresses of the host.
func (r *run) resolve(ctx context.Context) ([]netip.Addr, error) {
	host := r.report.Target.Host
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, r.refuse(ip.Unmap())
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	found, err := r.Lookup(ctx, host)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound, err == nil && len(found) == 0:
		return nil, Finding{HostNotFound, fmt.Sprintf("DNS knows no address of %s", host)}
	case err != nil:
		return nil, Finding{LookupFailed, fmt.Sprintf("DNS gives no answer about %s: %v", host, err)}
	}
	return found[:min(len(found), maxAddresses)], r.refuse(found...)
}

// refuse says which of the addresses must not be connected to, and why.
func (r *run) refuse(addresses ...netip.Addr) error {
	if r.Refuse == nil {
		return nil
	}
	for _, ip := range addresses {
		if err := r.Refuse(ip); err != nil {
			return err
		}
	}
	return nil
}

// connect tries the addresses in turn, each with its share of the time that is left.
func (r *run) connect(ctx context.Context, addresses []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	end, _ := ctx.Deadline()
	var first Finding
	var reasons []string
	for i, ip := range addresses {
		address := netip.AddrPortFrom(ip.Unmap(), r.report.Target.Port)
		share := time.Until(end) / time.Duration(len(addresses)-i)
		conn, err := r.dial(ctx, address, share)
		if err == nil {
			r.report.Address = address
			return conn, nil
		}
		finding := findingOf(err)
		if i == 0 {
			first = finding
		}
		reasons = append(reasons, address.String()+": "+finding.Reason)
	}
	first.Reason = strings.Join(reasons, "; ")
	return nil, first
}

func (r *run) dial(ctx context.Context, address netip.AddrPort, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.Dial(ctx, "tcp", address.String())
}
