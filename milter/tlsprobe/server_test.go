package tlsprobe

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// serve calls handle for each connection to the port that it returns, and closes
// all of them at the end of the test.
func serve(t *testing.T, handle func(net.Conn)) uint16 {
	t.Helper()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	ended := false
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			if ended {
				conn.Close()
			}
			mu.Unlock()
			group.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		ended = true
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

// An mta is a small SMTP server. What it says can be changed; texts end with CRLF.
type mta struct {
	greeting string // default: 220
	ehlo     string // the answer; default: 250 with STARTTLS
	startTLS string // the answer; default: 220
	afterTLS string // the answer to EHLO through TLS; default: that in clear
	implicit bool
	config   *tls.Config
}

// with is an mta with this certificate.
func with(cert tls.Certificate) mta {
	return mta{config: &tls.Config{Certificates: []tls.Certificate{cert}}}
}

func (m mta) handle(conn net.Conn) {
	secure := m.implicit
	if secure {
		conn = tls.Server(conn, m.config)
	}
	io.WriteString(conn, or(m.greeting, "220 relay.lab.test ESMTP\r\n"))
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		ehlo := or(m.ehlo, "250-relay.lab.test\r\n250-SIZE 1000\r\n250-StartTLS\r\n250 8BITMIME\r\n")
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); {
		case verb == "EHLO" && secure:
			io.WriteString(conn, or(m.afterTLS, ehlo))
		case verb == "EHLO":
			io.WriteString(conn, ehlo)
		case verb == "STARTTLS":
			answer := or(m.startTLS, "220 go ahead\r\n")
			io.WriteString(conn, answer)
			if m.config != nil && strings.HasPrefix(answer, "220") {
				conn, secure = tls.Server(conn, m.config), true
				in = bufio.NewReader(conn)
			}
		case verb == "QUIT":
			io.WriteString(conn, "221 bye\r\n")
			return
		default:
			io.WriteString(conn, "500 what?\r\n")
		}
	}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// says is a server that sends a text and then only listens.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	}
}

// repeats is a server that sends a text until nobody listens.
func repeats(text string) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// answers is a server that waits to be spoken to.
func answers(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if n, _ := conn.Read(make([]byte, 1)); n == 1 {
			says(text)(conn)
		}
	}
}

// deafPort is one that is taken, but at which nobody listens.
func deafPort(t *testing.T) uint16 {
	t.Helper()
	fd := must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0))
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return uint16(must(syscall.Getsockname(fd)).(*syscall.SockaddrInet4).Port)
}
