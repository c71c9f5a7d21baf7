package milter

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatemilter/milter/accept/accepttest"
	"gatemilter/policy"
)

// What is known to go wrong in the library's server must not happen behind the
// guard. The numbers are those of our list of its defects.

// Packets that break the protocol end the connection, with a reason.
func TestDefect01MalformedPackets(t *testing.T) {
	agreed := join(fullOffer)
	session := join(fullOffer, someConnect)
	message := join(session, mail("<a>"), rcpt("<b>"))
	for name, c := range map[string]struct {
		octets []byte
		want   string
	}{
		"length 0":                {join(agreed, []byte{0, 0, 0, 0}, quit), "packet without a command"},
		"length 0 at the start":   {[]byte{0, 0, 0, 0, 0}, "packet without a command"},
		"CONNECT empty":           {join(agreed, raw('C', "")), `command 'C': string "" does not end in NUL`},
		"CONNECT without NUL":     {join(agreed, raw('C', "x")), `command 'C': string "x" does not end in NUL`},
		"CONNECT without family":  {join(agreed, raw('C', "x\x00")), "command 'C': address family is missing"},
		"CONNECT without port":    {join(agreed, raw('C', "x\x004\x00")), "command 'C': port is missing"},
		"CONNECT with no address": {join(agreed, raw('C', "x\x004\x00\x19")), `command 'C': string "" does not end in NUL`},
		"CONNECT of a new family": {join(agreed, raw('C', "x\x009\x00\x19::1\x00")), "command 'C': unknown address family '9'"},
		"CONNECT, bad address":    {join(agreed, connect("x", '4', 25, "192.0.2.300")), `command 'C': client address "192.0.2.300": not an IP address`},
		"CONNECT, IPv4 as IPv6":   {join(agreed, connect("x", '6', 25, "192.0.2.3")), `command 'C': client address "192.0.2.3" is not of the family that goes with it`},
		"CONNECT, more":           {join(agreed, connect("x", '4', 25, "192.0.2.3\x00more")), "command 'C': more than one string"},
		"HELO without NUL":        {join(session, raw('H', "x")), `command 'H': string "x" does not end in NUL`},
		"HELO with NUL":           {join(session, helo("x\x00y")), "command 'H': more than one string"},
		"MAIL empty":              {join(session, raw('M', "")), `command 'M': string "" does not end in NUL`},
		"MAIL without NUL":        {join(session, raw('M', "<a>")), `command 'M': string "<a>" does not end in NUL`},
		"RCPT, open parameter":    {join(session, mail("<a>"), raw('R', "<b>\x00NOTIFY")), `command 'R': string "NOTIFY" does not end in NUL`},
		"RCPT, 101 parameters":    {join(session, mail("<a>"), rcpt("<b>", strings.Repeat("\x00", 100))), "command 'R': more than 100 parameters"},
		"MACRO empty":             {join(agreed, raw('D', "")), "command 'D': macros without a stage"},
		"MACRO, odd":              {join(agreed, macros('C', "i")), "command 'D': macros that are not pairs of name and value"},
		"MACRO without NUL":       {join(agreed, raw('D', "Ci\x001")), "command 'D': macros that are not pairs of name and value"},
		"MACRO, too many":         {join(agreed, macros('C', make([]string, 2*maxMacros+2)...)), "command 'D': 129 macros for one stage, limit 128"},
		"HEADER empty":            {join(message, raw('L', "")), "command 'L': header field that is not two strings"},
		"no packet":               {[]byte("GET / HTTP/1.1\r\n\r\n"), "unknown command '/'"},
		"SMTP":                    {join(agreed, []byte("EHLO there\r\n")), "unknown command ' '"},
		"unknown command":         {join(agreed, raw('Z', "")), "unknown command 'Z'"},
		"control character":       {join(agreed, raw('\n', "")), `unknown command '\n'`},
		"end within a packet":     {join(session, []byte{0, 0, 0, 9, 'H', 'x'}), "connection closed within a packet"},
		"end within a length":     {join(agreed, []byte{0, 0}), "connection closed within a packet"},
		"end within a body":       {join(message, eoh, []byte{0, 0, 0, 9, 'B', 'x'}), "connection closed within a packet"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, &diary{})
			r.send(c.octets, 1<<20)
			same(t, "reports", r.stop(), c.want)
		})
	}
}

// A claimed length costs nothing before the octets are there.
func TestDefect02ClaimedLength(t *testing.T) {
	for claim, want := range map[uint32]string{
		0x40000000:     "packet of 1073741824 octets for command 'L', limit 1048576",
		maxField + 1:   "packet of 1048577 octets for command 'L', limit 1048576",
		0xffffffff:     "packet of 4294967295 octets for command 'L', limit 1048576",
		maxField:       "connection closed within a packet",
		maxCommand + 5: "connection closed within a packet",
	} {
		r := newRig(t, &diary{})
		head := []byte{byte(claim >> 24), byte(claim >> 16), byte(claim >> 8), byte(claim), 'L'}
		octets := join(fullOffer, someConnect, mail("<a>"), head, []byte(strings.Repeat("x", 100)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.send(octets, 1<<20)
		same(t, "reports", r.stop(), want)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
			t.Errorf("%d octets claimed: %d allocated", claim, n)
		}
	}
}

// A panic in a call is answered with a temporary failure, at the next command
// that can be refused, and the connection lives. The message is lost with it,
// the session only if the panic was outside of a message.
func TestDefect03PanicInCallback(t *testing.T) {
	for call, c := range map[string]struct {
		// replies to MAIL, RCPT, RCPT, DATA, BODY, end of message, and to
		// another MAIL; E is the temporary failure.
		replies string
		calls   string
	}{
		"Connect":      {"E E", "Connect"},
		"Helo":         {"E E", "Connect Helo"},
		"Mail":         {"E E", "Connect Helo Mail Mail"},
		"Rcpt":         {"c E E c s E c", "Connect Helo Mail Rcpt Done Mail Abort"},
		"Header":       {"c c c c s E c", "Connect Helo Mail Rcpt Rcpt Header Done Mail Abort"},
		"EndOfHeader":  {"c c c c s E c", "Connect Helo Mail Rcpt Rcpt Header EndOfHeader Done Mail Abort"},
		"Body":         {"c c c c s E c", "Connect Helo Mail Rcpt Rcpt Header EndOfHeader Body Done Mail Abort"},
		"EndOfMessage": {"c c c c c E c", "Connect Helo Mail Rcpt Rcpt Header EndOfHeader Body EndOfMessage Done Mail Abort"},
		"Done":         {"c c c c c c E", "Connect Helo Mail Rcpt Rcpt Header EndOfHeader Body EndOfMessage Done"},
	} {
		t.Run(call, func(t *testing.T) {
			packets := [][]byte{fullOffer, someConnect, helo("h"), mail("<a>")}
			if c.replies != "E E" {
				packets = append(packets, rcpt("<b>"), rcpt("<c>"), aMessage, abort)
			}
			replies, calls, reports := talk(t, &diary{panicIn: call}, append(packets, mail("<a>"), abort, quit)...)
			got := strings.ReplaceAll(strings.Join(replies[1:], " "), fault, "E")
			if got != c.replies {
				t.Errorf("replies: %s\nwant:    %s", got, c.replies)
			}
			if got, want := names(calls), c.calls+" Close"; got != want {
				t.Errorf("calls: %s\nwant:  %s", got, want)
			}
			if len(reports) == 0 || reports[0] != "panic in "+call+": told to" {
				t.Errorf("reports: %q", reports)
			}
		})
	}
}

// names are the calls without their arguments.
func names(calls []string) string {
	var b []string
	for _, c := range calls {
		name, _, _ := strings.Cut(c, " ")
		b = append(b, name)
	}
	return strings.Join(b, " ")
}

// A panic outside of a message spoils the session, but not the next one on the
// connection.
func TestDefect03PanicInAbortAndClose(t *testing.T) {
	replies, calls, reports := talk(t, &diary{panicIn: "Abort"}, fullOffer, someConnect,
		mail("<a>"), abort, mail("<b>"), mail("<b>"),
		quitNewConn, someConnect, mail("<c>"), quit)
	same(t, "replies", replies, fullAnswer, "c", fault, fault, "c")
	if got, want := names(calls), "Connect Mail Abort Close Connect Mail Abort Close"; got != want {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
	same(t, "reports", reports, "panic in Abort: told to", "panic in Abort: told to")

	_, _, reports = talk(t, &diary{panicIn: "Close"}, fullOffer, someConnect, quit)
	same(t, "reports", reports, "panic in Close: told to")
}

func TestDefect03PanicInNewSession(t *testing.T) {
	r := newRig(t, nil, func(s *Server) { s.NewSession = func() Session { panic("none left") } })
	same(t, "replies", r.send(join(fullOffer, someConnect, helo("h"), mail("<a>"), abort, quit), 1<<20), fullAnswer, fault)
	same(t, "reports", r.stop(), "panic in NewSession: none left")
}

// A pipe server runs in a bubble of synctest, where time passes when all wait.
func pipeServer(d *diary, s *Server) (mta net.Conn, end func()) {
	ours, mta := net.Pipe()
	ln := make(accepttest.Listener, 1)
	ln <- ours
	s.NewSession = func() Session { return d }
	go s.Serve(ln)
	return mta, func() {
		synctest.Wait() // a pipe that is closed fails otherwise than a socket, unless it is being read
		mta.Close()
		s.Shutdown(context.Background())
	}
}

// Whoever is too slow is not waited for.
func TestDefect04Deadlines(t *testing.T) {
	whole := join(fullOffer, someConnect)
	for name, c := range map[string]struct {
		sent  []byte
		drip  []byte // an octet each 10 s
		after time.Duration
		want  string
	}{
		"silent from the start": {nil, nil, 10 * time.Second, "no option negotiation within 10s"},
		"half an offer":         {fullOffer[:9], nil, 10 * time.Second, "no option negotiation within 10s"},
		"half a packet":         {append(whole, mail("<a>")[:7]...), nil, 30 * time.Second, "packet still incomplete after 30s"},
		"half a length":         {append(whole, 0, 0), nil, 30 * time.Second, "packet still incomplete after 30s"},
		"dripping packet":       {whole, mail("<a>"), 40 * time.Second, "packet still incomplete after 30s"},
		"dripping body":         {join(whole, mail("<a>"), eoh, piece("0123456789")[:6]), []byte("123456789"), 30 * time.Second, "packet still incomplete after 30s"},
		"idle":                  {whole, nil, 2 * time.Hour, "no packet for 2h0m0s"},
		"idle in a message":     {join(whole, mail("<a>")), nil, 2 * time.Hour, "no packet for 2h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var reports []string
				s := &Server{Report: func(_ string, err error) { reports = append(reports, err.Error()) }}
				start := time.Now()
				mta, end := pipeServer(&diary{}, s)
				sent := make(chan bool)
				go func() {
					defer close(sent)
					mta.Write(c.sent)
					for _, b := range c.drip {
						time.Sleep(10 * time.Second)
						if _, err := mta.Write([]byte{b}); err != nil {
							return
						}
					}
				}()
				readAll(t, mta)
				if took := time.Since(start); took != c.after {
					t.Errorf("closed after %v, want %v", took, c.after)
				}
				end()
				<-sent
				same(t, "reports", reports, c.want)
			})
		})
	}
}

// The time for a packet begins anew with each, and a pause between packets does
// not count.
func TestDefect04SlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mta, end := pipeServer(&diary{}, &Server{Report: func(_ string, err error) { t.Error(err) }})
		if got := replyTo(t, mta, fullOffer); got != fullAnswer {
			t.Errorf("offer: %q", got)
		}
		mta.Write(someConnect)
		slowly := func(p []byte) {
			mta.Write(p[:6])
			time.Sleep(20 * time.Second)
			mta.Write(p[6 : len(p)-1])
			time.Sleep(5 * time.Second)
			if got := replyTo(t, mta, p[len(p)-1:]); got != "c" {
				t.Errorf("%q: %q", p, got)
			}
			time.Sleep(time.Hour)
		}
		slowly(mail("<a@lab.test>"))
		slowly(rcpt("<b@lab.test>"))
		mta.Write(eoh)
		slowly(piece("0123456789"))
		slowly(piece("0123456789"))
		end()
	})
}

// An empty piece of a body is a packet like others.
func TestDefect04EmptyPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mta, end := pipeServer(&diary{}, &Server{Report: func(_ string, err error) { t.Error(err) }})
		replyTo(t, mta, fullOffer)
		same(t, "MAIL, RCPT", []string{replyTo(t, mta, someConnect, mail("<a>")), replyTo(t, mta, rcpt("<b>"))}, "c", "c")
		mta.Write(eoh)
		for _, p := range [][]byte{piece(""), piece("x")} {
			mta.Write(p[:2])
			time.Sleep(time.Second)
			if got := replyTo(t, mta, p[2:]); got != "c" {
				t.Errorf("%q: %q", p, got)
			}
			time.Sleep(time.Minute)
		}
		end()
	})
}

// An MTA that does not read is not waited for either.
func TestDefect04WriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports []string
		start := time.Now()
		mta, end := pipeServer(&diary{}, &Server{Report: func(_ string, err error) {
			reports = append(reports, fmt.Sprintf("%v: %v", time.Since(start), err))
		}})
		mta.Write(fullOffer)
		time.Sleep(time.Minute)
		end()
		synctest.Wait()
		same(t, "reports", reports, "30s: reply could not be sent: write pipe: i/o timeout")
	})
}

// The session of a connection stays, whatever it answers: TestPostfixDialect
// has refused recipients, here all replies that end a message.
func TestDefect05SessionIsKept(t *testing.T) {
	sessions := 0
	d := &diary{}
	r := newRig(t, nil, func(s *Server) { s.NewSession = func() Session { sessions++; return d } })
	outcomes := []Outcome{{Action: policy.Discard}, {Action: policy.Reject, Reply: refused}, {Action: policy.TempFail, Reply: filterFault}, {}}
	d.outcome = func(context.Context) Outcome {
		o := outcomes[0]
		outcomes = outcomes[1:]
		return o
	}
	message := join(mail("<a>"), rcpt("<b>"), eoh, eom)
	replies := r.send(join(fullOffer, someConnect, helo("h"), message, message, message, message, quit), 1<<20)
	r.stop()
	same(t, "replies", replies, fullAnswer, "c", "c", "d", "c", "c", `y "550 5.7.1 Not you"`, "c", "c", fault, "c", "c", "c")
	if sessions != 1 {
		t.Errorf("%d sessions", sessions)
	}
	if got, want := names(d.take()), "Connect Helo"+strings.Repeat(" Mail Rcpt EndOfHeader EndOfMessage Done", 4)+" Close"; got != want {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
}

// An offer comes once, at the start, and whole.
func TestDefect08Offers(t *testing.T) {
	for name, c := range map[string]struct {
		packets []byte
		want    string
	}{
		"3 octets":        {raw('O', "\x00\x00\x06"), "command 'O': option negotiation of 3 octets, at least 12 are needed"},
		"version 1":       {offer(1, 0xf, 0x3f), "command 'O': the mail server offers version 1 of the milter protocol, at least 2 is needed: upgrade it, or raise its milter_protocol setting"},
		"too long":        {raw('O', strings.Repeat("x", maxOffer)), "packet of 1025 octets for command 'O', limit 1024"},
		"second":          {join(fullOffer, fullOffer), "command 'O' out of order"},
		"second, later":   {join(fullOffer, someConnect, helo("h"), fullOffer), "command 'O' out of order"},
		"CONNECT first":   {someConnect, "command 'C' out of order"},
		"macros first":    {macros('C', "j", "mx"), "command 'D' out of order"},
		"QUIT first":      {quit, "command 'Q' out of order"},
		"unknown, before": {unknown, "command 'U' out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, calls, reports := talk(t, &diary{}, c.packets)
			same(t, "reports", reports, c.want)
			if len(calls) > 0 && c.packets[4] != 'O' {
				t.Errorf("calls: %q", calls)
			}
		})
	}
}

// Commands that come out of order end the connection.
func TestDefect09Order(t *testing.T) {
	begin := join(fullOffer, someConnect)
	message := join(begin, mail("<a>"))
	for name, c := range map[string]struct {
		packets []byte
		want    string
	}{
		"MAIL before CONNECT":   {join(fullOffer, mail("<a>")), "command 'M' out of order"},
		"HELO before CONNECT":   {join(fullOffer, helo("h")), "command 'H' out of order"},
		"CONNECT twice":         {join(begin, someConnect), "command 'C' out of order"},
		"RCPT before MAIL":      {join(begin, rcpt("<b>")), "command 'R' out of order"},
		"DATA before MAIL":      {join(begin, data), "command 'T' out of order"},
		"HEADER before MAIL":    {join(begin, field("A", "b")), "command 'L' out of order"},
		"EOH before MAIL":       {join(begin, eoh), "command 'N' out of order"},
		"BODY before MAIL":      {join(begin, piece("b")), "command 'B' out of order"},
		"end before MAIL":       {join(begin, eom), "command 'E' out of order"},
		"RCPT after ABORT":      {join(message, abort, rcpt("<b>")), "command 'R' out of order"},
		"RCPT after DATA":       {join(message, data, rcpt("<b>")), "command 'R' out of order"},
		"RCPT after HEADER":     {join(message, field("A", "b"), rcpt("<b>")), "command 'R' out of order"},
		"DATA twice":            {join(message, data, data), "command 'T' out of order"},
		"BODY before EOH":       {join(message, data, piece("b")), "command 'B' out of order"},
		"HEADER after EOH":      {join(message, eoh, field("A", "b")), "command 'L' out of order"},
		"EOH twice":             {join(message, eoh, eoh), "command 'N' out of order"},
		"end twice":             {join(message, eom, eom), "command 'E' out of order"},
		"MAIL after a new HELO": {join(begin, quitNewConn, mail("<a>")), "command 'M' out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, reports := talk(t, &diary{}, c.packets)
			same(t, "reports", reports, c.want)
		})
	}
}

func TestDefect10HeaderShape(t *testing.T) {
	for name, c := range map[string]struct {
		field []byte
		want  string
	}{
		"three strings": {strs('L', "a", "b", "c"), "command 'L': header field that is not two strings"},
		"one string":    {strs('L', "a"), "command 'L': header field that is not two strings"},
		"no NUL":        {raw('L', "a\x00b"), "command 'L': header field that is not two strings"},
		"extra NUL":     {raw('L', "a\x00b\x00\x00"), "command 'L': header field that is not two strings"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, reports := talk(t, &diary{}, fullOffer, someConnect, mail("<a>"), c.field, eom)
			same(t, "reports", reports, c.want)
		})
	}
}

// QUIT_NC starts a new session on the same connection; nothing of the old one
// is left.
func TestDefect11QuitNewConnection(t *testing.T) {
	d := &diary{watch: []string{"{daemon_name}", "{tls_version}"}}
	replies, calls, reports := talk(t, d, fullOffer,
		macros('C', "{daemon_name}", "mx"), someConnect, macros('H', "{tls_version}", "TLSv1.3"), helo("h"), unknown, mail("<a>"),
		quitNewConn, connect("other.example", '4', 25, "192.0.2.9"), unknown, mail("<b>"), quit)
	same(t, "replies", replies, fullAnswer, "c", "c")
	same(t, "calls", calls,
		`Connect client.example 192.0.2.2:4711 {daemon_name}="mx" {tls_version}=""`,
		`Helo h {daemon_name}="mx" {tls_version}="TLSv1.3"`,
		`Mail <a> {daemon_name}="mx" {tls_version}="TLSv1.3"`,
		`Abort {daemon_name}="mx" {tls_version}="TLSv1.3"`,
		`Close {daemon_name}="mx" {tls_version}="TLSv1.3"`,
		`Connect other.example 192.0.2.9:25 {daemon_name}="" {tls_version}=""`,
		`Mail <b> {daemon_name}="" {tls_version}=""`,
		`Abort {daemon_name}="" {tls_version}=""`,
		`Close {daemon_name}="" {tls_version}=""`)
	same(t, "reports", reports)
}

// Brackets come off once; the raw form and the ESMTP parameters are kept.
func TestDefect12And13Envelopes(t *testing.T) {
	for _, c := range []struct {
		data string
		want Envelope
	}{
		{"<a@b>\x00", Envelope{Address: "a@b", Raw: "<a@b>"}},
		{"<<a@b>>\x00", Envelope{Address: "<a@b>", Raw: "<<a@b>>"}},
		{"<>\x00", Envelope{Address: "", Raw: "<>"}},
		{"a@b\x00", Envelope{Address: "a@b", Raw: "a@b"}},
		{"<\x00", Envelope{Address: "<", Raw: "<"}},
		{"<a\x00", Envelope{Address: "<a", Raw: "<a"}},
		{"\x00", Envelope{}},
		{"<a@b>\x00SIZE=1\x00\x00AUTH=<>\x00", Envelope{Address: "a@b", Raw: "<a@b>", Args: []string{"SIZE=1", "", "AUTH=<>"}}},
	} {
		got, err := parseEnvelope([]byte(c.data))
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) || err != nil {
			t.Errorf("%q: %q, %v", c.data, got, err)
		}
	}
}

func TestDefect15Peers(t *testing.T) {
	for _, c := range []struct {
		data, want string
	}{
		{"h\x004\x00\x19192.0.2.1\x00", "h 192.0.2.1:25 "},
		{"h\x006\x00\x192001:db8::1\x00", "h [2001:db8::1]:25 "},
		{"h\x006\x00\x19IPv6:2001:db8::1\x00", "h [2001:db8::1]:25 "},
		{"h\x006\x00\x19ipv6:2001:DB8::1\x00", "h [2001:db8::1]:25 "},
		{"h\x006\x00\x19::ffff:192.0.2.1\x00", "h 192.0.2.1:25 "},
		{"h\x006\x00\x00fe80::1%eth0\x00", "h [fe80::1]:0 "},
		{"h\x00L\x00\x00/run/s\x00", "h invalid AddrPort /run/s"},
		{"h\x00L/run/s\x00", "h invalid AddrPort /run/s"},
		{"localhost\x00U", "localhost invalid AddrPort "},
		{"\x00U\x00", " invalid AddrPort "},
	} {
		p, err := parsePeer([]byte(c.data))
		if got := fmt.Sprintf("%s %v %s", p.Name, p.Addr, p.Path); got != c.want || err != nil {
			t.Errorf("%q: %q, %v, want %q", c.data, got, err, c.want)
		}
	}
}

func TestDefect16EmptyFieldName(t *testing.T) {
	_, _, reports := talk(t, &diary{}, fullOffer, someConnect, mail("<a>"), raw('L', "\x00v\x00"), eom)
	same(t, "reports", reports, "command 'L': header field without a name")
	_, calls, reports := talk(t, &diary{}, fullOffer, someConnect, mail("<a>"), field("Empty", ""), abort, quit)
	same(t, "calls", calls[2:], "Header Empty:", "Abort", "Close")
	same(t, "reports", reports)
}

// Over its limits a message is refused at its end, and the connection goes on.
func TestHeaderLimits(t *testing.T) {
	const tooLarge = `y "552 5.3.4 Message header too large: at most 1048576 octets in 20000 fields"`
	const done = "Done 552: header of more than 20000 fields or 1048576 octets"
	fields := func(n, size int) []byte {
		return []byte(strings.Repeat(string(field("X", strings.Repeat("v", size))), n))
	}
	for name, c := range map[string]struct {
		header []byte
		seen   int
		answer string
	}{
		"10,000 fields":         {fields(10000, 50), 10000, "c"},
		"20,000 fields":         {fields(20000, 10), 20000, "c"},
		"20,001 fields":         {fields(20001, 10), 20000, tooLarge},
		"a field of 100 KiB":    {fields(1, 100<<10), 1, "c"},
		"a field of 1 MiB":      {fields(1, maxField-4), 1, "c"},
		"two fields over 1 MiB": {fields(3, 512<<10-1), 2, tooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			replies, calls, reports := talk(t, &diary{}, fullOffer, someConnect,
				mail("<a>"), rcpt("<b>"), c.header, eoh, piece("text"), eom,
				mail("<c>"), rcpt("<d>"), field("A", "b"), eoh, piece("text"), eom, quit)
			bodyAnswer := map[bool]string{true: "c", false: "s"}[c.answer == "c"]
			same(t, "replies", replies, fullAnswer, "c", "c", bodyAnswer, c.answer, "c", "c", "c", "c")
			if n := strings.Count(strings.Join(calls, "\n"), "Header X:"); n != c.seen {
				t.Errorf("%d fields seen, want %d", n, c.seen)
			}
			end := []string{"EndOfHeader", "Body text", "EndOfMessage", "Done"}
			if c.answer != "c" {
				end = []string{"Overflow 552", done}
			}
			same(t, "end", calls[3+c.seen:], append(end, "Mail <c>", "Rcpt <d>", "Header A: b", "EndOfHeader", "Body text", "EndOfMessage", "Done", "Close")...)
			same(t, "reports", reports)
		})
	}
}

func TestRecipientLimit(t *testing.T) {
	all := strings.Repeat(string(rcpt("<b>")), maxRecipients+2)
	replies, calls, _ := talk(t, &diary{}, fullOffer, someConnect, mail("<a>"), []byte(all), abort, mail("<c>"), rcpt("<d>"), quit)
	const tooMany = `y "452 4.5.3 Too many recipients: at most 10000 for one message"`
	same(t, "replies", replies[1+maxRecipients:], "c", tooMany, tooMany, "c", "c")
	if got, want := names(calls), "Connect Mail"+strings.Repeat(" Rcpt", maxRecipients)+" Overflow Overflow Abort Mail Rcpt Abort Close"; got != want {
		t.Errorf("%d calls", len(calls))
	}
}
