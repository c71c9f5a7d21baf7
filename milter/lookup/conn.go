package lookup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"gatemilter/milter/accept"
)

// A conn is the connection of one MTA process. All that it does, a goroutine of
// its own does.
type conn struct {
	*accept.Conn
	server *Server
	peer   Peer
	in     *bufio.Reader
	// out are the replies to be sent.
	out accept.Outbox
	// waiting is since when the rest of a request has been waited for.
	waiting time.Time
}

func newConn(c *accept.Conn, s *Server) *conn {
	n := &conn{Conn: c, server: s}
	n.in = bufio.NewReaderSize(n, requestSize)
	return n
}

// run answers until the connection ends.
func (c *conn) run() {
	defer c.Done()
	c.peer = peerOf(c.Conn.Conn)
	var err error
	for err == nil {
		err = c.step()
	}
	if err != io.EOF {
		// What came before a fault has its replies.
		err = errors.Join(err, c.flush())
		if !c.Draining() {
			c.Report(err)
		}
	}
	c.Close()
}

// step answers one request.
func (c *conn) step() error {
	name, key, size, err := peekRequest(c.in)
	if err != nil {
		return err
	}
	c.waiting = time.Time{}
	r := c.server.answer(c.peer, name, key)
	if r.err != nil {
		c.Report(r.err)
	}
	c.out = appendReply(c.out, r.Answer)
	if _, err := c.in.Discard(size); err != nil || !c.out.Full() {
		return err
	}
	return c.flush()
}

// Read gives the reader of requests what comes next. Before it blocks, it sends
// what is to be sent.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	if !c.SetBusy(false) {
		return 0, io.EOF
	}
	if err := c.SetReadDeadline(c.deadline()); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.late()
	}
	if !c.SetBusy(true) {
		return 0, io.EOF
	}
	return n, err
}

// inRequest says whether a request has arrived in part.
func (c *conn) inRequest() bool { return c.in.Buffered() > 0 }

// deadline returns the time by which the next octets have to be there.
func (c *conn) deadline() time.Time {
	now := time.Now()
	if !c.inRequest() {
		return now.Add(c.server.timeouts.Idle)
	}
	if c.waiting.IsZero() {
		c.waiting = now
	}
	return c.waiting.Add(c.server.timeouts.Request)
}

// late says for what the deadline was. At rest, a connection just ends.
func (c *conn) late() error {
	if c.inRequest() {
		return fmt.Errorf("request still incomplete after %v", c.server.timeouts.Request)
	}
	return io.EOF
}

// flush sends the replies that wait.
func (c *conn) flush() error { return c.out.Send(c.Conn, c.server.timeouts.Write) }
