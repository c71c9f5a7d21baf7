package spf

import (
	"context"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// A zone answers from memory: names in lower case, each with its records in order.
type zone map[string][]record

// A record is of the kind "TXT", "A", "AAAA", "MX", "PTR" or "CNAME", or "TIMEOUT":
// no answer for the kinds that none before it has.
type record struct{ kind, value string }

// txt makes a zone of names and their TXT records.
func txt(names ...string) zone {
	z := zone{}
	for i := 0; i < len(names); i += 2 {
		z[names[i]] = append(z[names[i]], record{"TXT", names[i+1]})
	}
	return z
}

func (z zone) with(name, kind string, values ...string) zone {
	for _, value := range values {
		z[name] = append(z[name], record{kind, value})
	}
	return z
}

func (z zone) lookup(ctx context.Context, name, kind string) ([]string, error) {
	const maxHops = 8
	return z.follow(ctx, name, kind, maxHops)
}

func (z zone) follow(ctx context.Context, name, kind string, hops int) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var values []string
	for _, r := range z[strings.ToLower(strings.TrimSuffix(name, "."))] {
		switch {
		case r.kind == kind:
			values = append(values, r.value)
		case r.kind == "CNAME" && hops == 0:
			return nil, &net.DNSError{Err: "CNAME loop", Name: name}
		case r.kind == "CNAME":
			return z.follow(ctx, r.value, kind, hops-1)
		case r.kind == "TIMEOUT" && values == nil:
			return nil, &net.DNSError{Err: "timed out", Name: name, IsTimeout: true}
		}
	}
	if values == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return values, nil
}

func (z zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return z.lookup(ctx, name, "TXT")
}

func (z zone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	hosts, err := z.lookup(ctx, name, "MX")
	var mxs []*net.MX
	for _, host := range hosts {
		mxs = append(mxs, &net.MX{Host: host + "."})
	}
	return mxs, err
}

func (z zone) LookupA(ctx context.Context, host string) ([]net.IPAddr, error) {
	return z.addresses(ctx, host, "A")
}

func (z zone) LookupAAAA(ctx context.Context, host string) ([]net.IPAddr, error) {
	return z.addresses(ctx, host, "AAAA")
}

func (z zone) addresses(ctx context.Context, host, kind string) ([]net.IPAddr, error) {
	ips, err := z.lookup(ctx, host, kind)
	var addrs []net.IPAddr
	for _, ip := range ips {
		addrs = append(addrs, net.IPAddr{IP: net.ParseIP(ip)})
	}
	return addrs, err
}

func (z zone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, err
	}
	return z.lookup(ctx, strings.TrimSuffix(name, "."), "PTR")
}
