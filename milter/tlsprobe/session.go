package tlsprobe

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatemilter/policy"
)

// maxBytes bounds what a whole connection brings. The longest list of certificates
// that crypto/tls takes has 256 KiB.
const maxBytes = 512 << 10

var errTooMuch = Finding{NotSMTP, fmt.Sprintf("it sends more than %d KiB", maxBytes>>10)}

// A session is the connection to a server, in clear or through TLS.
type session struct {
	socket  *socket
	conn    net.Conn // the socket or TLS over it
	in      *bufio.Reader
	timeout time.Duration
}

func newSession(conn net.Conn, timeout time.Duration) *session {
	s := &session{socket: &socket{Conn: conn, left: maxBytes}, timeout: timeout}
	s.use(s.socket)
	return s
}

func (s *session) use(conn net.Conn) {
	s.conn, s.in = conn, bufio.NewReaderSize(conn, maxLine)
}

// A socket is a connection that brings only so much.
type socket struct {
	net.Conn
	left int
}

func (s *socket) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errTooMuch
	}
	n, err := s.Conn.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

// heard tells whether the server has sent anything.
func (s *session) heard() bool { return s.socket.left < maxBytes }

// begin gives the next step its time.
func (s *session) begin() error { return s.conn.SetDeadline(time.Now().Add(s.timeout)) }

// answer reads what the server says next.
func (s *session) answer(to string) (reply, error) {
	if err := s.begin(); err != nil {
		return reply{}, err
	}
	r, err := readReply(s.in)
	if err == nil {
		return r, nil
	}
	f := explainAlert(err)
	switch f.Problem {
	case Timeout, Closed:
		f.Reason += ", instead of " + to
	}
	return reply{}, f
}

// command sends a line and reads the answer.
func (s *session) command(line string) (reply, error) {
	verb, _, _ := strings.Cut(line, " ")
	return s.answerTo(line, "an answer to "+verb)
}

// answerTo sends a line and reads what is described.
func (s *session) answerTo(line, what string) (reply, error) {
	if err := s.begin(); err != nil {
		return reply{}, err
	}
	// A server that hangs up may have said why: its answer counts, not that it
	// didn't listen.
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil && !isClosed(err) {
		return reply{}, err
	}
	return s.answer(what)
}

// ehlo introduces us. A server that doesn't know EHLO has no extensions: Postfix goes on
// with HELO then, and so no error.
func (s *session) ehlo(name string) (reply, error) {
	if name == "" {
		name = literal(s.conn.LocalAddr())
	}
	answer, err := s.command("EHLO " + name)
	switch {
	case err != nil:
		return reply{}, err
	case answer.code == 250 || answer.code == 500 || answer.code == 502:
		return answer, nil
	}
	return reply{}, Finding{SessionRefused, fmt.Sprintf("the server answers EHLO with %s", quote(answer.String()))}
}

// literal is an address as EHLO takes it in place of a name (RFC 5321, section 4.1.3).
func literal(addr net.Addr) string {
	ap, err := netip.ParseAddrPort(addr.String())
	switch ip := ap.Addr().Unmap().WithZone(""); {
	case err != nil:
		return "localhost"
	case ip.Is4():
		return "[" + ip.String() + "]"
	default:
		return "[IPv6:" + ip.String() + "]"
	}
}

// startTLS asks for TLS, and refuses what came in clear after the consent.
func (s *session) startTLS() error {
	answer, err := s.command("STARTTLS")
	switch {
	case err != nil:
		return err
	case answer.code != 220:
		return Finding{STARTTLSRefused, "the server answers STARTTLS with " + quote(answer.String())}
	case s.in.Buffered() > 0:
		return Finding{BytesBeforeTLS, "the server sends more in clear after it agreed to TLS: somebody on the way may have added it"}
	}
	return nil
}

// handshake begins TLS, verifying nothing: what the server shows is judged later.
func (s *session) handshake(sni string) (tls.ConnectionState, error) {
	if err := s.begin(); err != nil {
		return tls.ConnectionState{}, err
	}
	client := tls.Client(s.conn, &tls.Config{
		InsecureSkipVerify: true,
		ServerName:         sni,
		MinVersion:         tls.VersionTLS10, // so that old servers can be told
		CipherSuites:       cipherSuites(),
	})
	if err := client.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	s.use(client)
	return client.ConnectionState(), nil
}

// cipherSuites are those that a mail server's own OpenSSL still uses: also the ones
// with RSA key exchange, which crypto/tls leaves out, but neither RC4 nor 3DES.
func cipherSuites() []uint16 {
	var ids []uint16
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if !strings.Contains(c.Name, "RC4") && !strings.Contains(c.Name, "3DES") {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// quit takes leave. What the server answers doesn't matter any more, but a session
// that is not cut off leaves no warning in its log.
func (s *session) quit() { s.command("QUIT") }

func tlsVersion(v uint16) policy.TLSVersion {
	switch v {
	case tls.VersionTLS10:
		return policy.TLS10
	case tls.VersionTLS11:
		return policy.TLS11
	case tls.VersionTLS12:
		return policy.TLS12
	case tls.VersionTLS13:
		return policy.TLS13
	}
	return policy.TLSOther
}
