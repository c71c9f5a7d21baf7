package admin

import (
	"time"

	"gatemilter/policy"
)

// A hostState is what a host of a route has shown when it was looked at.
type hostState struct {
	route string
	Probe
	at time.Time
}

// A Probe is what came of looking at a host.
type Probe struct {
	// Failure says why the host does not hold what its route demands, or is nil.
	Failure error
	// Expires is when its own certificate ends; zero where it showed none.
	Expires time.Time
}

// Probed says what came of looking at the host of a route. Only hosts of routes in force are
// kept.
func (m *Monitor) Probed(route, nexthop string, p Probe) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.config.config == nil || !nexthops(m.config.config.Settings.Outbound.Routes)[nexthop] {
		return
	}
	if before := m.hosts[nexthop]; p.Expires.IsZero() {
		// A host that is out of reach for an hour still has the certificate that it had.
		p.Expires = before.Expires
	}
	m.hosts[nexthop] = hostState{route: route, Probe: p, at: m.now()}
}

// keepHosts forgets the hosts that are no route's any more.
func (m *Monitor) keepHosts(routes []*policy.Route) {
	known := nexthops(routes)
	for nexthop := range m.hosts {
		if !known[nexthop] {
			delete(m.hosts, nexthop)
		}
	}
}

func nexthops(routes []*policy.Route) map[string]bool {
	known := make(map[string]bool)
	for _, r := range routes {
		for _, table := range [][]policy.Host{r.Primary, r.Secondary} {
			for _, h := range table {
				known[r.Nexthop(h)] = true
			}
		}
	}
	return known
}
