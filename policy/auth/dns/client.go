// Package dns asks the name servers for the records that authentication needs. A
// [Client] is a stub resolver (RFC 1034, section 5.3.1): it asks recursive servers
// and believes them, but checks that what comes is the answer to its question.
//
// # Names
//
// A name is text in which dots part the labels and every other octet stands for
// itself; there is no escaping, and one final dot is allowed. Names come from
// strangers: one that no DNS name can be (RFC 1035, section 2.3.4) is not sent but
// answered as one that does not exist. Nothing is ever appended to a name, and none
// is special: "localhost" and "192.0.2.1" are asked for like others.
//
// # Answers
//
// Results are sorted and without duplicates. Names in them end in a dot; a record
// whose name cannot be written in the form above is left out. An answer is all or
// an error, never a part: one that is too large, or a host whose IPv6 addresses can
// be told but not its IPv4 ones, is a temporary error.
//
// # Errors
//
// Every error is a bare *[net.DNSError], whose texts are printable ASCII. Either
// IsNotFound is set: there are no such records, and trying again would not help. Or
// IsTemporary is: nobody can tell, because servers failed or didn't answer, the
// answer was too large, time was up, or the budget used up.
//
// # Cache
//
// Answers are kept in memory for their TTL, within limits, negative ones by RFC
// 2308. What the servers fail to answer is not asked again for a few seconds
// (section 7). Callers with the same question at the same time share one query.
package dns

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"
)

// Config says whom to ask, and how.
type Config struct {
	// Servers are recursive name servers, "ADDRESS:PORT", the preferred ones first.
	// Without any, those of /etc/resolv.conf are asked.
	Servers []string
	// Timeout is how long one server has for one answer; 0 is 5 s.
	Timeout time.Duration
	// Now is the clock by which answers expire; nil is time.Now.
	Now func() time.Time
}

// A Client looks records up. It may be used by several goroutines at once.
type Client struct {
	*resolver
	// budget is how many more questions may go out; nil: any number.
	budget *atomic.Int64
}

// New returns a client with an empty cache.
func New(config Config) (*Client, error) {
	servers, err := config.servers(resolvConf)
	if err != nil {
		return nil, err
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Client{resolver: newResolver(servers, config.Timeout, config.Now)}, nil
}

// Servers returns the name servers that are asked, "ADDRESS:PORT", in their order.
func (c *Client) Servers() []string { return slices.Clone(c.servers) }

// WithBudget returns a client that shares servers and cache with c, and sends at most
// n questions; all others that the cache cannot answer are temporary errors. What
// comes from the cache is free, and so is trying one question on several servers.
// It is meant for one message, whose sender decides how much there is to look up.
func (c *Client) WithBudget(n int) *Client {
	limited := &Client{resolver: c.resolver, budget: new(atomic.Int64)}
	limited.budget.Store(int64(n))
	return limited
}

// LookupTXT returns the TXT records of a name, each with its strings joined.
func (c *Client) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return lookup(ctx, c, name, miekg.TypeTXT, func(r record) string { return r.text })
}

// CachedTXT returns what LookupTXT would, if that is known without asking.
func (c *Client) CachedTXT(name string) (records []string, known bool, err error) {
	answer, known := c.recall(name, miekg.TypeTXT)
	switch {
	case !known:
		return nil, false, nil
	case answer.err != nil:
		return nil, true, answer.failure()
	}
	return results(answer, func(r record) string { return r.text }), true, nil
}

// LookupMX returns the MX records of a name, the preferred ones first. The host "."
// says that the domain takes no mail (RFC 7505).
func (c *Client) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookup(ctx, c, name, miekg.TypeMX, func(r record) *net.MX {
		return &net.MX{Host: r.text, Pref: r.preference}
	})
}

// LookupA returns the IPv4 addresses of a host.
func (c *Client) LookupA(ctx context.Context, host string) ([]net.IPAddr, error) {
	return lookup(ctx, c, host, miekg.TypeA, ipAddr)
}

// LookupAAAA returns the IPv6 addresses of a host.
func (c *Client) LookupAAAA(ctx context.Context, host string) ([]net.IPAddr, error) {
	return lookup(ctx, c, host, miekg.TypeAAAA, ipAddr)
}

// LookupIPAddr returns the addresses of a host, the IPv4 ones first. They are two
// questions, which are asked at the same time.
func (c *Client) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	v4, v6 := c.ask(ctx, host, miekg.TypeA), c.ask(ctx, host, miekg.TypeAAAA)
	var addrs []net.IPAddr
	var missing error
	for _, answer := range []answer{v4.wait(ctx), v6.wait(ctx)} {
		switch {
		case answer.err == nil:
			addrs = append(addrs, results(answer, ipAddr)...)
		case answer.err.IsNotFound:
			missing = answer.failure()
		default:
			return nil, answer.failure()
		}
	}
	if addrs == nil {
		return nil, missing
	}
	return addrs, nil
}

// LookupAddr returns the names that the owner of an IP address gives it. What is no
// address, or has a zone, has none.
func (c *Client) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	name, err := miekg.ReverseAddr(addr)
	if err != nil {
		return nil, malformed(addr).failure()
	}
	return lookup(ctx, c, name, miekg.TypePTR, func(r record) string { return r.text })
}

// lookup waits for an answer and turns its records into results.
func lookup[T any](ctx context.Context, c *Client, name string, typ uint16, result func(record) T) ([]T, error) {
	inquiry := c.ask(ctx, name, typ)
	answer := inquiry.wait(ctx)
	if answer.err != nil {
		return nil, answer.failure()
	}
	return results(answer, result), nil
}

// results are new for each caller, who may change them.
func results[T any](a answer, result func(record) T) []T {
	list := make([]T, len(a.records))
	for i, r := range a.records {
		list[i] = result(r)
	}
	return list
}

func ipAddr(r record) net.IPAddr { return net.IPAddr{IP: r.addr.AsSlice()} }
