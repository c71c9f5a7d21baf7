package lab

import (
	"bufio"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestReply(t *testing.T) {
	for wire, want := range map[string]Reply{
		"250 2.1.0 Ok\r\n": {250, "2.1.0", "Ok"},
		"354 go ahead\r\n": {354, "", "go ahead"},
		"250\r\n":          {250, "", ""},
		"220 \n":           {220, "", ""},
		"250-mx.lab.test\r\n250-SIZE 1\r\n250 8BITMIME\r\n":    {250, "", "mx.lab.test\nSIZE 1\n8BITMIME"},
		"550-5.7.1 Send to the MX:\r\n550 5.7.1 mx.test\r\n":   {550, "5.7.1", "Send to the MX:\nmx.test"},
		"550-5.7.1 one\r\n550 5.7.26 other\r\n":                {550, "", "5.7.1 one\n5.7.26 other"},
		"550 5.7.1\r\n":                                        {550, "", "5.7.1"},
		"451 " + strings.Repeat("x", maxReplyLine-6) + "\r\n":  {451, "", strings.Repeat("x", maxReplyLine-6)},
		strings.Repeat("250-\r\n", maxReplyLines-1) + "250 \n": {250, "", strings.Repeat("\n", maxReplyLines-1)},
	} {
		got, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), maxReplyLine))
		if err != nil || got != want {
			t.Errorf("%.60q: got %+v, %v; want %+v", wire, got, err, want)
		}
	}
}

func TestReplyMalformed(t *testing.T) {
	for wire, want := range map[string]string{
		"":                            "connection closed by the SMTP server: unexpected EOF",
		"250-more\r\n":                "connection closed by the SMTP server: unexpected EOF",
		"250 cut":                     "connection closed by the SMTP server: unexpected EOF",
		"hello\r\n":                   `"hello" is not a line of an SMTP reply`,
		"2500 x\r\n":                  `"2500 x" is not a line of an SMTP reply`,
		"650 x\r\n":                   `"650 x" is not a line of an SMTP reply`,
		"250-a\r\n251 b\r\n":          `"251 b" is not a line of an SMTP reply`,
		strings.Repeat("2", 1<<20):    "SMTP reply line is longer than 4096 bytes",
		strings.Repeat("250-\n", 300): "SMTP reply 250 has more than 200 lines",
	} {
		got, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), maxReplyLine))
		if err == nil || err.Error() != want {
			t.Errorf("%.60q: got %+v, %v; want %s", wire, got, err, want)
		}
	}
}

// FuzzReply: what a reply prints as reads back as the same reply.
func FuzzReply(f *testing.F) {
	for _, wire := range []string{"250 2.1.0 Ok\r\n", "550-5.7.1 a\r\n550 5.7.1 b\r\n", "250-a\n250 \n", "550-5.7.1 a\n550 5.7.26 b\n", "250\n"} {
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), maxReplyLine))
		if err != nil {
			return
		}
		again, err := readReply(bufio.NewReaderSize(strings.NewReader(r.String()+"\r\n"), 2*maxReplyLine))
		if err != nil || again != r {
			t.Errorf("%+v reads back as %+v, %v", r, again, err)
		}
	})
}

func TestIdentityCommand(t *testing.T) {
	for want, id := range map[string]Identity{
		"XCLIENT": {},
		"XCLIENT ADDR=203.0.113.5 NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]":                {Addr: netip.MustParseAddr("203.0.113.5")},
		"XCLIENT ADDR=IPV6:2001:db8::5 PORT=25 NAME=gw.test REVERSE_NAME=gw.test":               {Addr: netip.MustParseAddr("2001:db8::5"), Port: 25, Name: "gw.test"},
		"XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=says.test HELO=x":                              {Name: "[UNAVAILABLE]", ReverseName: "says.test", Helo: "x"},
		"XCLIENT LOGIN=a+20b+2Bc+3D+C3+A9":                                                      {Login: "a b+c=é"},
		"XCLIENT ADDR=192.0.2.1 NAME=[TEMPUNAVAIL] REVERSE_NAME=[TEMPUNAVAIL] LOGIN=a@lab.test": {Addr: netip.MustParseAddr("192.0.2.1"), Name: "[TEMPUNAVAIL]", Login: "a@lab.test"},
	} {
		if got := id.command(); got != want {
			t.Errorf("%+v: %q, want %q", id, got, want)
		}
	}
}

func TestStuff(t *testing.T) {
	for message, want := range map[string]string{
		"":                           ".\r\n",
		"a\n\nb":                     "a\r\n\r\nb\r\n.\r\n",
		"a\r\n.b\r\n":                "a\r\n..b\r\n.\r\n",
		".\n..\n":                    "..\r\n...\r\n.\r\n",
		"a lone \r stays, as does\t": "a lone \r stays, as does\t\r\n.\r\n",
	} {
		if got := stuff(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

// TestSendStopsWhereItIsRefused shows the commands that the server sees, and the replies that Send returns.
func TestSendStopsWhereItIsRefused(t *testing.T) {
	ok, no, more := Reply{250, "", "ok"}, Reply{550, "5.7.1", "no"}, Reply{354, "", "more"}
	for name, c := range map[string]struct {
		replies []Reply
		want    Transaction
		sees    string
	}{
		"at MAIL":          {[]Reply{no}, Transaction{Mail: no}, "MAIL FROM:<f>"},
		"at each RCPT":     {[]Reply{ok, no, no, ok}, Transaction{Mail: ok, Rcpt: []Reply{no, no}}, "MAIL FROM:<f> RCPT TO:<a> RCPT TO:<b> RSET"},
		"at DATA":          {[]Reply{ok, ok, no, no, ok}, Transaction{Mail: ok, Rcpt: []Reply{ok, no}, Data: no}, "MAIL FROM:<f> RCPT TO:<a> RCPT TO:<b> DATA RSET"},
		"after the dot":    {[]Reply{ok, no, ok, more, no}, Transaction{Mail: ok, Rcpt: []Reply{no, ok}, Data: more, End: no}, "MAIL FROM:<f> RCPT TO:<a> RCPT TO:<b> DATA body ."},
		"not at all, once": {[]Reply{ok, ok, ok, more, ok}, Transaction{Mail: ok, Rcpt: []Reply{ok, ok}, Data: more, End: ok}, "MAIL FROM:<f> RCPT TO:<a> RCPT TO:<b> DATA body ."},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			sees := make(chan string)
			go func() { sees <- script(far, c.replies) }()
			client, err := greet(near)
			noError(t, err)
			got, err := client.Send(Envelope{"f", []string{"a", "b"}}, "body\n")
			noError(t, err)
			noError(t, client.Close())
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
			if sees := <-sees; sees != c.sees {
				t.Errorf("the server sees %q, want %q", sees, c.sees)
			}
		})
	}
}

// script is a server that greets and then answers with replies, one by one. It returns the lines that it was sent.
func script(conn net.Conn, replies []Reply) string {
	var lines []string
	in := bufio.NewScanner(conn)
	conn.Write([]byte("220 hello\r\n"))
	for data := false; in.Scan(); {
		lines = append(lines, in.Text())
		if data && in.Text() != "." {
			continue
		}
		if len(replies) == 0 {
			lines = append(lines, "and one too many")
			break
		}
		conn.Write([]byte(replies[0].String() + "\r\n"))
		data = replies[0].Code == 354
		replies = replies[1:]
	}
	conn.Close()
	return strings.Join(lines, " ")
}
