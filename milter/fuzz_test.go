package milter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"gatemilter/policy"
)

// A scripted connection reads what an MTA sends, in pieces of a size, and keeps
// what it is sent.
type scripted struct {
	net.Conn
	in     *bytes.Reader
	size   int
	out    bytes.Buffer
	once   sync.Once
	closed chan struct{}
	writes int
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p[:min(len(p), s.size)]) }
func (s *scripted) Write(p []byte) (int, error)      { s.writes++; return s.out.Write(p) }
func (s *scripted) Close() error                     { s.once.Do(func() { close(s.closed) }); return nil }
func (s *scripted) RemoteAddr() net.Addr             { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// play lets a server talk to a scripted MTA and returns what it answered.
func play(t *testing.T, session Session, octets []byte, size int) []byte {
	t.Helper()
	conn := &scripted{in: bytes.NewReader(octets), size: size, closed: make(chan struct{})}
	playOn(t, conn, session)
	return conn.out.Bytes()
}

func playOn(t *testing.T, conn *scripted, session Session) {
	t.Helper()
	s := &Server{NewSession: func() Session { return session }}
	s.init()
	s.conns.Take(conn)
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	select {
	case <-conn.closed:
	case <-ctx.Done():
		t.Fatal("the connection did not end")
	}
	s.Shutdown(ctx)
}

// A contract is a Session that holds the connection to the promises of the
// interface.
type contract struct {
	refuse                          bool
	connected, inMessage, endOfHead bool
	broken                          []string
}

func (c *contract) expect(ok bool, format string, args ...any) {
	if !ok {
		c.broken = append(c.broken, fmt.Sprintf(format, args...))
	}
}

func (c *contract) reply(e Envelope) policy.Reply {
	if c.refuse && strings.Contains(e.Address, "x") {
		return policy.Reply{Code: 550, Enhanced: "5.7.1", Text: e.Raw}
	}
	return policy.Reply{}
}

func (c *contract) Connect(p Peer, m *Macros) {
	c.expect(!c.connected && m != nil, "second Connect")
	c.connected = true
}
func (c *contract) Helo(name string) {
	c.expect(c.connected && !c.inMessage, "Helo out of order")
	c.expect(!strings.Contains(name, "\x00"), "name %q", name)
}
func (c *contract) Mail(e Envelope) policy.Reply {
	c.expect(c.connected && !c.inMessage, "Mail out of order")
	c.endOfHead = false
	r := c.reply(e)
	c.inMessage = r.Code == 0
	return r
}
func (c *contract) Rcpt(e Envelope) policy.Reply {
	c.expect(c.inMessage && !c.endOfHead, "Rcpt out of order")
	return c.reply(e)
}
func (c *contract) Header(name, value string) {
	c.expect(c.inMessage && !c.endOfHead, "Header out of order")
	c.expect(name != "" && !strings.Contains(name+value, "\x00"), "field %q: %q", name, value)
}
func (c *contract) Overflow(r policy.Reply) policy.Reply {
	c.expect(c.inMessage && !c.endOfHead, "Overflow out of order")
	return r
}
func (c *contract) EndOfHeader() bool {
	c.expect(c.inMessage && !c.endOfHead, "EndOfHeader out of order")
	c.endOfHead = true
	return c.refuse
}
func (c *contract) Body(p []byte) {
	c.expect(c.inMessage && c.endOfHead && c.refuse, "Body out of order")
	c.expect(len(p) > 0, "empty piece")
}
func (c *contract) EndOfMessage(context.Context) Outcome {
	c.expect(c.inMessage && c.endOfHead, "EndOfMessage out of order")
	return Outcome{Edits: []policy.Edit{{Op: policy.AddField, Name: "X-A", Value: "v"}}}
}
func (c *contract) Done(policy.Reply, error) {
	c.expect(c.inMessage, "Done out of order")
	c.inMessage = false
}
func (c *contract) Abort() {
	c.expect(c.inMessage, "Abort out of order")
	c.inMessage = false
}
func (c *contract) Close() {
	c.expect(c.connected && !c.inMessage, "Close out of order")
	c.connected = false
}

// Whatever an MTA sends: the answers are packets, the session's contract holds,
// and neither depends on the way in which the octets arrive.
func FuzzStream(f *testing.F) {
	f.Add(join(someConnect, helo("h"), mail("<a>"), rcpt("<b>"), aMessage, abort, quit), true, uint16(7))
	f.Add(join(someConnect, mail("<a>"), rcpt("<x>"), rcpt("<b>"), field("A", "b"), eom, mail("<x>"), quit), true, uint16(1))
	f.Add(join(macros('C', "j", "mx"), someConnect, quitNewConn, macros('H'), someConnect, helo("h"), unknown, abort), false, uint16(3))
	f.Add(join(someConnect, mail("<a>", "SIZE=1"), eoh, piece("one"), piece(""), raw('E', "tail"), mail("<b>")), true, uint16(5))
	f.Add(join(someConnect, mail("<a>"), []byte{0, 0x10, 0, 0, 'L', 'a', 0}), false, uint16(2))
	f.Add(join(someConnect, mail("<a>"), raw('L', "\x00v\x00")), false, uint16(9))
	f.Add([]byte{0, 0, 0, 0}, false, uint16(9))
	f.Fuzz(func(t *testing.T, octets []byte, refuse bool, size uint16) {
		whole := append(join(fullOffer), octets...)
		s := &contract{refuse: refuse}
		answer := play(t, s, whole, len(whole))
		if len(s.broken) > 0 || s.connected {
			t.Errorf("contract: %q, connected %v", s.broken, s.connected)
		}
		for r := bytes.NewReader(answer); r.Len() > 0; {
			if _, _, err := readPacket(r); err != nil && err != io.EOF {
				t.Fatalf("answers %q: %v", answer, err)
			}
		}
		if again := play(t, &contract{refuse: refuse}, whole, int(size%512)+1); !bytes.Equal(again, answer) {
			t.Errorf("in pieces of %d: %q, want %q", int(size%512)+1, again, answer)
		}
	})
}
