package accept

import (
	"net"
	"sync"
)

// A Conn is a connection that was accepted.
type Conn struct {
	net.Conn
	acceptor *Acceptor

	mu             sync.Mutex
	busy, draining bool
}

// SetBusy notes whether something is under way. It returns false when the
// connection is to end: the server shuts down, and nothing is under way that was so
// before.
func (c *Conn) SetBusy(busy bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && !(busy && c.busy) {
		return false
	}
	c.busy = busy
	return true
}

// Draining says whether the server shuts down.
func (c *Conn) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// drain ends the connection as soon as nothing is under way.
func (c *Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.busy {
		c.Close()
	}
}

// Report reports an error of this connection.
func (c *Conn) Report(err error) { c.acceptor.tell(c.RemoteAddr(), err) }

// Done says that the connection has ended. It must be called once, last of all.
func (c *Conn) Done() { c.acceptor.forget(c) }
