package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gatemilter/cmd/internal/sendmail"
	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// addSendmailTables adds the tables that Sendmail asks: see package sendmail.
func (d *daemon) addSendmailTables(tables map[string]lookup.Table) {
	for name, way := range map[string]func(context.Context, string) lookup.Answer{
		sendmail.TableOwn: d.sendmailOwn, sendmail.TableTo: d.sendmailTo, sendmail.TableRoute: d.sendmailRoute,
	} {
		tables[name] = lookup.Table{
			Lookup: func(ctx context.Context, _ lookup.Peer, key string) lookup.Answer {
				d.sendmailAsks.Store(true)
				return way(ctx, key)
			},
			Limit: wayLimit,
		}
	}
	tables[sendmail.TableSame] = lookup.Table{
		Lookup: func(_ context.Context, _ lookup.Peer, key string) lookup.Answer { return d.sendmailSame(key) },
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

// sendmailOwn answers with the way of mail by a server of its user's own.
func (d *daemon) sendmailOwn(ctx context.Context, key string) lookup.Answer {
	login, sender, err := sendmail.ParseOwn(key)
	if err != nil {
		return d.sendmailWay(sender, "", err)
	}
	p := d.current.Load().rules.Policy
	if p.Mode() == policy.Observe {
		return lookup.NotFound()
	}
	g := p.UserGatewayOf(login, sender)
	switch why := p.Waits(login, sender); {
	case why != "":
		return d.sendmailWay(sender, "", errors.New(why))
	case g == nil:
		return lookup.NotFound()
	}
	way, err := sendmail.UserWay(g)
	if err == nil {
		_, err = d.hosts.known(ctx, []policy.Host{{Name: g.Host}}, false)
	}
	return d.sendmailWay(sender, way, err)
}

// sendmailTo answers with the way by the rule for a recipient.
func (d *daemon) sendmailTo(ctx context.Context, key string) lookup.Answer {
	recipient, err := sendmail.ParseTo(key)
	if err != nil {
		return d.sendmailWay("", "", err)
	}
	r, why := d.current.Load().rules.Policy.RouteTo(recipient)
	d.countRoute(r, why)
	return d.sendmailRouted(ctx, recipient, "", r)
}

// sendmailRoute answers with the way of mail that leaves this host.
func (d *daemon) sendmailRoute(ctx context.Context, key string) lookup.Answer {
	id, sender, err := sendmail.ParseRoute(key)
	if err != nil {
		return d.sendmailWay(sender, "", err)
	}
	r, why := d.current.Load().rules.Policy.RouteFor(sender)
	d.countRoute(r, why)
	return d.sendmailRouted(ctx, sender, id, r)
}

// sendmailSame answers whether mail takes the same way now that its sender is another one.
func (d *daemon) sendmailSame(key string) lookup.Answer {
	login, before, now, err := sendmail.ParseSame(key)
	if err != nil {
		return d.sendmailWay(now, "", err)
	}
	p := d.current.Load().rules.Policy
	was, _ := p.RouteFor(before)
	is, _ := p.RouteFor(now)
	if p.Mode() != policy.Observe && (was != is || p.UserGatewayOf(login, before) != p.UserGatewayOf(login, now)) {
		return lookup.OK(sendmail.Other)
	}
	return lookup.OK(sendmail.Fine)
}

// sendmailRouted answers with a route, which may be nil. All recipients of a message, whose
// queue id it is, have the same hosts, so that it is sent once.
func (d *daemon) sendmailRouted(ctx context.Context, sender, id string, r *policy.Route) lookup.Answer {
	if r == nil || d.current.Load().rules.Policy.Mode() == policy.Observe {
		return lookup.NotFound()
	}
	hosts, err := d.hosts.known(ctx, r.Hosts(drawFor(id)), r.MXLookup)
	if err != nil {
		return d.sendmailWay(sender, "", fmt.Errorf("route %s: %w", r.Name, err))
	}
	way, err := sendmail.RouteWay(r, hosts)
	return d.sendmailWay(sender, way, err)
}

// drawSeed is new with each start.
var drawSeed = rand.Uint64()

// drawFor returns the chance of one message.
func drawFor(id string) func(n int) int {
	if id == "" {
		return rand.IntN
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	return rand.New(rand.NewPCG(drawSeed, h.Sum64())).IntN
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

// sendmailLogin answers with the login for a connection, if that is to the user's own server and
// the server takes the login. Sendmail has no setting that demands one, and returns the mail
// to its sender where a server asks for one that it has just refused. So the login is
// tried before; that takes a connection more for each user, server and minute.
func (d *daemon) sendmailLogin(ctx context.Context, key string) lookup.Answer {
	c, err := sendmail.ParseLogin(key)
	if err != nil {
		return d.sendmailWay("", "", err)
	}
	current := d.current.Load()
	g := current.rules.Policy.UserGatewayOf(c.Login, c.Sender)
	why := ""
	switch {
	case g == nil:
		why = "no user's server is known for this sender and login"
	case !leadsTo(c, g):
		why = "the sender's server is another one now, " + g.Nexthop()
	case g.Password.Reveal() == "":
		d.log.passwordUnknown(c.Sender, g.Nexthop())
		return lookup.Temp(passwordUnknown)
	case sendmail.CheckLogin(g) != nil:
		why = "the login at " + g.Nexthop() + " has " + sendmail.CheckLogin(g).Error()
	default:
		_, err := current.certificates.of(g, c).ask(ctx, probeLife, func(ctx context.Context) (string, error) {
			_, err := lookAtServer(ctx, current.users.there(c, g), g, &tlsprobe.Login{Username: g.Username, Password: g.Password, Unprotected: g.TLS == policy.NoTLS})
			if err != nil {
				d.log.loginFails(c.Login, g.Nexthop(), err)
			}
			return "", err
		})
		if err != nil {
			return lookup.Temp(err.Error())
		}
		return lookup.OK(sendmail.Login(g))
	}
	d.log.loginWithheld(c.Sender, fmt.Sprint(c.Hosts, c.Port), why)
	return lookup.Temp(why)
}

// leadsTo says whether a connection is one to a user's own server.
func leadsTo(c sendmail.Connection, g *policy.UserGateway) bool {
	return c.Port == g.Port && slices.Equal(c.Hosts, []sendmail.Host{{Name: g.Host}})
}

// permits says why mail must not go through a connection, or nil.
func (g *generation) permits(ctx context.Context, c sendmail.Connection, d *daemon) error {
	if c.User {
		return g.permitsUser(ctx, c, d)
	}
	route, names, err := g.routeOf(c)
	if err != nil {
		return err
	}
	if c.Hosts[0].MX {
		if err := d.hosts.isMX(ctx, c); err != nil {
			return err
		}
	}
	return g.certificates.hold(ctx, c, route, names, d)
}

// permitsUser is permits for a user's own server.
func (g *generation) permitsUser(ctx context.Context, c sendmail.Connection, d *daemon) error {
	server := g.users.of(c)
	if server == nil {
		return fmt.Errorf("%v port %d is no server of this user any more", c.Hosts, c.Port)
	}
	if server.TLS != policy.NoTLS && c.TLS == "" {
		return fmt.Errorf("the user's server %s needs TLS, and the connection has none", server.Nexthop())
	}
	shown, err := g.certificates.of(server.Nexthop(), c).ask(ctx, probeLife, func(ctx context.Context) (string, error) {
		shown, err := lookAtServer(ctx, g.users.there(c, server), server, nil)
		if err != nil {
			d.log.noLogin(server.Nexthop(), err)
		}
		return shown, err
	})
	if err != nil || server.TLS == policy.NoTLS {
		return err
	}
	return compare(shown, c)
}

// of returns a server of the user who logged in, where a connection leads. All there have the same
// demands: the configuration sees to that.
func (u *userServers) of(c sendmail.Connection) *policy.UserGateway {
	if u.users == nil {
		return nil
	}
	user := u.users.User(c.Login)
	if user == nil {
		return nil
	}
	for _, i := range user.Identities {
		if i.Gateway != nil && !i.Disabled && leadsTo(c, i.Gateway) {
			return i.Gateway
		}
	}
	return nil
}

// there is a prober that finds a user's server only where it is connected, and not inside where
// it is not the administrator who has named it.
func (u *userServers) there(c sendmail.Connection, g *policy.UserGateway) *tlsprobe.Prober {
	p := there(c)
	if u.hosts[keyOf(g)] == nil && u.open != nil {
		p.Dial = tlsprobe.PublicOnly(u.open.allowed)
	}
	return p
}

// lookAtServer has a user's own server looked at, with a login or without, and returns the
// fingerprint of its certificate. Without demand for TLS, it is taken if there is any, as
// Sendmail does.
func lookAtServer(ctx context.Context, p *tlsprobe.Prober, g *policy.UserGateway, login *tlsprobe.Login) (string, error) {
	p.Login = login
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
	switch {
	case login != nil && !report.Accepted.Holds:
		return "", errors.New(cmp.Or(report.Accepted.Reason, report.TLS.Reason))
	case !tlsprobe.CanLogIn(report.Auth):
		return "", fmt.Errorf("the server offers none of the logins %s", tlsprobe.LoginMechanisms())
	case len(report.Chain) == 0:
		return "", nil
	}
	return report.Chain[0].Fingerprint, nil
}

// routeOf finds the route of a connection by the hosts of the way that was chosen, of which all
// must be the same route's; and the names, of which its certificate has to bear one.
func (g *generation) routeOf(c sendmail.Connection) (route *policy.Route, names []string, err error) {
	for _, h := range c.Hosts {
		w := g.ways[(&policy.Route{MXLookup: h.MX}).Nexthop(policy.Host{Name: h.Name, Port: c.Port})]
		if w == nil || route != nil && w.route.TLS != route.TLS {
			return nil, nil, fmt.Errorf("%s port %d is no route's any more", h.Name, c.Port)
		}
		route, names = w.route, append(names, h.Name)
	}
	if route == nil {
		return nil, nil, errors.New("the way has no hosts")
	}
	if c.Hosts[0].MX {
		names = []string{c.MXHost}
	}
	return route, names, nil
}

// maxCertificates is of how many machines is remembered what they have shown.
const maxCertificates = 10000

// certificates remember, for a minute, what machines have shown when they were looked at. So
// the same demands hold as on Postfix, whomever Sendmail trusts.
type certificates struct {
	mu   sync.Mutex
	seen map[machine]*look
}

// A machine is where hosts were reached, and for what: a *policy.Route, a *policy.UserGateway whose
// login is tried, or the nexthop of a user's own server.
type machine struct {
	purpose any
	mx      string
	addr    netip.AddrPort
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
	return fmt.Errorf("%s has shown Sendmail a certificate with the fingerprint %q, and us one with %q; if that stays so, set confCERT_FINGERPRINT_ALGORITHM to sha256", c.Addr, c.Fingerprint, shown)
}

// hold says why a connection is not what a route demands, or nil. The host is looked at
// where it was reached, and its certificate has to be the one in the connection and bear one
// of the names.
func (s *certificates) hold(ctx context.Context, c sendmail.Connection, r *policy.Route, names []string, d *daemon) error {
	switch {
	case !r.TLS.Required:
		return nil
	case c.TLS == "":
		err := fmt.Errorf("require_tls of route %s fails: the connection to %s has no TLS", r.Name, c.Addr)
		d.log.demandFailed(r.Name, strings.Join(names, ","), err)
		return err
	case !r.TLS.CA && !r.TLS.Hostname:
		return nil
	}
	shown, err := s.of(r, c).ask(ctx, probeLife, func(ctx context.Context) (shown string, err error) {
		err = fmt.Errorf("%s is the address of no host of route %s", c.Addr, r.Name)
		for _, name := range names {
			if ip, noIP := netip.ParseAddr(name); noIP == nil && ip.Unmap() != c.Addr {
				continue
			}
			var report tlsprobe.Report
			if report, err = lookAt(ctx, there(c), tlsprobe.Target{Host: name, Port: c.Port}, r); err == nil {
				return report.Chain[0].Fingerprint, nil
			}
		}
		d.log.demandFailed(r.Name, strings.Join(names, ","), err)
		return "", err
	})
	if err != nil {
		return err
	}
	if err := compare(shown, c); err != nil {
		d.log.demandFailed(r.Name, strings.Join(names, ","), err)
		return err
	}
	return nil
}

// of returns the look for a purpose at the machine that is connected.
func (s *certificates) of(purpose any, c sendmail.Connection) *look {
	m := machine{purpose, c.MXHost, netip.AddrPortFrom(c.Addr, c.Port)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || len(s.seen) >= maxCertificates {
		s.seen = make(map[machine]*look)
	}
	l := s.seen[m]
	if l == nil {
		l = newLook()
		l.most, l.failing = mostWaiting, failureLife
		s.seen[m] = l
	}
	return l
}

const (
	// mostWaiting is how many may wait for a look at a machine: Sendmail holds a connection to
	// us for each.
	mostWaiting = 100
	// failureLife is how long a failure counts: a server is not asked again for each message
	// that waits.
	failureLife = 5 * time.Second
)
