package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gatemilter/cmd/internal/verify"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

const (
	// maxServers is how many of the users' own servers are looked at.
	maxServers = 50
	// step is how long a host may take for each step of a probe.
	step = patience
)

// A mailHost is one that mail is sent to, with what is demanded of it.
type mailHost struct {
	what   string
	route  *policy.Route
	host   policy.Host
	target tlsprobe.Target // where there is no route
	demand policy.TLSDemand
}

// certificates looks at each host of each route, and at users' own servers.
func (x *examination) certificates(ctx context.Context) []Check {
	servers := x.userServers()
	hosts := append(x.routeHosts(), servers[:min(len(servers), maxServers)]...)
	checks := inParallel(len(hosts), func(i int) []Check { return x.probe(ctx, hosts[i]) })
	if left := len(servers) - maxServers; left > 0 {
		checks = append(checks, warn(onCertificates, "users' servers", fmt.Sprintf("%d more were not looked at", left), "gatemilter verify-tls HOST:PORT for each that matters"))
	}
	return checks
}

func (x *examination) routeHosts() []mailHost {
	var hosts []mailHost
	for _, r := range x.config.Settings.Outbound.Routes {
		for _, h := range slices.Concat(r.Primary, r.Secondary) {
			hosts = append(hosts, mailHost{what: "route " + r.Name + ", " + r.Nexthop(h), route: r, host: h, demand: r.TLS})
		}
	}
	return hosts
}

// userServers are all that users have, each once.
func (x *examination) userServers() []mailHost {
	servers := make(map[string]mailHost)
	x.config.Settings.Outbound.UserGateways(func(_, _ string, g *policy.UserGateway) {
		safe := g.TLS != policy.NoTLS
		servers[g.Nexthop()] = mailHost{
			what:   "users' server " + g.Nexthop(),
			target: tlsprobe.ServerTarget(g, x.sendsSNI()),
			demand: policy.TLSDemand{Required: safe, CA: safe, Hostname: safe},
		}
	})
	var hosts []mailHost
	for _, h := range servers {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b mailHost) int { return strings.Compare(a.what, b.what) })
	return hosts
}

// probe looks at a host, or at its MX hosts.
func (x *examination) probe(ctx context.Context, h mailHost) []Check {
	var trusted *x509.CertPool // nil means the system's authorities
	targets := []tlsprobe.Target{h.target}
	if h.route != nil {
		found, err := verify.Targets(ctx, h.route, h.host, x.sendsSNI())
		if err != nil {
			text, fix := cut(err.Error())
			return []Check{fail(onCertificates, h.what, text, fix)}
		}
		targets = found
		if h.demand.CAFile != "" {
			if trusted, err = verify.Roots(h.demand.CAFile); err != nil {
				return []Check{fail(onCertificates, h.what, err.Error(), "correct ca_file of the route")}
			}
		}
	}
	var checks []Check
	for _, t := range targets {
		checks = append(checks, judgeHost(ctx, h, t, trusted))
	}
	return checks
}

func judgeHost(ctx context.Context, h mailHost, t tlsprobe.Target, trusted *x509.CertPool) Check {
	what := h.what
	if h.route != nil && h.route.MXLookup {
		what += ", " + t.Host
	}
	prober := tlsprobe.Prober{Timeout: step}
	r, err := prober.Probe(ctx, t, trusted)
	if err != nil {
		return fail(onCertificates, what, err.Error(), look(t))
	}
	failed := verify.Failed(h.demand, &r)
	if h.route == nil && !h.demand.Required && !r.Login.Holds {
		t.Clear = true
		if clear, err := prober.Probe(ctx, t, trusted); err == nil {
			r.Login = clear.Login
		}
		t.Clear = false
	}
	switch {
	case len(failed) > 0:
		o := failed[0]
		return fail(onCertificates, what, fmt.Sprintf("%s fails, so no mail goes there: %s", o.Name, o.Reason), advice(&r, t))
	case !h.demand.Required && r.Greeting == "":
		return fail(onCertificates, what, r.TLS.Reason, advice(&r, t))
	case h.route == nil && !r.Login.Holds:
		return fail(onCertificates, what, "no mail goes there: "+r.Login.Reason, "ask who runs it for the port at which users log in; more by "+look(t))
	case len(r.Warnings) > 0:
		return warn(onCertificates, what, r.Warnings[0].Reason, advice(&r, t))
	case !h.demand.Required:
		return ok(onCertificates, what, "answers; nothing is demanded of its TLS")
	}
	return ok(onCertificates, what, fmt.Sprintf("TLS %s, certificate until %s", r.Version, r.Chain[0].NotAfter.UTC().Format("2006-01-02")))
}

// advice is the best that can be done, and how to see the rest.
func advice(r *tlsprobe.Report, t tlsprobe.Target) string {
	if list := r.Advice(); len(list) > 0 {
		return list[0] + "; more by " + look(t)
	}
	return look(t)
}

// look is the command that shows all of a host's TLS.
func look(t tlsprobe.Target) string {
	host := t.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	words := []string{"gatemilter", "verify-tls", host + ":" + strconv.Itoa(int(t.Port))}
	if t.Implicit {
		words = append(words, "--implicit")
	}
	return command(words...)
}
