package daemon

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
)

// openHosts are the hosts of servers that users have attached themselves. They come and go with
// these, while what has been seen of the others stays known. It is safe for use by several
// goroutines.
type openHosts struct {
	// probe looks at them: it keeps off what is inside, as it is not the administrator who
	// has named them.
	probe prober
	// allowed are the networks inside in which they may be.
	allowed []netip.Prefix

	mu    sync.Mutex
	hosts map[serverKey]*openHost
}

// An openHost is one of them, and how many servers of users are there.
type openHost struct {
	servers int
	// host is made when somebody asks for it: of very many hosts, few are asked for.
	host *userHost
}

// newOpenHosts returns an empty table, which knows what the one before has seen under the same
// conditions.
func newOpenHosts(probe prober, allowed []netip.Prefix, before *openHosts) *openHosts {
	h := &openHosts{probe: probe, allowed: allowed, hosts: make(map[serverKey]*openHost)}
	if before == nil || !slices.Equal(before.allowed, allowed) {
		return h
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	for key, host := range before.hosts {
		if host.host != nil {
			h.hosts[key] = &openHost{host: host.host}
		}
	}
	return h
}

// guardedProbe is probeLogin for hosts of the public Internet, and of some networks.
func guardedProbe(allowed []netip.Prefix) prober {
	return proberOf(&tlsprobe.Prober{Dial: tlsprobe.PublicOnly(allowed), Refuse: tlsprobe.RefuseInside(allowed)})
}

func (h *openHosts) add(keys []serverKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		host := h.hosts[key]
		if host == nil {
			host = new(openHost)
			h.hosts[key] = host
		}
		host.servers++
	}
}

func (h *openHosts) drop(keys []serverKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		host := h.hosts[key]
		if host.servers--; host.servers == 0 {
			delete(h.hosts, key)
		}
	}
}

// prune forgets hosts that the table before knew, and that nobody has a server at any more.
func (h *openHosts) prune() {
	maps.DeleteFunc(h.hosts, func(_ serverKey, host *openHost) bool { return host.servers == 0 })
}

// of returns a host that at least one user has a server at, or nil.
func (h *openHosts) of(key serverKey) *userHost {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	host := h.hosts[key]
	if host == nil {
		return nil
	}
	if host.host == nil {
		host.host = userHostOf(key)
	}
	return host.host
}

// userHostOf returns the host that a transport with TLS reaches at a nexthop, as
// [policy.UserGateway] writes it.
func userHostOf(key serverKey) *userHost {
	name, port, _ := strings.Cut(strings.TrimPrefix(key.name, "["), "]:")
	number, _ := strconv.ParseUint(port, 10, 16)
	tls := policy.STARTTLS
	if strings.HasPrefix(key.transport, policy.UserTransport(true, 0)) {
		tls = policy.ImplicitTLS
	}
	return newUserHost(&policy.UserGateway{Host: name, Port: uint16(number), TLS: tls})
}
