package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"

	"gatemilter/cmd/internal/sendmail"
	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// addSendmailTables adds the tables that Sendmail asks: see package sendmail.
func (d *daemon) addSendmailTables(tables map[string]lookup.Table) {
	tables[sendmail.TableOwn] = lookup.Table{
		Lookup: func(ctx context.Context, _ lookup.Peer, key string) lookup.Answer { return d.sendmailOwn(ctx, key) },
		Limit:  wayLimit,
	}
	tables[sendmail.TableRoute] = lookup.Table{
		Lookup: func(ctx context.Context, _ lookup.Peer, key string) lookup.Answer { return d.sendmailRoute(ctx, key) },
		Limit:  wayLimit,
	}
	tables[sendmail.TableTLS] = lookup.Table{
		Lookup: func(ctx context.Context, p lookup.Peer, key string) lookup.Answer { return d.sendmailTLS(ctx, p, key) },
		Limit:  probeLimit,
	}
	tables[sendmail.TableLogin] = lookup.Table{
		Lookup: func(ctx context.Context, _ lookup.Peer, key string) lookup.Answer { return d.sendmailLogin(ctx, key) },
		Limit:  probeLimit,
		Admits: d.isMTA,
	}
}

// sendmailOwn answers with the way of mail by a server of its user's own, or by the rule
// for its recipient.
func (d *daemon) sendmailOwn(ctx context.Context, key string) lookup.Answer {
	d.sendmailAsks.Store(true)
	login, sender, recipient, err := sendmail.ParseOwn(key)
	if err != nil {
		return d.sendmailWay(sender, "", err)
	}
	p := d.current.Load().rules.Policy
	if p.Mode() == policy.Observe {
		return lookup.NotFound()
	}
	if g := p.UserGatewayOf(login, sender); g != nil {
		way, err := sendmail.UserWay(g)
		if err == nil {
			_, err = d.hosts.known(ctx, []policy.Host{{Name: g.Host}}, false)
		}
		return d.sendmailWay(sender, way, err)
	}
	r, _ := p.RouteTo(recipient)
	return d.sendmailRouted(ctx, sender, r)
}

// sendmailRoute answers with the way of mail that leaves this host.
func (d *daemon) sendmailRoute(ctx context.Context, key string) lookup.Answer {
	d.sendmailAsks.Store(true)
	sender, recipient, err := sendmail.ParseRoute(key)
	if err != nil {
		return d.sendmailWay(sender, "", err)
	}
	g := d.current.Load()
	r, why := g.rules.Policy.RouteTo(recipient)
	if r == nil {
		r, why = g.rules.Policy.RouteFor(sender)
	}
	d.countRoute(r, why)
	return d.sendmailRouted(ctx, sender, r)
}

// sendmailRouted answers with a route, which may be nil.
func (d *daemon) sendmailRouted(ctx context.Context, sender string, r *policy.Route) lookup.Answer {
	if r == nil || d.current.Load().rules.Policy.Mode() == policy.Observe {
		return lookup.NotFound()
	}
	hosts, err := d.hosts.known(ctx, r.Hosts(rand.IntN), r.MXLookup)
	if err != nil {
		return d.sendmailWay(sender, "", fmt.Errorf("route %s: %w", r.Name, err))
	}
	way, err := sendmail.RouteWay(r, hosts)
	return d.sendmailWay(sender, way, err)
}

// sendmailWay answers with a way, if Sendmail can go it. Otherwise the mail waits: no other
// way is right.
func (d *daemon) sendmailWay(sender, way string, err error) lookup.Answer {
	if err != nil {
		d.log.noWay(sender, err)
		return lookup.Temp(err.Error())
	}
	return lookup.OK(way)
}

// sendmailTLS answers whether a connection is to the right host, and as that host's route or
// user demands. Only the mail server is believed where a user's server is connected, as that
// is shown the login there.
func (d *daemon) sendmailTLS(ctx context.Context, p lookup.Peer, key string) lookup.Answer {
	c, err := sendmail.ParseConnection(key)
	if err != nil {
		return d.sendmailWay("", "", err)
	}
	if c.User && (p.Err != nil || !d.isMTA(p.UID)) {
		return lookup.Temp("not for this user")
	}
	if err := d.current.Load().permits(ctx, c, d); err != nil {
		return lookup.OK(sendmail.Refused + sendmail.Text(err.Error()))
	}
	return lookup.OK(sendmail.Fine)
}

// sendmailLogin answers with the login for a connection, if that is to the user's own server
// and as it has to be.
func (d *daemon) sendmailLogin(ctx context.Context, key string) lookup.Answer {
	c, err := sendmail.ParseConnection(key)
	if err != nil {
		return d.sendmailWay("", "", err)
	}
	g := d.current.Load()
	if !c.User {
		return lookup.Temp("the connection is to no user's server")
	}
	if err := g.permits(ctx, c, d); err != nil {
		return lookup.Temp(err.Error())
	}
	server := g.rules.Policy.UserGatewayOf(c.Login, c.Sender)
	if server == nil {
		return lookup.Temp("the user's server has changed")
	}
	return lookup.OK(sendmail.Login(server))
}

// permits says why mail must not go through a connection, or nil.
func (g *generation) permits(ctx context.Context, c sendmail.Connection, d *daemon) error {
	if !c.User {
		w := g.wayTo(c)
		if w == nil {
			return fmt.Errorf("%s port %d is no route's any more", c.Host, c.Port)
		}
		return g.certificates.hold(ctx, c, w.route, d)
	}
	server, nexthop := g.rules.Policy.UserGatewayOf(c.Login, c.Sender), (&policy.UserGateway{Host: c.Host, Port: c.Port}).Nexthop()
	why := ""
	switch {
	case server == nil:
		why = "no user's server is known for this sender and login"
	case server.Host != c.Host || server.Port != c.Port:
		why = "the sender's server is another one now, " + server.Nexthop()
	default:
		return g.certificates.takesLogin(ctx, c, server, d)
	}
	d.log.loginWithheld(c.Sender, nexthop, why)
	return errors.New(why)
}

// wayTo finds the host of a route that is connected, among those of the way that was chosen: by
// its own name, or else as an MX host of a domain.
func (g *generation) wayTo(c sendmail.Connection) (found *way) {
	for _, h := range c.Hosts {
		w := g.ways[(&policy.Route{MXLookup: h.MX}).Nexthop(policy.Host{Name: h.Name, Port: c.Port})]
		switch {
		case w == nil:
		case h.Name == c.Host && !h.MX:
			return w
		case h.MX:
			found = w // the domains of a way are of one route
		}
	}
	return found
}

// maxCertificates is of how many machines is remembered what they have shown.
const maxCertificates = 10000

// certificates remember, for a minute, what machines have shown when they were looked at. So
// the same demands hold as on Postfix, whomever Sendmail trusts.
type certificates struct {
	mu   sync.Mutex
	seen map[machine]*look
}

// A machine is where a host was reached, and for what: a *policy.Route, or a
// *policy.UserGateway.
type machine struct {
	purpose any
	host    string
	addr    netip.AddrPort
}

func machineOf(c sendmail.Connection, purpose any) machine {
	return machine{purpose, c.Host, netip.AddrPortFrom(c.Addr, c.Port)}
}

// there is a prober that finds a host only where it is connected.
func there(c sendmail.Connection) *tlsprobe.Prober {
	return &tlsprobe.Prober{Lookup: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{c.Addr}, nil }}
}

// compare says why the certificate in a connection is not the one that was shown to us.
func compare(shown string, c sendmail.Connection) error {
	if shown = sendmail.Fingerprint(shown); shown == c.Fingerprint {
		return nil
	}
	return fmt.Errorf("%s has shown Sendmail a certificate with the fingerprint %q, and us one with %q; if that stays so, set confCERT_FINGERPRINT_ALGORITHM to sha256", c.Host, c.Fingerprint, shown)
}

// takesLogin says why a user's own server must not be given mail, or nil: Sendmail has no
// setting that demands a login, and returns the mail to its sender where a server asks for
// one that it has just refused. So the login is tried before; that takes a connection more
// for each user, server and minute.
func (s *certificates) takesLogin(ctx context.Context, c sendmail.Connection, g *policy.UserGateway, d *daemon) error {
	if g.TLS != policy.NoTLS && c.TLS == "" {
		return fmt.Errorf("the server of the user needs TLS, and the connection to %s has none", c.Host)
	}
	shown, err := s.of(machineOf(c, g)).ask(ctx, probeLife, func(ctx context.Context) (string, error) {
		shown, err := logIn(ctx, there(c), g)
		if err != nil {
			d.log.loginFails(c.Login, g.Nexthop(), err)
		}
		return shown, err
	})
	if err != nil || g.TLS == policy.NoTLS {
		return err
	}
	return compare(shown, c)
}

// logIn tries the login at a user's own server, and returns the fingerprint of its
// certificate. Without demand for TLS, it is taken if there is any, as Sendmail does.
func logIn(ctx context.Context, p *tlsprobe.Prober, g *policy.UserGateway) (string, error) {
	p.Login = &tlsprobe.Login{Username: g.Username, Password: g.Password, Unprotected: g.TLS == policy.NoTLS}
	target := tlsprobe.Target{Host: g.Host, Port: g.Port}
	report, err := p.Probe(ctx, target, nil)
	if err == nil && g.TLS == policy.NoTLS && report.TLS.Problem == tlsprobe.NoSTARTTLS {
		target.Clear = true
		report, err = p.Probe(ctx, target, nil)
	}
	if err != nil {
		return "", err
	}
	for _, check := range []tlsprobe.Check{report.TLS, report.Trust, report.Name} {
		if g.TLS != policy.NoTLS && !check.Holds {
			return "", errors.New(check.Reason)
		}
	}
	if !report.Accepted.Holds {
		return "", errors.New(cmp.Or(report.Accepted.Reason, report.TLS.Reason))
	}
	if len(report.Chain) == 0 {
		return "", nil
	}
	return report.Chain[0].Fingerprint, nil
}

// hold says why a connection is not what a route demands, or nil. The host is looked at
// where it was reached; and the certificate that it shows there has to be the one in the
// connection.
func (s *certificates) hold(ctx context.Context, c sendmail.Connection, r *policy.Route, d *daemon) error {
	switch {
	case !r.TLS.Required:
		return nil
	case c.TLS == "":
		err := fmt.Errorf("require_tls of route %s fails: the connection to %s has no TLS", r.Name, c.Host)
		d.log.demandFailed(r.Name, c.Host, err)
		return err
	case !r.TLS.CA && !r.TLS.Hostname:
		return nil
	}
	shown, err := s.of(machineOf(c, r)).ask(ctx, probeLife, func(ctx context.Context) (string, error) {
		report, err := lookAt(ctx, there(c), policy.Host{Name: c.Host, Port: c.Port}, r)
		if err != nil {
			d.log.demandFailed(r.Name, c.Host, err)
			return "", err
		}
		return report.Chain[0].Fingerprint, nil
	})
	if err != nil {
		return err
	}
	if err := compare(shown, c); err != nil {
		d.log.demandFailed(r.Name, c.Host, err)
		return err
	}
	return nil
}

// of returns the look at a machine.
func (s *certificates) of(m machine) *look {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || len(s.seen) >= maxCertificates {
		s.seen = make(map[machine]*look)
	}
	l := s.seen[m]
	if l == nil {
		fresh := newLook()
		l = &fresh
		s.seen[m] = l
	}
	return l
}
