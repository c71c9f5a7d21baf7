package lab

import (
	"fmt"
	"net/netip"
	"syscall"
)

// A heldPort is one that a server has left for a while: a socket is bound to it, so that nobody who asks for any port is
// given it, and does not listen, so that connections are refused. The server, which sets SO_REUSEADDR as all do, can have it
// again at any time. The zero one holds nothing.
type heldPort struct{ fd int }

// holdPort holds the TCP port of an IPv4 address.
func holdPort(addr netip.AddrPort) (heldPort, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return heldPort{}, fmt.Errorf("holding %s: %w", addr, err)
	}
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	}
	if err != nil {
		syscall.Close(fd)
		return heldPort{}, fmt.Errorf("holding %s: %w", addr, err)
	}
	return heldPort{fd}, nil
}

// release lets it go.
func (h *heldPort) release() {
	if h.fd > 0 {
		syscall.Close(h.fd)
	}
	h.fd = 0
}
