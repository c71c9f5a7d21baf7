package lab

import (
	"cmp"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// A Sink is an SMTP server that takes mail for everybody, or answers as it is told, and remembers what it was sent.
type Sink struct {
	config SinkConfig
	tls    *tls.Config // nil: no TLS

	mu       sync.Mutex
	addr     string
	answer   func(line string) string
	taken    []Taken
	attempts []Attempt
	listener net.Listener
	held     heldPort // between Refuse and Open
	conns    map[net.Conn]bool
	serving  sync.WaitGroup
}

// Taken is a message, or what there was of it before the sink refused or the client left.
type Taken struct {
	From  string   // without angle brackets
	To    []string // those that were accepted
	TLS   bool     // whether it came through TLS
	Login string   // user name that the client authenticated as; "" without
	Data  string   // "" where it was not accepted; its lines end with \n
}

// An Attempt is an AUTH command (RFC 4954), with what the client showed by it, accepted or not.
type Attempt struct {
	Username, Password string // "" where the client did not get to it, or was not understood
	TLS                bool   // whether it came through TLS
	Accepted           bool
}

// A SinkConfig says how a sink behaves. The zero SinkConfig is a plain mail host on 127.0.0.1; with Cert and Logins it is
// a submission server, as a smart host is that mail leaves through.
type SinkConfig struct {
	IP       string            // loopback address; "" is 127.0.0.1
	Port     uint16            // 0: any free one
	Cert     *Cert             // offers STARTTLS with it; nil: no TLS
	SNI      bool              // shows Cert only to who asks for one of its names, and another one to everybody else
	Implicit bool              // TLS from the start (RFC 8314) instead of STARTTLS; needs Cert
	Logins   map[string]string // password by user name; not nil: mail is taken only after AUTH, in TLS where there is Cert
	SMTPUTF8 bool              // offers 8BITMIME and SMTPUTF8 (RFC 6531)
}

// StartSink starts a sink on a free port of the loopback address ip. With a certificate it offers STARTTLS.
func StartSink(ip string, cert *Cert) (*Sink, error) { return SinkConfig{IP: ip, Cert: cert}.Start() }

// Start starts a sink.
func (c SinkConfig) Start() (*Sink, error) {
	if c.Implicit && c.Cert == nil {
		return nil, errors.New("a sink with implicit TLS needs a certificate")
	}
	c.Logins = maps.Clone(c.Logins) // connections read it at any time
	addr := net.JoinHostPort(cmp.Or(c.IP, "127.0.0.1"), strconv.Itoa(int(c.Port)))
	s := &Sink{config: c, addr: addr, conns: map[net.Conn]bool{}}
	if c.Cert != nil {
		s.tls = &tls.Config{Certificates: []tls.Certificate{c.Cert.TLS}}
	}
	if c.SNI {
		invalid, err := SelfSigned(Subject{CommonName: "invalid"})
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "" && c.Cert.TLS.Leaf.VerifyHostname(hello.ServerName) == nil {
				return &c.Cert.TLS, nil
			}
			return &invalid.TLS, nil
		}}
	}
	return s, s.Open()
}

// Addr is its address, the same after Refuse and Open.
func (s *Sink) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return netip.MustParseAddrPort(s.addr)
}

// Open listens again, after Refuse.
func (s *Sink) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.held.release()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.addr, s.listener = l.Addr().String(), l
	s.serving.Go(func() { s.accept(l) })
	return nil
}

// Refuse refuses connections from now on, and cuts those that are open. What Answer was given must not block any more. The
// address stays its own.
func (s *Sink) Refuse() error {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	s.held, err = holdPort(netip.MustParseAddrPort(s.addr))
	return err
}

// Close ends it, as Refuse does, but another one may have its address.
func (s *Sink) Close() {
	s.mu.Lock()
	s.held.release()
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
//
// An answer to AUTH decides at once, 235 for the user that the line may name; only after 334, the usual exchange goes on.
// Its further lines are no commands, and f is not given them.
func (s *Sink) Answer(f func(line string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Taken returns what it was sent, from each MAIL command on; but not MAIL that was refused before a login it needs.
func (s *Sink) Taken() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// Attempts returns every AUTH command that came, in order, also those to a sink without Logins: a host without attempts was
// shown no password. (A command of more than the 12288 bytes that RFC 4954 allows is not among them: like any such line, it
// ends the connection.)
func (s *Sink) Attempts() []Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts)
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
