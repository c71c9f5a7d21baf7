package tlsprobe

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"
)

// RFC 5321, section 4.1.3.
func TestLiteral(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:4711":          "[192.0.2.1]",
		"[::ffff:192.0.2.1]:4711": "[192.0.2.1]",
		"[2001:db8::1]:4711":      "[IPv6:2001:db8::1]",
		"[fe80::1%eth0]:4711":     "[IPv6:fe80::1]",
	} {
		if got := literal(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	here, _ := net.Pipe()
	if got := literal(here.LocalAddr()); got != "localhost" {
		t.Errorf("no IP address: %s", got)
	}
}

// The server is told who we are, by name or address.
func TestIntroduction(t *testing.T) {
	for helo, want := range map[string]string{"": "EHLO [127.0.0.1]\r\n", "us.lab.test": "EHLO us.lab.test\r\n"} {
		heard := make(chan string, 1)
		port := serve(t, func(conn net.Conn) {
			io.WriteString(conn, "220 relay\r\n")
			line, _ := bufio.NewReader(conn).ReadString('\n')
			heard <- line
		})
		p := prober()
		p.HELO = helo
		if _, err := p.Probe(t.Context(), Target{Host: relay, Port: port}, pool()); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A connection brings only so much, whatever it is.
func TestTooMuch(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		for chunk := make([]byte, 1<<10); ; {
			if _, err := there.Write(chunk); err != nil {
				return
			}
		}
	}()
	n, err := io.Copy(io.Discard, &socket{Conn: here, left: maxBytes})
	if n != maxBytes || err != error(errTooMuch) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
