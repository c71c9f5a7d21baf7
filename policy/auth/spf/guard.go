package spf

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"
)

const (
	// maxQueries bounds the names asked for one message. The limits of section
	// 4.6.4 alone (ten terms, each with up to ten hosts) would allow more than a
	// hundred; honest records need about twenty.
	maxQueries = 60
	// maxReverseHosts and reverseTime bound what the mechanism ptr may ask besides:
	// the names of the source's address, of which section 4.6.4 wants ten.
	maxReverseHosts = 10
	reverseTime     = 3 * time.Second
)

// A guard stands between the library and DNS: what it is asked are names that a
// stranger made up, what it hands back is what the library reads rightly. The
// library tells by type assertion a *net.DNSError that is not found, or temporary,
// and takes any other error at a record for permerror.
type guard struct {
	resolver Resolver
	// ipv4 says that the source has an IPv4 address.
	ipv4 bool
	left int
	// spent is why we stopped asking: time or queries ran out.
	spent error
	// hosts are the addresses of the source's reverse names, once ptr asked.
	hosts map[string][]net.IPAddr
}

// LookupTXT gives the SPF records of a name. An error in the record itself is
// neither kind of DNS error, hence permerror.
func (g *guard) LookupTXT(ctx context.Context, name string) ([]string, error) {
	txts, err := ask(ctx, g, name, g.resolver.LookupTXT)
	if err != nil {
		return nil, err
	}
	var records []string
	for _, txt := range txts {
		if isRecord(txt) {
			records = append(records, txt)
		}
	}
	if len(records) != 1 {
		return records, nil // of several, the library says so
	}
	if err := checkRecord(records[0]); err != nil {
		return nil, &recordError{name, err}
	}
	if g.ipv4 {
		records[0] = withoutIP6(records[0])
	} else {
		records[0] = withExistsMarked(records[0])
	}
	return records, nil
}

// A recordError is what is wrong with the record of a domain.
type recordError struct {
	domain string
	err    error
}

func (e *recordError) Error() string {
	return "record of " + quote(e.domain) + ": " + e.err.Error()
}

func (g *guard) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(ctx, g, name, g.resolver.LookupMX)
}

// LookupIPAddr asks for the addresses of the source's family, with which the library
// compares (section 5), or for those that exists wants (section 5.7). It asks for no
// address as if it were a name, such as an MX record may wrongly have: resolvers may
// answer that the address exists.
func (g *guard) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	host, exists := strings.CutSuffix(host, existsMark)
	if addrs, ok := g.hosts[host]; ok && !exists {
		return addrs, nil
	}
	if isAddress(strings.TrimSuffix(host, ".")) {
		return nil, notFound(host)
	}
	if g.ipv4 || exists {
		return ask(ctx, g, host, g.resolver.LookupA)
	}
	return ask(ctx, g, host, g.resolver.LookupAAAA)
}

// LookupAddr gives those names of the source's address that have addresses, for
// which the library asks next. The answers come from zones that the source
// chooses, so all of this has limits of its own. To reach them means that ptr
// doesn't match (section 5.5), never that we stopped asking: else a source with
// slow name servers could choose temperror for any domain whose record has ptr.
func (g *guard) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	limit := reverseTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2) // the rest of the record needs time too
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	names, err := g.reverse(limited, addr)
	if ctx.Err() != nil {
		g.spent = temporary(addr, "no answer in time")
		return nil, g.spent
	}
	return names, err
}

// reverse asks for the names of an address and for their addresses. Each name has
// its share of the time. That none is left is no void lookup (section 4.6.4).
func (g *guard) reverse(ctx context.Context, addr string) ([]string, error) {
	theirs := &guard{resolver: g.resolver, ipv4: g.ipv4, left: 1 + maxReverseHosts}
	names, err := ask(ctx, theirs, addr, theirs.resolver.LookupAddr)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	names = names[:min(len(names), maxReverseHosts)]
	deadline, _ := ctx.Deadline()
	g.hosts = make(map[string][]net.IPAddr)
	var found []string
	for i, name := range names {
		share, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(names)-i))
		addrs, err := theirs.LookupIPAddr(share, name)
		cancel()
		if err == nil {
			g.hosts[name] = addrs
			found = append(found, name)
		}
	}
	if found == nil {
		return nil, temporary(addr, "none of its names has an address")
	}
	return found, nil
}

// ask looks a name up once, if it is one and the limits allow.
func ask[T any](ctx context.Context, g *guard, name string, lookup func(context.Context, string) ([]T, error)) ([]T, error) {
	name, ok := queryName(name)
	if !ok {
		return nil, notFound(name)
	}
	if g.left == 0 {
		g.spent = temporary(name, "too many queries for one message")
		return nil, g.spent
	}
	g.left--
	answers, err := lookup(ctx, name)
	if err == nil {
		return answers, nil
	}
	if ctx.Err() != nil {
		g.spent = temporary(name, "no answer in time")
		return nil, g.spent
	}
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && dns.IsNotFound:
		return nil, notFound(name)
	case ok && dns.Server == "":
		return nil, temporary(name, dns.Err)
	default:
		// The texts of resolvers and of sockets hold addresses and ports of
		// ours, and reasons reach strangers.
		return nil, temporary(name, "the lookup failed")
	}
}

// queryName gives the name in the form to ask for: without the last dot, and a
// macro's expansion shortened from the left to what DNS can hold (section 7.3). It
// is false for what can't be in DNS: bad labels, and bytes that are not printable
// ASCII, for which a term never matches (RFC 8616, section 4).
func queryName(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if over := len(name) - maxName; over > 0 {
		// The dot at which the rest begins may be the one just before what fits.
		_, rest, _ := strings.Cut(name[over-1:], ".")
		name = rest
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' {
			return name, false
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return name, false
		}
	}
	return name, true
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func temporary(name, why string) error {
	return &net.DNSError{Err: why, Name: name, IsTemporary: true}
}
