package milter

import (
	"slices"
	"strings"
	"testing"

	"gatemilter/policy"
)

// fullAnswer is what we answer to fullOffer, the list of macros left out.
const fullAnswer = "O 6 0x1fd 0x163580"

var refused = policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Not you"}

// refuse answers for one address.
func refuse(address string) func(Envelope) policy.Reply {
	return func(e Envelope) policy.Reply {
		if e.Address == address {
			return refused
		}
		return policy.Reply{}
	}
}

// Postfix sends ABORT after each message and twice at the end. STARTTLS is
// ABORT and another HELO; refused recipients don't end the message.
func TestPostfixDialect(t *testing.T) {
	replies, calls, reports := talk(t, &diary{rcpt: refuse("no@lab.test")},
		fullOffer,
		macros('C', "j", "mx.lab.test"), someConnect,
		macros('H'), helo("client.example"),
		abort, macros('H', "{tls_version}", "TLSv1.3"), helo("client.example"),
		mail("<a@lab.test>", "SIZE=10", "BODY=8BITMIME"),
		rcpt("<no@lab.test>"), rcpt("<b@lab.test>", "NOTIFY=NEVER"), rcpt("<no@lab.test>"), rcpt("<c@lab.test>"),
		aMessage, abort,
		mail("<>"), rcpt("<c@lab.test>"), abort,
		mail("<d@lab.test>"), rcpt("<e@lab.test>"), aMessage,
		abort, abort, quit)
	same(t, "replies", replies, fullAnswer,
		"c", `y "550 5.7.1 Not you"`, "c", `y "550 5.7.1 Not you"`, "c", "c", "c", "c",
		"c", "c",
		"c", "c", "c", "c", "c")
	same(t, "calls", calls,
		"Connect client.example 192.0.2.2:4711",
		"Helo client.example", "Helo client.example",
		"Mail <a@lab.test> SIZE=10 BODY=8BITMIME",
		"Rcpt <no@lab.test>", "Rcpt <b@lab.test> NOTIFY=NEVER", "Rcpt <no@lab.test>", "Rcpt <c@lab.test>",
		"Header Subject: hello", "EndOfHeader", "Body text", "EndOfMessage", "Done",
		"Mail <>", "Rcpt <c@lab.test>", "Abort",
		"Mail <d@lab.test>", "Rcpt <e@lab.test>",
		"Header Subject: hello", "EndOfHeader", "Body text", "EndOfMessage", "Done",
		"Close")
	same(t, "reports", reports)
}

// Sendmail sends no ABORT between messages, and no DATA to an old filter.
func TestSendmailDialect(t *testing.T) {
	replies, calls, reports := talk(t, &diary{},
		fullOffer,
		connect("client.example", '6', 25, "IPv6:2001:db8::1"), helo("client.example"),
		mail("<a@lab.test>"), rcpt("<b@lab.test>"), field("Subject", "one"), eoh, piece("text"), eom,
		mail("<c@lab.test>"), rcpt("<d@lab.test>"), field("Subject", "two"), eoh, eom,
		quit)
	same(t, "replies", replies, fullAnswer, "c", "c", "c", "c", "c", "c", "c")
	same(t, "calls", calls,
		"Connect client.example [2001:db8::1]:25", "Helo client.example",
		"Mail <a@lab.test>", "Rcpt <b@lab.test>", "Header Subject: one", "EndOfHeader", "Body text", "EndOfMessage", "Done",
		"Mail <c@lab.test>", "Rcpt <d@lab.test>", "Header Subject: two", "EndOfHeader", "EndOfMessage", "Done",
		"Close")
	same(t, "reports", reports)
}

// A message ends by Done or Abort, whatever comes in between.
func TestMessageEnds(t *testing.T) {
	begin := [][]byte{fullOffer, someConnect, helo("h"), mail("<a@lab.test>")}
	for name, c := range map[string]struct {
		packets [][]byte
		calls   string
	}{
		"ABORT after MAIL":    {[][]byte{abort, quit}, "Abort; Close"},
		"ABORT after RCPT":    {[][]byte{rcpt("<r>"), abort, quit}, "Rcpt <r>; Abort; Close"},
		"ABORT after DATA":    {[][]byte{data, abort, quit}, "Abort; Close"},
		"ABORT after header":  {[][]byte{field("A", "b"), abort, quit}, "Header A: b; Abort; Close"},
		"ABORT after EOH":     {[][]byte{eoh, abort, quit}, "EndOfHeader; Abort; Close"},
		"ABORT after body":    {[][]byte{eoh, piece("x"), abort, quit}, "EndOfHeader; Body x; Abort; Close"},
		"ABORT twice":         {[][]byte{abort, abort, quit}, "Abort; Close"},
		"MAIL after MAIL":     {[][]byte{mail("<b>"), quit}, "Abort; Mail <b>; Abort; Close"},
		"HELO after MAIL":     {[][]byte{helo("g"), quit}, "Abort; Helo g; Close"},
		"QUIT after MAIL":     {[][]byte{quit}, "Abort; Close"},
		"QUIT_NC after MAIL":  {[][]byte{quitNewConn, someConnect, quit}, "Abort; Close; Connect client.example 192.0.2.2:4711; Close"},
		"QUIT_NC at the end":  {[][]byte{quitNewConn}, "Abort; Close"},
		"lost after MAIL":     {nil, "Abort; Close"},
		"no EOH":              {[][]byte{eom, quit}, "EndOfHeader; EndOfMessage; Done; Close"},
		"body at the end":     {[][]byte{eoh, raw('E', "tail"), quit}, "EndOfHeader; Body tail; EndOfMessage; Done; Close"},
		"unknown command":     {[][]byte{unknown, rcpt("<r>"), unknown, abort, quit}, "Rcpt <r>; Abort; Close"},
		"empty piece of body": {[][]byte{eoh, piece(""), eom, quit}, "EndOfHeader; EndOfMessage; Done; Close"},
	} {
		t.Run(name, func(t *testing.T) {
			_, calls, reports := talk(t, &diary{}, append(begin[:len(begin):len(begin)], c.packets...)...)
			if got := strings.Join(calls[3:], "; "); got != c.calls {
				t.Errorf("calls: %s\nwant:  %s", got, c.calls)
			}
			same(t, "reports", reports)
		})
	}
}

// A refused MAIL is over at once; the next one is asked about.
func TestRefusedMail(t *testing.T) {
	replies, calls, _ := talk(t, &diary{mail: refuse("no@lab.test")},
		fullOffer, someConnect, mail("<no@lab.test>"), mail("<no@lab.test>"), abort,
		mail("<a@lab.test>"), rcpt("<b@lab.test>"), aMessage, quit)
	same(t, "replies", replies, fullAnswer, `y "550 5.7.1 Not you"`, `y "550 5.7.1 Not you"`, "c", "c", "c", "c", "c")
	same(t, "calls", calls, "Connect client.example 192.0.2.2:4711",
		"Mail <no@lab.test>", "Mail <no@lab.test>",
		"Mail <a@lab.test>", "Rcpt <b@lab.test>",
		"Header Subject: hello", "EndOfHeader", "Body text", "EndOfMessage", "Done", "Close")
}

// What nobody wants is not asked for; an MTA that does not know how to leave it
// out gets its answers.
func TestAnswersByOffer(t *testing.T) {
	message := [][]byte{someConnect, helo("h"), unknown, mail("<a>"), rcpt("<b>"), data,
		field("A", "b"), eoh, piece("one"), piece("two"), eom, quit}
	c := func(n int) []string { return strings.Split(strings.Repeat("c", n), "") }
	for name, x := range map[string]struct {
		offer    []byte
		skipBody bool
		want     []string
	}{
		"all, body wanted":         {fullOffer, false, append([]string{fullAnswer}, c(6)...)},
		"all, body not wanted":     {fullOffer, true, []string{fullAnswer, "c", "c", "c", "s", "s", "c"}},
		"nothing":                  {offer(6, 0, 0), true, append([]string{"O 6 0x0 0x0"}, c(11)...)},
		"version 2":                {oldOffer, true, append([]string{"O 2 0x3d 0x0"}, c(11)...)},
		"no SKIP":                  {offer(6, 0x1ff, 0x1fffff&^0x400), true, append([]string{"O 6 0x1fd 0x1e3180"}, c(4)...)},
		"what we have no name for": {offer(9, 0xffffffff, 0xffffffff), false, append([]string{fullAnswer}, c(6)...)},
	} {
		t.Run(name, func(t *testing.T) {
			replies, _, reports := talk(t, &diary{skipBody: x.skipBody}, append([][]byte{x.offer}, message...)...)
			same(t, "replies", replies, x.want...)
			same(t, "reports", reports)
		})
	}
}

// How the packets arrive makes no difference.
func TestPieces(t *testing.T) {
	octets := join(fullOffer, macros('C', "j", "mx"), someConnect, helo("h"), macros('M', "i", "1"),
		mail("<a@lab.test>"), rcpt("<no@lab.test>"), rcpt("<b@lab.test>"), data,
		field("Subject", strings.Repeat("long ", 5000)), eoh,
		piece(strings.Repeat("0123456789", 6000)), piece("end"), eom, abort, unknown,
		mail("<c@lab.test>"), rcpt("<d@lab.test>"), aMessage, abort, abort, quit)
	outcome := Outcome{Edits: []policy.Edit{{Op: policy.AddField, Name: "X-A", Value: "v"}}}
	var want []string
	for _, size := range []int{len(octets), 1, 3, 7, 1000, 65536} {
		d := &diary{rcpt: refuse("no@lab.test"), outcome: always(outcome)}
		got := newRig(t, d).send(octets, size)
		if want == nil {
			want = got
			same(t, "replies", got, fullAnswer, "c", `y "550 5.7.1 Not you"`, "c", "c", "c", "c", `h "X-A" " v"`, "c",
				"c", "c", "c", "c", `h "X-A" " v"`, "c")
		}
		same(t, "replies in pieces", got, want...)
	}
}

// Signatures may cover the blank behind the colon. An MTA that offers to leave it
// in place is believed; of the others, one blank is assumed.
func TestFieldVerbatim(t *testing.T) {
	for name, x := range map[string]struct {
		offer []byte
		want  string
	}{
		"as it is":     {fullOffer, "Header A: b"},
		"without both": {oldOffer, "Header A:  b"},
	} {
		t.Run(name, func(t *testing.T) {
			_, calls, _ := talk(t, new(diary), x.offer, someConnect, mail("<a>"), rcpt("<b>"), field("A", "b"), eoh, eom, quit)
			if !slices.Contains(calls, x.want) {
				t.Errorf("calls %q, want %q among them", calls, x.want)
			}
		})
	}
}
