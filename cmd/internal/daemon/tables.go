package daemon

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"time"

	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// The tables that Postfix asks for outgoing mail.
const (
	// TableRoute leads from an envelope sender to transport and nexthops
	// (sender_dependent_default_transport_maps).
	TableRoute = "route"
	// TableRecipient leads from a recipient to transport and nexthops, where there is a
	// rule for him (transport_maps, for such recipients only).
	TableRecipient = "recipient"
	// TableTLS leads from a nexthop of a route to its TLS policy
	// (smtp_tls_policy_maps of the transport). It is also the permission to use
	// that nexthop: one that is no route's any more is a temporary failure.
	TableTLS = "tls"
	// TableMilters leads from a client's address to its milters, where these are not those
	// of all others (smtpd_milter_maps).
	TableMilters = "milters"
	// TableOwn leads from an address with a user's own server to itself, so that what else
	// changes senders, as for forwarded mail (SRS), leaves it alone (sender_canonical_maps).
	TableOwn = "own"
)

const (
	// probeLimit is how long a host may take to show its certificate.
	probeLimit = 30 * time.Second
	// probeLife is how long what it has shown counts. After a change of its
	// certificate, mail waits no longer than that.
	probeLife = time.Minute
)

// tables answer from the generation in force.
func (d *daemon) tables() map[string]lookup.Table {
	tables := map[string]lookup.Table{
		TableRoute: {Lookup: func(_ context.Context, _ lookup.Peer, sender string) lookup.Answer {
			g := d.current.Load()
			r, why := g.rules.Policy.RouteFor(sender)
			return d.routed(g, r, why)
		}},
		TableRecipient: {Lookup: func(_ context.Context, _ lookup.Peer, recipient string) lookup.Answer {
			g := d.current.Load()
			r, why := g.rules.Policy.RouteTo(recipient)
			return d.routed(g, r, why)
		}},
		TableMilters: {Lookup: func(_ context.Context, _ lookup.Peer, client string) lookup.Answer {
			return d.current.Load().milters(client)
		}},
		TableOwn: {Lookup: func(_ context.Context, _ lookup.Peer, sender string) lookup.Answer {
			return d.current.Load().own(sender)
		}},
		TableTLS: {
			Lookup: func(ctx context.Context, _ lookup.Peer, nexthop string) lookup.Answer {
				return d.current.Load().tlsPolicy(ctx, nexthop, d)
			},
			Limit: probeLimit,
		},
	}
	d.addUserTables(tables)
	d.addSendmailTables(tables)
	return tables
}

// way answers with a route, which may be nil.
func (g *generation) way(r *policy.Route) lookup.Answer {
	if r == nil || g.rules.Policy.Mode() == policy.Observe {
		return lookup.NotFound()
	}
	return lookup.OK(policy.Transport + ":" + strings.Join(r.Nexthops(rand.IntN), ","))
}

// milters answers with the milters for a client whose mail the local spam filter leaves
// alone.
func (g *generation) milters(client string) lookup.Answer {
	ip, err := netip.ParseAddr(client)
	if err != nil || !g.rules.Policy.SkipsLocalFilter(ip.Unmap().WithZone("")) {
		return lookup.NotFound()
	}
	return lookup.OK(g.config.Server.GatewayMilters)
}

// A way is a host of a route.
type way struct {
	route *policy.Route
	host  policy.Host
	// certificate is what the host has shown, where Postfix can't judge that by itself.
	certificate *look
}

// ways finds the hosts of routes by their nexthops. Two routes that share one have
// the same demands: the configuration sees to that.
func ways(routes []*policy.Route) map[string]*way {
	found := make(map[string]*way)
	for _, r := range routes {
		for _, table := range [][]policy.Host{r.Primary, r.Secondary} {
			for _, h := range table {
				found[r.Nexthop(h)] = &way{route: r, host: h, certificate: newLook()}
			}
		}
	}
	return found
}

// tlsPolicy answers with what must hold of the connection to a nexthop, in the words
// of Postfix's TLS_README. What Postfix has no words for is found out here.
func (g *generation) tlsPolicy(ctx context.Context, nexthop string, d *daemon) lookup.Answer {
	w, ok := g.ways[nexthop]
	if !ok {
		return lookup.Temp("this nexthop is no route's any more")
	}
	switch demand := w.route.TLS; {
	case !demand.Required:
		return lookup.OK("may")
	case demand.Probed():
		return w.probe(ctx, d)
	case demand.CA:
		return lookup.OK(asking("secure match=hostname", w.target()))
	}
	return lookup.OK("encrypt")
}

// probe looks at the host's certificate, and pins it where it is as demanded.
func (w *way) probe(ctx context.Context, d *daemon) lookup.Answer {
	return answerOf(w.certificate.ask(ctx, probeLife, func(ctx context.Context) (string, error) {
		report, err := w.look(ctx)
		d.probed(w, report, err)
		if err != nil {
			d.log.demandFailed(w.route.Name, w.route.Nexthop(w.host), err)
			return "", err
		}
		return asking("fingerprint match="+report.Chain[0].Fingerprint, w.target()), nil
	}))
}

// target is the host as Postfix connects to it, by whose name it asks for a certificate.
func (w *way) target() tlsprobe.Target {
	return tlsprobe.Target{Host: w.host.Name, Port: w.host.Port}.Asking(true)
}

// look returns what the host has shown, also where that is not as demanded.
func (w *way) look(ctx context.Context) (tlsprobe.Report, error) {
	return lookAt(ctx, new(tlsprobe.Prober), w.target(), w.route)
}

// lookAt has a host looked at, and compares what it has shown with what a route demands.
func lookAt(ctx context.Context, p *tlsprobe.Prober, t tlsprobe.Target, r *policy.Route) (tlsprobe.Report, error) {
	roots, err := rootsOf(r)
	if err != nil {
		return tlsprobe.Report{}, err
	}
	report, err := p.Probe(ctx, t, roots)
	if err != nil {
		return report, err
	}
	for _, c := range []struct {
		option string
		wanted bool
		check  tlsprobe.Check
	}{{"require_tls", r.TLS.Required, report.TLS}, {"require_ca", r.TLS.CA, report.Trust}, {"verify_hostname", r.TLS.Hostname, report.Name}} {
		if c.wanted && !c.check.Holds {
			return report, fmt.Errorf("%s of route %s fails: %s", c.option, r.Name, c.check.Reason)
		}
	}
	return report, nil
}

// rootsOf are the authorities that a route trusts; nil means the system's.
func rootsOf(r *policy.Route) (*x509.CertPool, error) {
	if r.TLS.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(r.TLS.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s of route %s holds no certificate", r.TLS.CAFile, r.Name)
	}
	return pool, nil
}
