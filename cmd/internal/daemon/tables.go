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
		TableTLS: {
			Lookup: func(ctx context.Context, _ lookup.Peer, nexthop string) lookup.Answer {
				return d.current.Load().tlsPolicy(ctx, nexthop, d)
			},
			Limit: probeLimit,
		},
	}
	d.addUserTables(tables)
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
	// probed is what the host has shown, where Postfix can't judge that by itself.
	// Who has put something into looking may read and change the rest.
	looking chan struct{}
	probed  lookup.Answer
	expires time.Time
	ended   time.Time // of the last look
}

// ways finds the hosts of routes by their nexthops. Two routes that share one have
// the same demands: the configuration sees to that.
func ways(routes []*policy.Route) map[string]*way {
	found := make(map[string]*way)
	for _, r := range routes {
		for _, table := range [][]policy.Host{r.Primary, r.Secondary} {
			for _, h := range table {
				found[r.Nexthop(h)] = &way{route: r, host: h, looking: make(chan struct{}, 1)}
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
		return lookup.OK("secure match=hostname")
	}
	return lookup.OK("encrypt")
}

// probe looks at the host's certificate, and pins it where it is as demanded. Who asks while
// somebody else's look is under way gets the result of that.
func (w *way) probe(ctx context.Context, d *daemon) lookup.Answer {
	asked := time.Now()
	select {
	case w.looking <- struct{}{}:
		defer func() { <-w.looking }()
	case <-ctx.Done():
		return lookup.Temp("the probe of the host took too long")
	}
	if time.Now().Before(w.expires) || w.ended.After(asked) {
		return w.probed
	}
	report, err := w.look(ctx)
	w.ended = time.Now()
	d.probed(w, report, err)
	if err != nil {
		d.log.demandFailed(w.route.Name, w.route.Nexthop(w.host), err)
		w.probed, w.expires = lookup.Temp(err.Error()), time.Time{}
		return w.probed
	}
	w.probed, w.expires = lookup.OK("fingerprint match="+report.Chain[0].Fingerprint), time.Now().Add(probeLife)
	return w.probed
}

// look returns what the host has shown, also where that is not as demanded.
func (w *way) look(ctx context.Context) (tlsprobe.Report, error) {
	roots, err := w.roots()
	if err != nil {
		return tlsprobe.Report{}, err
	}
	report, err := new(tlsprobe.Prober).Probe(ctx, tlsprobe.Target{Host: w.host.Name, Port: w.host.Port}, roots)
	if err != nil {
		return report, err
	}
	d := w.route.TLS
	for _, c := range []struct {
		option string
		wanted bool
		check  tlsprobe.Check
	}{{"require_tls", d.Required, report.TLS}, {"require_ca", d.CA, report.Trust}, {"verify_hostname", d.Hostname, report.Name}} {
		if c.wanted && !c.check.Holds {
			return report, fmt.Errorf("%s of route %s fails: %s", c.option, w.route.Name, c.check.Reason)
		}
	}
	return report, nil
}

// roots are the authorities to trust; nil means the system's.
func (w *way) roots() (*x509.CertPool, error) {
	if w.route.TLS.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(w.route.TLS.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s of route %s holds no certificate", w.route.TLS.CAFile, w.route.Name)
	}
	return pool, nil
}
