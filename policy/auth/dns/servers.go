package dns

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	resolvConf     = "/etc/resolv.conf"
	defaultTimeout = 5 * time.Second
	// maxServers bounds, with attempts and timeout, how long one question takes.
	maxServers = 8
)

// servers are those of the configuration, or the system's.
func (c Config) servers(systemFile string) ([]string, error) {
	servers, from := c.Servers, "the configuration"
	if len(servers) == 0 {
		from = systemFile
		system, err := miekg.ClientConfigFromFile(systemFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the system's name servers: %w: configure some", err)
		}
		for _, address := range system.Servers {
			servers = append(servers, net.JoinHostPort(address, system.Port))
		}
	}
	if len(servers) == 0 || len(servers) > maxServers {
		return nil, fmt.Errorf("%d name servers in %s: configure 1 to %d", len(servers), from, maxServers)
	}
	for _, server := range servers {
		addr, err := netip.ParseAddrPort(server)
		if err != nil || addr.Port() == 0 {
			return nil, fmt.Errorf("the name server %q in %s is no address with a port: write it as %q or %q",
				server, from, "127.0.0.1:53", "[2001:db8::53]:53")
		}
	}
	return servers, nil
}
