package lookup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// defaultConnections is many for Postfix, whose processes (100 of a kind, if
// not told otherwise) have one each, and little for us: some 16 KiB each.
const defaultConnections = 1000

// The default time limits. An MTA sends a request at once and whole. Sendmail
// keeps a connection open between the commands of an SMTP client, and defers
// mail if it is gone at the next one: it may stay longer than a client may
// (an hour).
const (
	requestTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Hour
	writeTimeout   = 30 * time.Second
)

// Accept is tried again after a pause, which doubles from firstPause to
// lastPause while it fails.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
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
	// *PanicError, a failure to accept. What an error shows of the peer's octets
	// is quoted; values are never shown. Report is called from several
	// goroutines; it may be nil.
	Report func(remote string, err error)

	once     sync.Once
	timeouts Timeouts
	// slow has an element for each lookup in a table with a Limit.
	slow chan struct{}
	// patience is cancelled when Shutdown waits no longer.
	patience context.Context
	giveUp   context.CancelFunc
	// stopping is closed by Shutdown.
	stopping chan struct{}
	running  sync.WaitGroup

	mu        sync.Mutex
	listeners map[net.Listener]bool
	conns     map[*conn]bool
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
		Request: orDefault(t.Request, requestTimeout),
		Idle:    orDefault(t.Idle, idleTimeout),
		Write:   orDefault(t.Write, writeTimeout),
	}
}

func orDefault[T int | time.Duration](v, or T) T {
	if v == 0 {
		return or
	}
	return v
}

func (s *Server) init() {
	s.once.Do(func() {
		s.timeouts = s.Timeouts.withDefaults()
		s.slow = make(chan struct{}, orDefault(s.MaxConnections, defaultConnections))
		s.patience, s.giveUp = context.WithCancel(context.Background())
		s.stopping = make(chan struct{})
		s.listeners, s.conns = map[net.Listener]bool{}, map[*conn]bool{}
	})
}

// errStopped is returned by a Serve that comes after Shutdown.
var errStopped = errors.New("lookup: the server was shut down, use a new one")

// Serve accepts connections from a listener, which it closes in the end. It may
// be called for several listeners. It returns nil after Shutdown, and an error
// when the listener was closed otherwise; other failures to accept (no file
// descriptors left, a client that is gone) are reported, and it goes on.
func (s *Server) Serve(ln net.Listener) error {
	s.init()
	defer ln.Close()
	if !s.listen(ln) {
		return errStopped
	}
	defer s.unlisten(ln)
	pause := firstPause
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = firstPause
			s.serve(conn)
		case s.isStopping():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("lookup: %w", err)
		default:
			s.tell(ln.Addr(), fmt.Errorf("no connection accepted, next attempt in %v: %w", pause, err))
			s.wait(pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// serve takes a connection, if there is room for it.
func (s *Server) serve(conn net.Conn) {
	c := newConn(conn, s)
	if err := s.admit(c); err != nil {
		conn.Close()
		s.tell(conn.RemoteAddr(), err)
	}
}

// admit starts a connection.
func (s *Server) admit(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := orDefault(s.MaxConnections, defaultConnections); len(s.conns) >= limit {
		return fmt.Errorf("refused: %d connections are open, which is the limit", limit)
	}
	if s.isStopping() {
		return errors.New("refused: the server is shutting down")
	}
	s.conns[c] = true
	s.running.Go(func() {
		defer s.forget(c)
		c.run()
	})
	return nil
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) listen(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[ln] = true
	return !s.isStopping()
}

func (s *Server) unlisten(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// wait pauses, but not when the server is to stop.
func (s *Server) wait(pause time.Duration) {
	select {
	case <-s.stopping:
	case <-time.After(pause):
	}
}

// Shutdown ends Serve and all connections: at once those at rest, the others
// with the replies to what has arrived. When ctx ends before, the rest are cut:
// their MTAs defer the mail. The error says how many there were.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	defer s.giveUp()
	s.drain()
	stopped := make(chan struct{})
	go func() {
		s.running.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lookup: %d connections were cut within a request: %w", s.cut(), context.Cause(ctx))
	}
}

func (s *Server) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isStopping() {
		close(s.stopping)
	}
	for ln := range s.listeners {
		ln.Close()
	}
	for c := range s.conns {
		c.drain()
	}
}

// cut closes the connections that are left, and returns their number.
func (s *Server) cut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
	return len(s.conns)
}

// tell reports an error and the peer.
func (s *Server) tell(peer net.Addr, err error) {
	if s.Report == nil {
		return
	}
	remote := "unix socket"
	if peer != nil && peer.Network() != "unix" {
		remote = peer.String()
	}
	s.Report(remote, err)
}
