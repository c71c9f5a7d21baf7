package portal

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// A client that holds very many connections doesn't take those of all others.
func TestAttackCrowd(t *testing.T) {
	peers := make(chan string, 1000)
	c := &crowd{Listener: &peersListener{peers}, free: func(ip netip.Addr) bool { return ip.String() == "10.0.0.1" }}
	accepted := func(n int, peer func(i int) string) (conns []net.Conn) {
		for i := range n {
			peers <- peer(i)
		}
		peers <- "" // after which there is none
		for {
			conn, err := c.Accept()
			if err != nil {
				return conns
			}
			conns = append(conns, conn)
		}
	}
	always := func(peer string) func(int) string { return func(int) string { return peer } }
	slow := accepted(200, always("192.0.2.1:5"))
	six := accepted(200, func(i int) string {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), 5).String()
	})
	if len(slow) != maxClientConnections || len(six) != maxClientConnections {
		t.Errorf("%d and %d connections of one client", len(slow), len(six))
	}
	for _, peer := range []string{"192.0.2.2:5", "10.0.0.1:5", "127.0.0.1:5", "[::ffff:127.0.0.1]:5", "@"} {
		want := 200
		if peer == "192.0.2.2:5" {
			want = maxClientConnections
		}
		if got := len(accepted(200, always(peer))); got != want {
			t.Errorf("%d connections of %s, want %d", got, peer, want)
		}
	}
	slow[0].Close()
	slow[0].Close()
	if got := len(accepted(5, always("192.0.2.1:5"))); got != 1 {
		t.Errorf("%d after one was closed", got)
	}
	for _, conn := range six {
		conn.Close()
	}
	if len(c.clients.n) != 2 {
		t.Errorf("%d clients are remembered", len(c.clients.n))
	}
}

// A peersListener accepts connections of those that it is told.
type peersListener struct{ peers chan string }

func (l *peersListener) Accept() (net.Conn, error) {
	peer := <-l.peers
	if peer == "" {
		return nil, errors.New("no more")
	}
	return &peerConn{peer: peer}, nil
}

func (*peersListener) Close() error   { return nil }
func (*peersListener) Addr() net.Addr { return &net.TCPAddr{} }

type peerConn struct {
	net.Conn
	peer string
}

func (c *peerConn) RemoteAddr() net.Addr { return peerAddr(c.peer) }
func (*peerConn) Close() error           { return nil }

type peerAddr string

func (peerAddr) Network() string  { return "tcp" }
func (a peerAddr) String() string { return string(a) }
