package milter

import (
	"cmp"
	"context"
	"net"
	"sync"
	"time"

	"gatemilter/milter/accept"
)

// The default time limits. An MTA makes its offer at once, but it waits for an
// SMTP client that may take hours over a message.
const (
	offerTimeout  = 10 * time.Second
	packetTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Hour
	writeTimeout  = 30 * time.Second
)

// A Server accepts milter connections. Its fields must not be changed once
// Serve was called.
type Server struct {
	// NewSession makes the session for one SMTP session. It must not return
	// nil.
	NewSession func() Session
	// MaxConnections is how many connections may be open; 0 means 1000. A
	// further one is closed at once, and the MTA takes its default action.
	MaxConnections int
	Timeouts       Timeouts
	// Report is told what went wrong, and with which peer: one that broke the
	// protocol or was too slow, an *accept.PanicError, a reply that could not be given,
	// a failure to accept. What an error shows of the peer's octets is quoted.
	// Report is called from several goroutines; it may be nil.
	Report func(remote string, err error)

	once     sync.Once
	timeouts Timeouts
	conns    accept.Acceptor
}

// Timeouts are the times for which a connection waits for the MTA; 0 is the
// default.
type Timeouts struct {
	// Offer is from the connection to the option negotiation, by default 10 s.
	Offer time.Duration
	// Packet is for the rest of a packet, by default 30 s.
	Packet time.Duration
	// Idle is from one packet to the next, by default 2 h.
	Idle time.Duration
	// Write is for taking our answers, by default 30 s.
	Write time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Offer:  cmp.Or(t.Offer, offerTimeout),
		Packet: cmp.Or(t.Packet, packetTimeout),
		Idle:   cmp.Or(t.Idle, idleTimeout),
		Write:  cmp.Or(t.Write, writeTimeout),
	}
}

func (s *Server) init() {
	s.once.Do(func() {
		s.timeouts = s.Timeouts.withDefaults()
		s.conns = accept.Acceptor{
			Name: "milter", Unit: "message",
			MaxConnections: cmp.Or(s.MaxConnections, accept.DefaultConnections),
			Start:          func(c *accept.Conn) { newGuard(c, s).run() },
			Report:         s.Report,
		}
		s.conns.Init()
	})
}

// Serve accepts connections from a listener, which it closes in the end. It may
// be called for several listeners. It returns nil after Shutdown, and an error
// when the listener was closed otherwise; other failures to accept (no file
// descriptors left, a client that is gone) are reported, and it goes on.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	return s.conns.Serve(ln)
}

// Shutdown ends Serve and all connections: at once those between messages, the
// others after the end of their message. When ctx ends before, the rest are
// cut: their MTAs answer with a temporary failure. The error says how many
// there were.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	return s.conns.Shutdown(ctx)
}

// Connections returns how many connections are open, and how many were refused.
func (s *Server) Connections() accept.Counts {
	s.init()
	return s.conns.Counts()
}
