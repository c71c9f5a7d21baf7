package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gatemilter/cmd/internal/sendmail"
	"gatemilter/policy"
)

const (
	// wayLimit is how long the choice of a way may take, less than Sendmail waits (10 s).
	wayLimit = 8 * time.Second
	// askLimit is how long the DNS has for a host.
	askLimit = 3 * time.Second
)

// hostNames remembers, for a minute, which hosts the DNS knows. Sendmail returns mail for a host
// that it does not know, as if the sender had mistyped it; but it is the administrator who
// has named it, so the mail has to wait, as for one that is down.
type hostNames struct {
	// resolve is resolves, but for tests.
	resolve func(ctx context.Context, name string, mx bool) error

	mu   sync.Mutex
	seen map[hostName]*look
}

// A hostName is one of a host, or of a domain with MX hosts.
type hostName struct {
	name string
	mx   bool
}

// known returns those hosts, in their order, of which the DNS does not say that there is
// none; an error if there is none left. If mx is set, they are domains.
func (n *hostNames) known(ctx context.Context, hosts []policy.Host, mx bool) (known []policy.Host, err error) {
	for _, h := range hosts {
		if missing := n.missing(ctx, h.Name, mx); missing != nil {
			err = missing
			continue
		}
		known = append(known, h)
	}
	if len(known) > 0 {
		return known, nil
	}
	return nil, err
}

// missing says that the DNS does not know a host, or returns nil.
func (n *hostNames) missing(ctx context.Context, name string, mx bool) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	_, err := n.of(name, mx).ask(ctx, probeLife, func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		return "", n.resolve(ctx, name, mx)
	})
	return err
}

// resolves says that there is no such host. That the DNS gives no answer is no such thing.
func resolves(ctx context.Context, name string, mx bool) error {
	if mx {
		if found, _ := net.DefaultResolver.LookupMX(ctx, name); len(found) > 0 {
			return nil
		}
	}
	_, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return fmt.Errorf("the DNS knows no host %s", name)
	}
	return nil
}

// isMX says why the host that is connected is none of a domain's MX hosts, as where Sendmail has a
// fallback for them.
func (n *hostNames) isMX(ctx context.Context, c sendmail.Connection) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	for _, h := range c.Hosts {
		if h.Name == c.MXHost {
			return nil // a domain without MX hosts is its own
		}
		found, _ := net.DefaultResolver.LookupMX(ctx, h.Name)
		for _, mx := range found {
			if policy.CanonicalDomain(mx.Host) == c.MXHost {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is no MX host of %s", c.MXHost, c.Hosts[0].Name)
}

func (n *hostNames) of(name string, mx bool) *look {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil || len(n.seen) >= maxCertificates {
		n.seen = make(map[hostName]*look)
	}
	l := n.seen[hostName{name, mx}]
	if l == nil {
		l = newLook()
		n.seen[hostName{name, mx}] = l
	}
	return l
}
