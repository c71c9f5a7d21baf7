package lookup

import (
	"cmp"
	"context"
	"net"
	"sync"
	"time"

	"gatemilter/milter/accept"
)

// The default time limits. An MTA sends a request at once and whole. Sendmail
// keeps a connection open between the commands of an SMTP client, and defers
// mail if it is gone at the next one: it may stay longer than a client may
// (an hour).
const (
	requestTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Hour
	writeTimeout   = 30 * time.Second
)

// A Server answers socketmap requests. Its fields must not be changed once
// Serve was called.
type Server struct {
	// Tables are the tables by the name that the MTA asks for, which has no
	// blank in it.
	Tables map[string]Table
	// MaxConnections is how many connections may be open, and how many lookups
	// in tables with a Limit under way; 0 means 1000. A further connection is
	// closed at once, and the MTA defers the mail.
	MaxConnections int
	Timeouts       Timeouts
	// Report is told what went wrong, and with which peer: one that broke the
	// protocol or was too slow, a question that could not be answered, a
	// *accept.PanicError, a failure to accept. What an error shows of the peer's octets
	// is quoted; values are never shown. Report is called from several
	// goroutines; it may be nil.
	Report func(remote string, err error)
	// Observe is told of each question, for statistics: the table, the status that was
	// answered (one of [Statuses]), and how long that took. A table that there isn't is
	// [UnknownTable], whatever the peer called it. Like Report it may be nil.
	Observe func(table, status string, took time.Duration)

	once     sync.Once
	timeouts Timeouts
	// slow has an element for each lookup in a table with a Limit.
	slow  chan struct{}
	conns accept.Acceptor
}

// Timeouts are the times for which a connection waits for the MTA; 0 is the
// default.
type Timeouts struct {
	// Request is for the rest of a request, by default 10 s.
	Request time.Duration
	// Idle is from one request to the next, by default 2 h; the connection is
	// then closed without a report.
	Idle time.Duration
	// Write is for taking our replies, by default 30 s.
	Write time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Request: cmp.Or(t.Request, requestTimeout),
		Idle:    cmp.Or(t.Idle, idleTimeout),
		Write:   cmp.Or(t.Write, writeTimeout),
	}
}

func (s *Server) init() {
	s.once.Do(func() {
		limit := cmp.Or(s.MaxConnections, accept.DefaultConnections)
		s.timeouts = s.Timeouts.withDefaults()
		s.slow = make(chan struct{}, limit)
		s.conns = accept.Acceptor{
			Name: "lookup", Unit: "request",
			MaxConnections: limit,
			Start:          func(c *accept.Conn) { go newConn(c, s).run() },
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

// Shutdown ends Serve and all connections: at once those at rest, the others
// with the replies to what has arrived. When ctx ends before, the rest are cut:
// their MTAs defer the mail. The error says how many there were.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	return s.conns.Shutdown(ctx)
}

// Connections returns how many connections are open, and how many were refused.
func (s *Server) Connections() accept.Counts {
	s.init()
	return s.conns.Counts()
}
