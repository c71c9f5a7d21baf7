package lookup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testTables are tables of every kind of answer. Their names say what they do.
var testTables = map[string]Table{
	"route": {Lookup: func(_ context.Context, _ Peer, key string) Answer {
		if key == "alice@example.com" {
			return OK("gatemilter:[relay.example]:587")
		}
		return NotFound()
	}},
	"echo":  {Lookup: func(_ context.Context, _ Peer, key string) Answer { return OK(key) }},
	"temp":  {Lookup: func(_ context.Context, _ Peer, key string) Answer { return Temp(key) }},
	"zero":  {Lookup: func(context.Context, Peer, string) Answer { return Answer{} }},
	"panic": {Lookup: func(_ context.Context, _ Peer, key string) Answer { panic("key " + key) }},
	"xs": {Lookup: func(_ context.Context, _ Peer, key string) Answer {
		n, _ := strconv.Atoi(key)
		return OK(strings.Repeat("x", n))
	}},
}

// netstring frames a request or a reply.
func netstring(s string) string { return fmt.Sprintf("%d:%s,", len(s), s) }

func request(s string) []byte { return []byte(netstring(s)) }

// A scripted connection reads what an MTA sends, in pieces of a size, and keeps
// what it is sent.
type scripted struct {
	net.Conn
	in     io.Reader
	size   int
	out    bytes.Buffer
	writes int
}

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p[:min(len(p), s.size)]) }
func (s *scripted) Write(p []byte) (int, error)      { s.writes++; return s.out.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// A talk is what a server sent and reported.
type talk struct {
	replies string
	writes  int
	reports []string
}

// play lets a server with the test tables talk to a scripted MTA.
func play(octets []byte, size int) talk {
	var reports []string
	s := &Server{Tables: testTables, Report: func(_ string, err error) { reports = append(reports, err.Error()) }}
	s.init()
	conn := &scripted{in: bytes.NewReader(octets), size: size}
	newConn(s.conns.NewConn(conn), s).run()
	return talk{conn.out.String(), conn.writes, reports}
}

// Every request has its reply and every fault its error, however the octets
// arrive.
func TestProtocol(t *testing.T) {
	const (
		alice   = "23:route alice@example.com,"
		aliceOK = "33:OK gatemilter:[relay.example]:587,"
		known   = `; correct the mail server's configuration, the tables are ["echo" "panic" "route" "temp" "xs" "zero"]`
	)
	for name, c := range map[string]struct {
		sent, replies string
		reports       []string
	}{
		"nothing":                   {"", "", nil},
		"found":                     {alice, aliceOK, nil},
		"not found":                 {netstring("route bob@example.com"), "9:NOTFOUND ,", nil},
		"empty key":                 {"6:route ,", "9:NOTFOUND ,", nil},
		"in order":                  {alice + "6:route ," + alice, aliceOK + "9:NOTFOUND ," + aliceOK, nil},
		"blanks and quotes in keys": {netstring(`echo "a b"@c.example  `), netstring(`OK "a b"@c.example  `), nil},
		"a key like a netstring":    {netstring("echo 3:a,b,"), netstring("OK 3:a,b,"), nil},
		"8-bit keys":                {netstring("echo j\xc3\xbc@x"), netstring("OK j\xc3\xbc@x"), nil},
		"a value that is not UTF-8": {netstring("echo j\xfc@x"), netstring("TEMP bad value"), []string{`table "echo": value is not UTF-8, and Postfix logs such values; leave it out`}},
		"NUL in a key":              {netstring("route a\x00b"), "9:NOTFOUND ,", nil},
		"longest request":           {netstring("echo " + strings.Repeat("k", maxRequest-5)), netstring("OK " + strings.Repeat("k", maxRequest-5)), nil},
		"longest value":             {netstring("xs 99997"), netstring("OK " + strings.Repeat("x", 99997)), nil},

		"a reason":           {netstring("temp come back"), netstring("TEMP come back"), nil},
		"no reason":          {netstring("temp "), netstring("TEMP no reason given"), nil},
		"a reason's octets":  {netstring("temp a\nb\x00\x7f\xc3\xbc~"), netstring("TEMP a?b????~"), nil},
		"a reason's length":  {netstring("temp " + strings.Repeat("r", 201)), netstring("TEMP " + strings.Repeat("r", 200)), nil},
		"the zero answer":    {netstring("zero x"), netstring("TEMP no reason given"), nil},
		"an unknown table":   {netstring("Route x") + alice, netstring("TEMP unknown table") + aliceOK, []string{`table "Route" is unknown` + known}},
		"a panic":            {netstring("panic x") + alice, netstring("TEMP internal error") + aliceOK, []string{`panic in table "panic": key x`}},
		"an empty value":     {netstring("xs 0"), netstring("TEMP bad value"), []string{`table "xs": value is empty; answer NotFound or Temp`}},
		"a blank value":      {netstring("echo  \t"), netstring("TEMP bad value"), []string{`table "echo": value is empty; answer NotFound or Temp`}},
		"NUL in a value":     {netstring("echo secret\x00"), netstring("TEMP bad value"), []string{`table "echo": value has '\x00' in it; leave it out`}},
		"a line end":         {netstring("echo secret\n"), netstring("TEMP bad value"), []string{`table "echo": value has '\n' in it; leave it out`}},
		"too long a value":   {netstring("xs 99998"), netstring("TEMP bad value"), []string{`table "xs": value of 99998 octets, limit 99997; shorten it`}},
		"no length":          {alice + ":route x,", aliceOK, []string{`octet ':' in a request's length, which is digits and a colon`}},
		"no digit":           {alice + "2a", aliceOK, []string{`octet 'a' in a request's length, which is digits and a colon`}},
		"a sign":             {"+7:route x,", "", []string{`octet '+' in a request's length, which is digits and a colon`}},
		"a blank":            {" 7:route x,", "", []string{`octet ' ' in a request's length, which is digits and a colon`}},
		"a line instead":     {"get alice\n", "", []string{`octet 'g' in a request's length, which is digits and a colon`}},
		"a leading zero":     {"07:route x,", "", []string{"request's length has a leading zero"}},
		"zeros":              {"00:,", "", []string{"request's length has a leading zero"}},
		"too long":           {"8193", "", []string{"request is longer than the limit of 8192 octets"}},
		"far too long":       {"99999999999999999999999999", "", []string{"request is longer than the limit of 8192 octets"}},
		"no comma":           {alice + "7:route x;" + alice, aliceOK, []string{`request of 7 octets is followed by ';', not by a comma`}},
		"length too small":   {"6:route x,", "", []string{`request of 6 octets is followed by 'x', not by a comma`}},
		"no blank":           {"5:route,", "", []string{`request "route" is not a table's name, a blank and a key`}},
		"no name":            {"2: x,", "", []string{`request " x" is not a table's name, a blank and a key`}},
		"an empty request":   {"0:,", "", []string{`request "" is not a table's name, a blank and a key`}},
		"a foreign protocol": {netstring("\x16\x03\x01\r\n"), "", []string{`request "\x16\x03\x01\r\n" is not a table's name, a blank and a key`}},
		"half a length":      {alice + "2", aliceOK, []string{"connection was closed within a request"}},
		"half a request":     {alice + alice[:11], aliceOK, []string{"connection was closed within a request"}},
		"all but the comma":  {alice[:len(alice)-1], "", []string{"connection was closed within a request"}},
	} {
		for _, size := range []int{1, 3, 7, 1 << 20} {
			got := play([]byte(c.sent), size)
			if got.replies != c.replies || !slices.Equal(got.reports, c.reports) {
				t.Errorf("%s, in pieces of %d: replies %.200q, reports %q\nwant %.200q, %q", name, size, got.replies, got.reports, c.replies, c.reports)
			}
		}
	}
}

// Replies to requests that have arrived together go out together, but not all
// of any number of them.
func TestRepliesAreCoalesced(t *testing.T) {
	if got := play(bytes.Repeat(request("zero x"), 100), 1<<20); got.writes != 1 {
		t.Errorf("%d writes for 100 requests, want 1", got.writes)
	}
	if got := play(bytes.Repeat(request("xs 50000"), 4), 1<<20); got.writes != 2 {
		t.Errorf("%d writes for 200,000 octets, want 2", got.writes)
	}
}

// A connection at rest does not keep the room that long replies took.
func TestRestingConnectionIsSmall(t *testing.T) {
	s := &Server{Tables: testTables}
	s.init()
	c := newConn(s.conns.NewConn(&scripted{in: bytes.NewReader(request("xs 50000")), size: 1 << 20}), s)
	c.run()
	if cap(c.out) > requestSize {
		t.Errorf("%d octets are kept, want %d at most", cap(c.out), requestSize)
	}
}

// A lookup allocates the key, and nothing else.
func TestAllocations(t *testing.T) {
	s := &Server{Tables: testTables}
	s.init()
	c := newConn(s.conns.NewConn(endless(request("route alice@example.com"))), s)
	if n := testing.AllocsPerRun(1000, func() { c.step() }); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}
