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

func (z zone) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	v4, err4 := z.lookup(ctx, host, "A")
	v6, err6 := z.lookup(ctx, host, "AAAA")
	if err4 != nil && err6 != nil {
		return nil, err4
	}
	var addrs []net.IPAddr
	for _, ip := range append(v4, v6...) {
		addrs = append(addrs, net.IPAddr{IP: net.ParseIP(ip)})
	}
	return addrs, nil
}

func (z zone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		return nil, err
	}
	return z.lookup(ctx, strings.TrimSuffix(name, "."), "PTR")
}
