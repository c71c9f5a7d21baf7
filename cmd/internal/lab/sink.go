package lab

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Sink is an SMTP server that takes mail for everybody, or answers as it is told, and remembers what it was sent.
type Sink struct {
	addr   string
	config *tls.Config // nil: no STARTTLS

	mu       sync.Mutex
	answer   func(line string) string
	taken    []Taken
	listener net.Listener
	conns    map[net.Conn]bool
	serving  sync.WaitGroup
}

// Taken is a message, or what there was of it before the sink refused or the client left.
type Taken struct {
	From string   // without angle brackets
	To   []string // those that were accepted
	TLS  bool     // whether it came through TLS
	Data string   // "" where it was not accepted; its lines end with \n
}

// StartSink starts a sink on a free port of the loopback address ip. With a certificate it offers STARTTLS.
func StartSink(ip string, cert *Cert) (*Sink, error) {
	s := &Sink{addr: net.JoinHostPort(ip, "0"), conns: map[net.Conn]bool{}}
	if cert != nil {
		s.config = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	}
	return s, s.Open()
}

// Addr is its address, the same after Close and Open.
func (s *Sink) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netip.MustParseAddrPort(s.addr)
}

// Open listens again, after Close.
func (s *Sink) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.addr, s.listener = l.Addr().String(), l
	s.serving.Go(func() { s.accept(l) })
	return nil
}

// Close refuses connections, and cuts those that are open. What Answer was given must not block any more.
func (s *Sink) Close() {
	s.mu.Lock()
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// Answer lets f answer from now on. It is given the client's line, "" for the greeting, or "." for the end of a message,
// and returns a reply as in "451 4.3.0 not now", or "" for the usual one. 421 closes the connection. The client waits
// while f blocks.
func (s *Sink) Answer(f func(line string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Taken returns what it was sent, from each MAIL command on.
func (s *Sink) Taken() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

func (s *Sink) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.serving.Go(func() {
			s.serve(conn)
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, conn)
			conn.Close()
		})
	}
}

func (s *Sink) serve(conn net.Conn) {
	c := &sinkConn{Sink: s, conn: conn, r: bufio.NewReaderSize(conn, maxReplyLine)}
	conn.SetDeadline(time.Now().Add(ioLimit))
	line := "" // stands for the greeting
	for c.command(line) {
		var err error
		if line, err = readLine(c.r); err != nil {
			return
		}
	}
}

// A sinkConn is one connection to a sink.
type sinkConn struct {
	*Sink
	conn    net.Conn
	r       *bufio.Reader
	secure  bool
	current int // in taken
}

// usual are the replies to commands, where Answer has no other; to all else it is sinkDefault.
var usual = map[string]string{
	"": "220 sink.lab.test ESMTP", "STARTTLS": "220 2.0.0 ready", "DATA": "354 go on", "QUIT": "221 2.0.0 bye",
}

const sinkDefault = "250 2.0.0 fine"

// command answers a line, and does what is agreed. It says whether the session goes on.
func (c *sinkConn) command(line string) bool {
	verb, argument, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	reply := c.choose(verb, line)
	agreed := reply[0] == '2' || reply[0] == '3'
	switch {
	case verb == "MAIL": // remembered even if it is refused
		c.mu.Lock()
		c.current = len(c.taken)
		c.taken = append(c.taken, Taken{From: inBrackets(argument), TLS: c.secure})
		c.mu.Unlock()
	case verb == "RCPT" && agreed:
		c.change(func(t *Taken) { t.To = append(t.To, inBrackets(argument)) })
	}
	_, err := c.conn.Write([]byte(reply + "\r\n"))
	switch {
	case err != nil || verb == "QUIT" || strings.HasPrefix(reply, "421"):
		return false
	case verb == "STARTTLS" && agreed:
		return c.startTLS()
	case verb == "DATA" && agreed:
		return c.data()
	}
	return true
}

// choose returns the reply to a command.
func (c *sinkConn) choose(verb, line string) string {
	c.mu.Lock()
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		if reply := answer(line); reply != "" {
			return reply
		}
	}
	if verb == "EHLO" && c.config != nil && !c.secure {
		return "250-sink.lab.test\r\n250 STARTTLS"
	}
	if reply, ok := usual[verb]; ok {
		return reply
	}
	return sinkDefault
}

func (c *sinkConn) change(f func(*Taken)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.taken[c.current])
}

func (c *sinkConn) startTLS() bool {
	secure := tls.Server(c.conn, c.config)
	if secure.Handshake() != nil {
		return false
	}
	c.conn, c.r, c.secure = secure, bufio.NewReaderSize(secure, maxReplyLine), true
	return true
}

// data reads a message up to its end, and answers that.
func (c *sinkConn) data() bool {
	var text strings.Builder
	for {
		line, err := readLine(c.r)
		if err != nil {
			return false
		}
		if line == "." {
			break
		}
		text.WriteString(strings.TrimPrefix(line, ".") + "\n")
	}
	reply := c.choose(".", ".")
	if reply[0] == '2' {
		c.change(func(t *Taken) { t.Data = text.String() })
	}
	_, err := c.conn.Write([]byte(reply + "\r\n"))
	return err == nil && !strings.HasPrefix(reply, "421")
}

// inBrackets is the path in FROM:<path> or TO:<path>.
func inBrackets(argument string) string {
	_, path, _ := strings.Cut(argument, "<")
	return path[:max(0, strings.LastIndexByte(path, '>'))]
}
