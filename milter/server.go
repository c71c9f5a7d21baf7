package milter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// defaultConnections is many for Postfix, which runs 100 smtpd processes if not
// told otherwise, and little for us: some 10 KiB each.
const defaultConnections = 1000

// The default time limits. An MTA makes its offer at once, but it waits for an
// SMTP client that may take hours over a message.
const (
	offerTimeout  = 10 * time.Second
	packetTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Hour
	writeTimeout  = 30 * time.Second
)

// Accept is tried again after a pause, which doubles from firstPause to
// lastPause while it fails.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
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
	// protocol or was too slow, a *PanicError, a reply that could not be given,
	// a failure to accept. What an error shows of the peer's octets is quoted.
	// Report is called from several goroutines; it may be nil.
	Report func(remote string, err error)

	once     sync.Once
	timeouts Timeouts
	// patience is cancelled when Shutdown waits no longer.
	patience context.Context
	giveUp   context.CancelFunc
	// stopping is closed by Shutdown, stopped when no connection is left then.
	stopping, stopped chan struct{}

	mu        sync.Mutex
	listeners map[net.Listener]bool
	guards    map[*guard]bool
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
		Offer:  orDefault(t.Offer, offerTimeout),
		Packet: orDefault(t.Packet, packetTimeout),
		Idle:   orDefault(t.Idle, idleTimeout),
		Write:  orDefault(t.Write, writeTimeout),
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
		s.patience, s.giveUp = context.WithCancel(context.Background())
		s.stopping, s.stopped = make(chan struct{}), make(chan struct{})
		s.listeners, s.guards = map[net.Listener]bool{}, map[*guard]bool{}
	})
}

// errStopped is returned by a Serve that comes after Shutdown.
var errStopped = errors.New("milter: the server was shut down, use a new one")

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
			return fmt.Errorf("milter: %w", err)
		default:
			s.tell(ln.Addr(), fmt.Errorf("no connection accepted, next attempt in %v: %w", pause, err))
			s.wait(pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// serve takes a connection, if there is room for it.
func (s *Server) serve(conn net.Conn) {
	g := newGuard(conn, s)
	if err := s.admit(g); err != nil {
		conn.Close()
		s.tell(conn.RemoteAddr(), err)
		return
	}
	runLibrary(g, &g.talk)
}

func (s *Server) admit(g *guard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := orDefault(s.MaxConnections, defaultConnections); len(s.guards) >= limit {
		return fmt.Errorf("refused: %d connections are open, which is the limit", limit)
	}
	if s.isStopping() {
		return errors.New("refused: the server is shutting down")
	}
	s.guards[g] = true
	return nil
}

// forget is told that a connection has ended.
func (s *Server) forget(g *guard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.guards, g)
	s.checkStopped()
}

// checkStopped wakes Shutdown with the last connection. The mutex is held.
func (s *Server) checkStopped() {
	if s.isStopping() && len(s.guards) == 0 && !isClosed(s.stopped) {
		close(s.stopped)
	}
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

func (s *Server) isStopping() bool { return isClosed(s.stopping) }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
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

// Shutdown ends Serve and all connections: at once those between messages, the
// others after the end of their message. When ctx ends before, the rest are
// cut: their MTAs answer with a temporary failure. The error says how many
// there were.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.drain()
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("milter: %d connections were cut within a message: %w", s.cut(), context.Cause(ctx))
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
	for g := range s.guards {
		g.drain()
	}
	s.checkStopped()
}

// cut closes the connections that are left, and returns their number.
func (s *Server) cut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUp()
	for g := range s.guards {
		g.Conn.Close()
	}
	return len(s.guards)
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
