package lab

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"time"
)

const (
	// maxSinkLine is what a line of AUTH may have (RFC 4954 section 4), far more than any other.
	maxSinkLine = 12288
	// noMail stands for the message of a connection that none was begun on.
	noMail = -1
)

// A sinkConn is one connection to a sink.
type sinkConn struct {
	*Sink
	conn     net.Conn
	r        *bufio.Reader
	secure   bool
	loggedIn bool
	login    string // user name, "" too if an Answer accepted a login that names none
	current  int    // in taken, or noMail
}

func (s *Sink) serve(conn net.Conn) {
	c := &sinkConn{Sink: s, current: noMail}
	c.use(conn)
	conn.SetDeadline(time.Now().Add(ioLimit))
	if s.config.Implicit && !c.startTLS() {
		return
	}
	line := "" // stands for the greeting
	for c.command(line) {
		var err error
		if line, err = readLine(c.r); err != nil {
			return
		}
	}
}

func (c *sinkConn) use(conn net.Conn) { c.conn, c.r = conn, bufio.NewReaderSize(conn, maxSinkLine) }

// command answers a line, and does what is agreed. It says whether the session goes on.
func (c *sinkConn) command(line string) bool {
	verb, argument, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if verb == "AUTH" {
		return c.auth(line)
	}
	reply := c.choose(verb, line)
	agreed := reply[0] == '2' || reply[0] == '3'
	switch {
	case verb == "MAIL" && (agreed || !c.lacksLogin()): // remembered even if a test refuses it
		c.begin(argument)
	case verb == "RCPT" && agreed:
		c.change(func(t *Taken) { t.To = append(t.To, inBrackets(argument)) })
	}
	switch {
	case !c.say(reply) || verb == "QUIT":
		return false
	case verb == "STARTTLS" && agreed:
		return c.startTLS()
	case verb == "DATA" && agreed:
		return c.data()
	}
	return true
}

// say sends a reply. It says whether the session goes on.
func (c *sinkConn) say(reply string) bool {
	_, err := c.conn.Write([]byte(reply + "\r\n"))
	return err == nil && !strings.HasPrefix(reply, "421")
}

// begin remembers a new message.
func (c *sinkConn) begin(argument string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = len(c.taken)
	c.taken = append(c.taken, Taken{From: inBrackets(argument), TLS: c.secure, Login: c.login})
}

// change changes the current message. There is none where an Answer agreed to RCPT or DATA before MAIL.
func (c *sinkConn) change(f func(*Taken)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != noMail {
		f(&c.taken[c.current])
	}
}

// startTLS shakes hands, and forgets who the client was before (RFC 3207 section 4.2).
func (c *sinkConn) startTLS() bool {
	if c.tls == nil { // an Answer agreed to what can't be done
		return false
	}
	secure := tls.Server(c.conn, c.tls)
	if secure.Handshake() != nil {
		return false
	}
	c.use(secure)
	c.secure, c.loggedIn, c.login = true, false, ""
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
	return c.say(reply)
}

// inBrackets is the path in FROM:<path> or TO:<path>.
func inBrackets(argument string) string {
	// Of all parameters only this has brackets, too: no author is vouched for (RFC 4954 section 5).
	argument = strings.Replace(argument, " AUTH=<>", "", 1)
	_, path, _ := strings.Cut(argument, "<")
	return path[:max(0, strings.LastIndexByte(path, '>'))]
}
