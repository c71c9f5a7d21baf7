// Package accept takes the connections of a server: several listeners, a limit on
// what is open at once, failures to accept that pass, and an end that lets what is
// under way finish. What a connection is and does, it leaves to the server.
package accept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// DefaultConnections is many for Postfix, whose processes (100 of a kind, if not told
// otherwise) have one each, and little for us: some 10 KiB each.
const DefaultConnections = 1000

// Accept is tried again after a pause, which doubles from firstPause to
// lastPause while it fails.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// ErrStopped is returned by a Serve that comes after Shutdown.
var ErrStopped = errors.New("the server was shut down, use a new one")

// An Acceptor keeps account of the connections of one server.
type Acceptor struct {
	// Name is the server's, and Unit what is cut when it can't wait any longer
	// ("message"): for errors.
	Name, Unit string
	// MaxConnections is how many connections may be open. A further one is closed
	// at once.
	MaxConnections int
	// Start serves a connection and returns at once: what it starts calls Done.
	Start func(*Conn)
	// Report is told of failures, and with which peer. It may be nil.
	Report func(remote string, err error)

	// patience is cancelled when Shutdown waits no longer.
	patience context.Context
	giveUp   context.CancelFunc
	// stopping is closed by Shutdown, stopped when no connection is left then.
	stopping, stopped chan struct{}

	mu        sync.Mutex
	listeners map[net.Listener]bool
	conns     map[*Conn]bool
	refused   uint64
}

// Counts are what a server's connections come to.
type Counts struct {
	// Open is how many there are now, Refused how many were closed at once, since the start,
	// because there were too many.
	Open    int
	Refused uint64
}

// Counts returns the counts of now.
func (a *Acceptor) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Counts{len(a.conns), a.refused}
}

// Init must be called before anything else.
func (a *Acceptor) Init() {
	a.patience, a.giveUp = context.WithCancel(context.Background())
	a.stopping, a.stopped = make(chan struct{}), make(chan struct{})
	a.listeners, a.conns = map[net.Listener]bool{}, map[*Conn]bool{}
}

// Patience is cancelled when Shutdown waits no longer.
func (a *Acceptor) Patience() context.Context { return a.patience }

// Serve accepts connections from a listener, which it closes in the end. It may
// be called for several listeners. It returns nil after Shutdown, and an error
// when the listener was closed otherwise; other failures to accept (no file
// descriptors left, a client that is gone) are reported, and it goes on.
func (a *Acceptor) Serve(ln net.Listener) error {
	defer ln.Close()
	if !a.listen(ln) {
		return fmt.Errorf("%s: %w", a.Name, ErrStopped)
	}
	defer a.unlisten(ln)
	pause := firstPause
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			pause = firstPause
			a.Take(conn)
		case a.isStopping():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("%s: %w", a.Name, err)
		default:
			a.tell(ln.Addr(), fmt.Errorf("no connection accepted, next attempt in %v: %w", pause, err))
			a.wait(pause)
			pause = min(2*pause, lastPause)
		}
	}
}

// Take starts a connection, if there is room for it, and else closes it.
func (a *Acceptor) Take(conn net.Conn) {
	c := a.NewConn(conn)
	if err := a.admit(c); err != nil {
		c.Close()
		c.Report(err)
		return
	}
	a.Start(c)
}

// NewConn makes a connection for which Serve and Shutdown don't answer.
func (a *Acceptor) NewConn(conn net.Conn) *Conn { return &Conn{Conn: conn, acceptor: a} }

func (a *Acceptor) admit(c *Conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.conns) >= a.MaxConnections {
		a.refused++
		return fmt.Errorf("refused: %d connections are open, which is the limit", a.MaxConnections)
	}
	if a.isStopping() {
		return errors.New("refused: the server is shutting down")
	}
	a.conns[c] = true
	return nil
}

func (a *Acceptor) forget(c *Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
	a.checkStopped()
}

// checkStopped wakes Shutdown with the last connection. The mutex is held.
func (a *Acceptor) checkStopped() {
	if a.isStopping() && len(a.conns) == 0 && !isClosed(a.stopped) {
		close(a.stopped)
	}
}

func (a *Acceptor) listen(ln net.Listener) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners[ln] = true
	return !a.isStopping()
}

func (a *Acceptor) unlisten(ln net.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.listeners, ln)
}

func (a *Acceptor) isStopping() bool { return isClosed(a.stopping) }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// wait pauses, but not when the server is to stop.
func (a *Acceptor) wait(pause time.Duration) {
	select {
	case <-a.stopping:
	case <-time.After(pause):
	}
}

// Shutdown ends Serve and drains all connections. When ctx ends before they have, the
// rest are cut; the error says how many there were.
func (a *Acceptor) Shutdown(ctx context.Context) error {
	defer a.giveUp()
	a.Drain()
	select {
	case <-a.stopped:
		return nil
	case <-ctx.Done():
		if isClosed(a.stopped) {
			return nil
		}
		return fmt.Errorf("%s: %d connections were cut within a %s: %w", a.Name, a.cut(), a.Unit, context.Cause(ctx))
	}
}

// Drain ends Serve, and each connection as soon as nothing is under way on it. It
// doesn't wait.
func (a *Acceptor) Drain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.isStopping() {
		close(a.stopping)
	}
	for ln := range a.listeners {
		ln.Close()
	}
	for c := range a.conns {
		c.drain()
	}
	a.checkStopped()
}

// cut ends the connections that are left, and returns their number.
func (a *Acceptor) cut() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveUp()
	for c := range a.conns {
		c.Conn.Close()
	}
	return len(a.conns)
}

// tell reports an error and the peer.
func (a *Acceptor) tell(peer net.Addr, err error) {
	if a.Report == nil {
		return
	}
	remote := "unix socket"
	if peer != nil && peer.Network() != "unix" {
		remote = peer.String()
	}
	a.Report(remote, err)
}
