package lab

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ioLimit bounds each command with its reply. A milter may take 30 seconds to answer (milter_command_timeout).
const ioLimit = 40 * time.Second

// A Client is an SMTP client that does what it is told, in any order, and shows each reply as it came. Its methods
// return an error only where the connection or the server's grammar failed; a refusal is a [Reply].
type Client struct {
	Greeting Reply
	conn     net.Conn
	r        *bufio.Reader
}

// Dial connects and reads the greeting.
func Dial(ctx context.Context, addr string) (*Client, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return greet(conn)
}

// DialTLS connects to a service that uses TLS from the start.
func DialTLS(ctx context.Context, addr string, config *tls.Config) (*Client, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return greet(tlsConn)
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(ioLimit)) // until the greeting
}

func greet(conn net.Conn) (*Client, error) {
	c := &Client{}
	c.use(conn)
	var err error
	if c.Greeting, err = readReply(c.r); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greeting: %w", err)
	}
	return c, nil
}

func (c *Client) use(conn net.Conn) { c.conn, c.r = conn, bufio.NewReaderSize(conn, maxReplyLine) }

// Close drops the connection without a word.
func (c *Client) Close() error { return c.conn.Close() }

// Cmd sends one line as it is and reads the reply.
func (c *Client) Cmd(line string) (Reply, error) {
	r, err := c.exchange(line + "\r\n")
	if err != nil {
		return r, fmt.Errorf("%.80q: %w", line, err)
	}
	return r, nil
}

func (c *Client) exchange(text string) (Reply, error) {
	if err := c.conn.SetDeadline(time.Now().Add(ioLimit)); err != nil {
		return Reply{}, err
	}
	if _, err := c.conn.Write([]byte(text)); err != nil {
		return Reply{}, err
	}
	return readReply(c.r)
}

// Ehlo introduces the client, as is needed again after XClient and StartTLS.
func (c *Client) Ehlo(name string) (Reply, error) { return c.Cmd("EHLO " + name) }

// Helo introduces the client the old way.
func (c *Client) Helo(name string) (Reply, error) { return c.Cmd("HELO " + name) }

// Mail gives the envelope sender, without angle brackets, and ESMTP parameters.
func (c *Client) Mail(from string, params ...string) (Reply, error) {
	return c.Cmd(strings.Join(append([]string{"MAIL FROM:<" + from + ">"}, params...), " "))
}

// Rcpt gives an envelope recipient, without angle brackets, and ESMTP parameters.
func (c *Client) Rcpt(to string, params ...string) (Reply, error) {
	return c.Cmd(strings.Join(append([]string{"RCPT TO:<" + to + ">"}, params...), " "))
}

// Reset forgets the current message.
func (c *Client) Reset() (Reply, error) { return c.Cmd("RSET") }

// Data sends DATA, and the message if the server wants it; end is then the reply to the message. Line ends of either
// kind become CRLF, and dots are stuffed; nothing else is changed.
func (c *Client) Data(message string) (data, end Reply, err error) {
	data, err = c.Cmd("DATA")
	if err != nil || data.Code != 354 {
		return data, Reply{}, err
	}
	end, err = c.exchange(stuff(message))
	if err != nil {
		err = fmt.Errorf("message: %w", err)
	}
	return data, end, err
}

// stuff makes message ready for the wire (RFC 5321 section 4.5.2).
func stuff(message string) string {
	var b strings.Builder
	for line := range strings.Lines(message) {
		if line[0] == '.' {
			b.WriteByte('.')
		}
		b.WriteString(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
		b.WriteString("\r\n")
	}
	return b.String() + ".\r\n"
}

// Quit says goodbye and closes the connection.
func (c *Client) Quit() (Reply, error) {
	defer c.conn.Close()
	return c.Cmd("QUIT")
}

// StartTLS sends STARTTLS and, if the server agrees, shakes hands; config is the client's side: trusted roots, server
// name, certificate, versions.
func (c *Client) StartTLS(config *tls.Config) (Reply, error) {
	r, err := c.Cmd("STARTTLS")
	if err != nil || !r.OK() {
		return r, err
	}
	conn := tls.Client(c.conn, config)
	if err := conn.Handshake(); err != nil {
		return r, fmt.Errorf("TLS handshake: %w", err)
	}
	c.use(conn)
	return r, nil
}

// Auth logs in with the mechanism PLAIN, whether or not the server offers it and the connection is encrypted.
func (c *Client) Auth(user, password string) (Reply, error) {
	return c.Cmd("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// An Identity is who the client pretends to be. What is empty Postfix keeps as it was, except that a new Addr without
// Name has no reverse DNS. Name and ReverseName may be "[TEMPUNAVAIL]", too: DNS failed.
type Identity struct {
	Addr        netip.Addr
	Port        uint16
	Name        string // from reverse DNS, and leading back to Addr
	ReverseName string // from reverse DNS, verified or not; empty: as Name
	Helo        string
	Login       string // as if authenticated
}

// XClient takes on an identity (https://www.postfix.org/XCLIENT_README.html). On success the session starts again
// with a greeting, and the client must introduce itself.
func (c *Client) XClient(id Identity) (Reply, error) { return c.Cmd(id.command()) }

func (id Identity) command() string {
	var b strings.Builder
	add := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + "=" + value)
		}
	}
	if id.Addr.IsValid() {
		prefix := ""
		if id.Addr.Is6() {
			prefix = "IPV6:"
		}
		add("ADDR", prefix+id.Addr.String())
		id.Name = cmp.Or(id.Name, "[UNAVAILABLE]")
	}
	if id.Port != 0 {
		add("PORT", strconv.Itoa(int(id.Port)))
	}
	add("NAME", xtext(id.Name))
	add("REVERSE_NAME", xtext(cmp.Or(id.ReverseName, id.Name)))
	add("HELO", xtext(id.Helo))
	add("LOGIN", xtext(id.Login))
	return "XCLIENT" + b.String()
}

// xtext encodes an attribute value (RFC 3461 section 4).
func xtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
