package milter

import (
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"

	"gatemilter/policy"
)

// Limits of what is remembered about the names of gateways.
const (
	maxNamedGateways = 256
	maxNames         = 16
)

// gatewayNames remembers under which registered domains the hosts of each gateway
// have their reverse names, so that a host of the same domain which is not
// listed can be named as a likely missing entry. It is safe for concurrent
// use; the zero value is empty.
type gatewayNames struct {
	mu sync.RWMutex
	// policy has the gateways: the names of those of another one are forgotten.
	policy  *policy.Policy
	domains map[string][]string // by gateway
}

// see learns from a client that is a gateway, and returns for any other the name of
// the gateway that it resembles, or "".
func (n *gatewayNames) see(p *policy.Policy, c *policy.Client) string {
	domain := registeredDomain(c.Name)
	if domain == "" || !c.IP.IsValid() {
		return ""
	}
	gateway := p.GatewayOf(c.IP)
	n.forget(p)
	n.mu.RLock()
	known := n.find(gateway, domain)
	n.mu.RUnlock()
	if gateway == "" || known != "" {
		return known
	}
	n.learn(gateway, domain)
	return ""
}

// forget begins anew with another policy.
func (n *gatewayNames) forget(p *policy.Policy) {
	n.mu.RLock()
	same := n.policy == p
	n.mu.RUnlock()
	if same {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.policy, n.domains = p, nil
}

// find looks for the domain among those of one gateway, or of all when gateway is "".
func (n *gatewayNames) find(gateway, domain string) string {
	if gateway != "" {
		if slices.Contains(n.domains[gateway], domain) {
			return gateway
		}
		return ""
	}
	for name, domains := range n.domains {
		if slices.Contains(domains, domain) {
			return name
		}
	}
	return ""
}

func (n *gatewayNames) learn(gateway, domain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.domains == nil {
		n.domains = make(map[string][]string)
	}
	domains := n.domains[gateway]
	if len(domains) >= maxNames || domains == nil && len(n.domains) >= maxNamedGateways || slices.Contains(domains, domain) {
		return
	}
	n.domains[gateway] = append(domains, domain)
}

// registeredDomain returns the part of a host name that somebody registered (public
// suffix and one label), or "".
func registeredDomain(name string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(strings.TrimSuffix(name, ".")))
	if err != nil {
		return ""
	}
	return domain
}
