package portal

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// localClient stands for clients of which nothing is known but that they are on this host.
const localClient = "local"

// maxForwarded is how many proxies a request may have passed.
const maxForwarded = 20

// client is the address that a request comes from. Proxies that are trusted say for whom
// they ask (X-Forwarded-For): the last address that none of them has. What stands before it
// the client may have written himself.
func (s *Server) client(r *http.Request) string {
	at := netip.Addr{}
	trusted := r.Context().Value(fromUnix{}) != nil
	if !trusted {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return localClient
		}
		at = peer.Addr().Unmap().WithZone("")
		trusted = s.isProxy(at)
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := 0; trusted && i < maxForwarded && len(hops) > 0; i++ {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break
		}
		hops = hops[:len(hops)-1]
		at = hop.Unmap().WithZone("")
		trusted = s.isProxy(at)
	}
	if !at.IsValid() {
		return localClient
	}
	return at.String()
}

func (s *Server) isProxy(ip netip.Addr) bool {
	return slices.ContainsFunc(s.Config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// network is what one client can change his address within: attempts are counted for it.
func network(client string) string {
	ip, err := netip.ParseAddr(client)
	if err != nil || ip.Is4() {
		return client
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return client
	}
	return p.String()
}
