package lab

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DialFrom is [Dial] from an address of the machine's own, which in isolation may be any of the networks for
// documentation: see [EnterIsolation]. So a server without XCLIENT sees the client that a test wants. (Linux lets one bind
// to such an IPv4 address as to any other, but to an IPv6 address only with the option that is set here.)
func DialFrom(ctx context.Context, local netip.Addr, addr string) (*Client, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), Control: bindFreely}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(ioLimit)); err != nil { // until the greeting
		conn.Close()
		return nil, err
	}
	return greet(conn)
}

func bindFreely(network, _ string, conn syscall.RawConn) error {
	if network != "tcp6" {
		return nil
	}
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
	})
	return cmp.Or(err, failed)
}
