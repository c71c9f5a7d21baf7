package milter

import (
	"net"

	protocol "github.com/emersion/go-milter"

	"gatemilter/policy"
)

// A backend is what the library's server calls. It never returns an error,
// which the library would log, and ignores the arguments, which the guard has
// read better.
type backend struct {
	protocol.NoOpMilter
	*conversation
}

var _ protocol.Milter = backend{}

func (b backend) Connect(string, string, uint16, net.IP, *protocol.Modifier) (protocol.Response, error) {
	b.connect()
	if b.has(protocol.OptNoConnReply) {
		return nil, nil
	}
	return protocol.RespContinue, nil
}

func (b backend) MailFrom(string, *protocol.Modifier) (protocol.Response, error) {
	return response(b.mail()), nil
}

func (b backend) RcptTo(string, *protocol.Modifier) (protocol.Response, error) {
	return response(b.rcpt()), nil
}

func (b backend) Body(m *protocol.Modifier) (protocol.Response, error) {
	return b.endOfMessage(m), nil
}

func (b backend) Abort(*protocol.Modifier) error {
	b.abort()
	return nil
}

// response is the packet for a reply.
func response(r policy.Reply) protocol.Response {
	if r == (policy.Reply{}) {
		return protocol.RespContinue
	}
	return refusal(r)
}

// runLibrary starts the library's server on one connection, in a goroutine of
// its own. The server would take new connections until Accept fails: it fails
// at once.
func runLibrary(conn net.Conn, c *conversation) {
	s := protocol.Server{NewMilter: func() protocol.Milter { return backend{conversation: c} }}
	s.Serve(&oneConn{conn: conn}) // returns the error of the second Accept
}

// A oneConn is a listener to which a single connection comes.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	conn := l.conn
	if conn == nil {
		return nil, net.ErrClosed
	}
	l.conn = nil
	return conn, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return nil }
