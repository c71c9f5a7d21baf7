package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	protocol "github.com/emersion/go-milter"

	"gatemilter/policy"
)

// testLimit bounds every wait of a test.
const testLimit = 20 * time.Second

// The packets of an MTA. An argument that is not a string of the protocol is
// spelled out by raw.

func raw(c protocol.Code, data string) []byte { return appendPacket(nil, c, []byte(data)) }

func strs(c protocol.Code, args ...string) []byte {
	return raw(c, strings.Join(args, "\x00")+"\x00")
}

func offer(version, actions, steps uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, version)
	b = binary.BigEndian.AppendUint32(b, actions)
	return raw(protocol.CodeOptNeg, string(binary.BigEndian.AppendUint32(b, steps)))
}

// What Postfix 3.7 and Sendmail 8.17 offer, and an old Sendmail.
var (
	fullOffer = offer(6, 0x1ff, 0x1fffff)
	oldOffer  = offer(2, 0x3f, 0x7f)
)

func macros(stage protocol.Code, pairs ...string) []byte {
	if len(pairs) == 0 {
		return raw(protocol.CodeMacro, string(stage))
	}
	return raw(protocol.CodeMacro, string(stage)+strings.Join(pairs, "\x00")+"\x00")
}

func connect(name string, family byte, port uint16, addr string) []byte {
	b := append([]byte(name), 0, family)
	b = binary.BigEndian.AppendUint16(b, port)
	return raw(protocol.CodeConn, string(b)+addr+"\x00")
}

func helo(name string) []byte         { return strs(protocol.CodeHelo, name) }
func mail(args ...string) []byte      { return strs(protocol.CodeMail, args...) }
func rcpt(args ...string) []byte      { return strs(protocol.CodeRcpt, args...) }
func field(name, value string) []byte { return strs(protocol.CodeHeader, name, value) }
func piece(s string) []byte           { return raw(protocol.CodeBody, s) }
func command(c protocol.Code) []byte  { return raw(c, "") }
func join(packets ...[]byte) (b []byte) {
	for _, p := range packets {
		b = append(b, p...)
	}
	return b
}

var (
	someConnect = connect("client.example", '4', 4711, "192.0.2.2")
	data        = command(protocol.CodeData)
	eoh         = command(protocol.CodeEOH)
	eom         = command(protocol.CodeEOB)
	abort       = command(protocol.CodeAbort)
	quit        = command(protocol.CodeQuit)
	quitNewConn = command(protocol.CodeQuitNewConn)
	unknown     = strs(codeUnknown, "FOO bar")
	// aMessage is a whole message but for MAIL and RCPT.
	aMessage = join(data, field("Subject", "hello"), eoh, piece("text\r\n"), eom)
)

// show writes a packet of ours in a form that reads well: the command, and its
// arguments in quotes.
func show(c protocol.Code, data []byte) string {
	var b strings.Builder
	b.WriteByte(byte(c))
	switch {
	case c == protocol.CodeOptNeg && len(data) >= offerSize:
		fmt.Fprintf(&b, " %d %#x %#x", binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:]))
		return b.String()
	case c == protocol.Code(protocol.ActChangeHeader) || c == protocol.Code(protocol.ActInsertHeader):
		fmt.Fprintf(&b, " %d", binary.BigEndian.Uint32(data))
		data = data[4:]
	}
	if len(data) > 0 {
		for _, s := range strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00") {
			fmt.Fprintf(&b, " %q", s)
		}
	}
	return b.String()
}

// readPacket reads one packet of ours.
func readPacket(r io.Reader) (protocol.Code, []byte, error) {
	var head [lengthSize + commandSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > 1<<20 {
		return 0, nil, fmt.Errorf("reply of %d octets", n)
	}
	data := make([]byte, n-commandSize)
	_, err := io.ReadFull(r, data)
	return protocol.Code(head[lengthSize]), data, err
}

// readAll reads packets to the end of the connection.
func readAll(t testing.TB, r io.Reader) (replies []string) {
	t.Helper()
	for {
		c, data, err := readPacket(r)
		switch {
		case err == nil:
			replies = append(replies, show(c, data))
		case err == io.EOF, errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrClosedPipe):
			return replies
		default:
			t.Fatalf("reading replies: %v", err)
		}
	}
}

// A diary is a Session that writes down what it is told, and answers as it is
// told to.
type diary struct {
	mu    sync.Mutex
	calls []string

	mail, rcpt func(Envelope) policy.Reply
	outcome    func(context.Context) Outcome
	skipBody   bool
	// panicIn names the call that panics, each time.
	panicIn string
	macros  *Macros
	// watch are macros whose values are written down with each call.
	watch []string
}

func (d *diary) note(call, format string, args ...any) {
	d.mu.Lock()
	line := strings.TrimSpace(call + " " + fmt.Sprintf(format, args...))
	for _, name := range d.watch {
		line += fmt.Sprintf(" %s=%q", name, d.macros.Get(name))
	}
	d.calls = append(d.calls, line)
	d.mu.Unlock()
	if call == d.panicIn {
		panic("told to")
	}
}

// take returns what was written since the last time.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

func (d *diary) Connect(p Peer, m *Macros) {
	d.macros = m
	d.note("Connect", "%s %s%s", p.Name, p.Addr, p.Path)
}
func (d *diary) Helo(name string) { d.note("Helo", "%s", name) }
func (d *diary) Mail(e Envelope) policy.Reply {
	d.note("Mail", "%s %s", e.Raw, strings.Join(e.Args, " "))
	if d.mail == nil {
		return policy.Reply{}
	}
	return d.mail(e)
}
func (d *diary) Rcpt(e Envelope) policy.Reply {
	d.note("Rcpt", "%s %s", e.Raw, strings.Join(e.Args, " "))
	if d.rcpt == nil {
		return policy.Reply{}
	}
	return d.rcpt(e)
}
func (d *diary) Header(name, value string) { d.note("Header", "%s: %.40s", name, value) }
func (d *diary) Overflow(r policy.Reply) policy.Reply {
	d.note("Overflow", "%d", r.Code)
	return r
}
func (d *diary) EndOfHeader() bool { d.note("EndOfHeader", ""); return !d.skipBody }
func (d *diary) Body(p []byte)     { d.note("Body", "%.40s", p) }
func (d *diary) EndOfMessage(ctx context.Context) Outcome {
	d.note("EndOfMessage", "")
	if d.outcome == nil {
		return Outcome{}
	}
	return d.outcome(ctx)
}
func (d *diary) Done(r policy.Reply, why error) {
	if why == nil {
		d.note("Done", "")
		return
	}
	d.note("Done", "%d: %v", r.Code, why)
}
func (d *diary) Abort() { d.note("Abort", "") }
func (d *diary) Close() { d.note("Close", "") }

// A bench is a server under test, on a unix socket.
type rig struct {
	*Server
	t    testing.TB
	path string

	mu      sync.Mutex
	reports []string
}

// newRig starts a server, whose sessions are all the same one.
func newRig(t testing.TB, session Session, change ...func(*Server)) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "s")}
	r.Server = &Server{NewSession: func() Session { return session }, Report: r.report}
	for _, f := range change {
		f(r.Server)
	}
	ln, err := net.Listen("unix", r.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(ln) }()
	t.Cleanup(func() {
		r.stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *rig) report(_ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, err.Error())
}

// stop shuts the server down and returns what it reported.
func (r *rig) stop() []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		r.t.Errorf("Shutdown: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testLimit))
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// send writes octets in pieces of a size, and returns the replies up to the end
// of the connection. The MTA closes its side when half is set.
func (r *rig) send(octets []byte, size int) []string {
	r.t.Helper()
	conn := r.dial()
	go func() {
		for len(octets) > 0 {
			n := min(size, len(octets))
			if _, err := conn.Write(octets[:n]); err != nil {
				return
			}
			octets = octets[n:]
		}
		conn.(*net.UnixConn).CloseWrite()
	}()
	return readAll(r.t, conn)
}

// talk runs one connection, the packets all at once, and returns the replies,
// the calls and the reports.
func talk(t testing.TB, d *diary, packets ...[]byte) (replies, calls, reports []string) {
	t.Helper()
	r := newRig(t, d)
	replies = r.send(join(packets...), 1<<20)
	reports = r.stop()
	return replies, d.take(), reports
}

// same compares lists line by line.
func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
	}
}
