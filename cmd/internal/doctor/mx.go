package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
)

// mx looks at each domain that is behind gateways: its mail has to come to them, and not
// around them.
func (x *examination) mx(ctx context.Context) []Check {
	domains := x.domains()
	if len(domains) == 0 {
		if len(x.config.Settings.Gateways) == 0 {
			return nil
		}
		return []Check{warn(onMX, "domains", "no inbound gateway names any, so no MX record was looked at", "gatemilter doctor --config "+x.Config+" DOMAIN …")}
	}
	client, err := dns.New(dns.Config{Servers: x.config.DNS.Servers, Timeout: x.config.DNS.Timeout})
	if err != nil {
		return []Check{warn(onMX, "domains", "can't be looked at: "+err.Error(), "write into [dns]: servers = 127.0.0.1:53, or the address of another name server")}
	}
	return inParallel(len(domains), func(i int) []Check {
		return []Check{x.mxOf(ctx, client, domains[i])}
	})
}

// domains are those that gateways name, and those that were asked for, each once.
func (x *examination) domains() []string {
	var all []string
	for _, g := range x.config.Settings.Gateways {
		all = append(all, g.Domains...)
	}
	seen := make(map[string]bool)
	return slices.DeleteFunc(append(all, x.Domains...), func(domain string) bool {
		twice := seen[domain]
		seen[domain] = true
		return twice
	})
}

// behind are the gateways that serve a domain: those that name it, or else those for all
// that no other names.
func (x *examination) behind(domain string) []policy.Gateway {
	var named, all []policy.Gateway
	for _, g := range x.config.Settings.Gateways {
		switch {
		case slices.Contains(g.Domains, domain):
			named = append(named, g)
		case len(g.Domains) == 0:
			all = append(all, g)
		}
	}
	if named != nil {
		return named
	}
	return all
}

// mxOf compares where mail for a domain is sent with the gateways before it. What leads
// elsewhere is refused with reject_other.
func (x *examination) mxOf(ctx context.Context, client *dns.Client, domain string) Check {
	gateways := x.behind(domain)
	if len(gateways) == 0 {
		return ok(onMX, domain, "is behind no gateway: its MX records may lead anywhere")
	}
	strict := slices.ContainsFunc(gateways, func(g policy.Gateway) bool { return g.RejectOther })
	wrong := func(found, fix string) Check {
		if strict {
			return fail(onMX, domain, found+"; with reject_other = yes, that mail is refused", fix)
		}
		return warn(onMX, domain, found, fix)
	}
	records, err := client.LookupMX(ctx, domain)
	switch {
	case notFound(err):
		return wrong(fmt.Sprintf("it has no MX record (%s), so mail is sent to the addresses of the name itself, if it has any", err.(*net.DNSError).Err),
			"let its MX records in the DNS lead to "+namesOf(gateways))
	case err != nil:
		return warn(onMX, domain, "not known, as the DNS gives no answer: "+err.Error(), "run doctor again; if it stays so, look at the name servers below")
	case len(records) == 1 && records[0].Host == ".":
		return wrong("its MX record says that it takes no mail (RFC 7505)", "let its MX records in the DNS lead to "+namesOf(gateways))
	}
	return compareMX(ctx, client, domain, records, gateways, wrong)
}

// compareMX looks at the addresses of all MX hosts.
func compareMX(ctx context.Context, client *dns.Client, domain string, records []*net.MX, gateways []policy.Gateway, wrong func(found, fix string) Check) Check {
	var inside, outside []string
	for _, mx := range records {
		host := strings.TrimSuffix(mx.Host, ".")
		addresses, err := client.LookupIPAddr(ctx, mx.Host)
		if notFound(err) {
			return wrong(host+" has no address", fmt.Sprintf("correct the MX record: %s. MX %d %s", domain, mx.Pref, mx.Host))
		}
		if err != nil {
			return warn(onMX, domain, fmt.Sprintf("not known, as the DNS gives no answer about %s: %v", host, err), "run doctor again; if it stays so, look at the name servers below")
		}
		for _, a := range addresses {
			ip, _ := netip.AddrFromSlice(a.IP)
			if ip = ip.Unmap(); holds(gateways, ip) {
				inside = append(inside, host+" "+ip.String())
			} else {
				outside = append(outside, host+" "+ip.String())
			}
		}
	}
	if len(outside) > 0 {
		return wrong("leads elsewhere than to "+namesOf(gateways)+": "+some(outside),
			fmt.Sprintf("remove these MX hosts of %s from the DNS; or, if they are hosts of the gateway, add to addresses of [inbound-gateway %s]: %s", domain, gateways[0].Name, some(addressesOf(outside))))
	}
	return ok(onMX, domain, "leads to "+namesOf(gateways)+": "+some(inside))
}

func notFound(err error) bool {
	var failure *net.DNSError
	return errors.As(err, &failure) && failure.IsNotFound
}

func holds(gateways []policy.Gateway, ip netip.Addr) bool {
	return slices.ContainsFunc(gateways, func(g policy.Gateway) bool {
		return slices.ContainsFunc(g.Addresses, func(p netip.Prefix) bool { return p.Contains(ip) })
	})
}

func namesOf(gateways []policy.Gateway) string {
	var names []string
	for _, g := range gateways {
		names = append(names, g.Name)
	}
	if len(names) == 1 {
		return "the gateway " + names[0]
	}
	return "the gateways " + strings.Join(names, ", ")
}

// addressesOf are the addresses behind the names.
func addressesOf(hosts []string) []string {
	var all []string
	for _, h := range hosts {
		_, address, _ := strings.Cut(h, " ")
		all = append(all, address)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// maxSome is how many of a list are shown.
const maxSome = 8

func some(list []string) string {
	if len(list) > maxSome {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:maxSome], ", "), len(list)-maxSome)
	}
	return strings.Join(list, ", ")
}
