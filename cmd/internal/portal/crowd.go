package portal

import (
	"net"
	"net/netip"
	"sync"
)

// maxClientConnections is how many connections one client network may have at a time: browsers
// need two or three, and many users may be behind one address.
const maxClientConnections = 64

// A crowd is a listener that closes further connections of a client who has too many. Otherwise
// one that sends very slowly would take all there are. Proxies, and those on this host, ask for
// many: they are let through.
type crowd struct {
	net.Listener
	free    func(netip.Addr) bool
	clients turns
}

// Accept returns the next connection that is not one too many.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
		if err != nil { // a unix socket
			return conn, nil
		}
		ip := peer.Addr().Unmap().WithZone("")
		if ip.IsLoopback() || c.free(ip) {
			return conn, nil
		}
		client := network(ip.String())
		if c.clients.begin(client, maxClientConnections) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { c.clients.end(client) })}, nil
		}
		conn.Close()
	}
}

// A counted connection counts until it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
