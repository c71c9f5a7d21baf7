package lab

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// sink starts a sink that ends with the test.
func sink(t *testing.T, c SinkConfig) *Sink {
	t.Helper()
	s := must[*Sink](t)(c.Start())
	t.Cleanup(s.Close)
	return s
}

// sinkCert is a certificate for sinks, of ca.
func sinkCert(t *testing.T) (ca *CA, cert *Cert) {
	t.Helper()
	ca = must[*CA](t)(NewCA("Sink CA"))
	return ca, must[*Cert](t)(ca.Issue(Subject{Hosts: []string{"sink.lab.test"}}))
}

func sinkTLS(ca *CA) *tls.Config { return &tls.Config{RootCAs: ca.Pool(), ServerName: "sink.lab.test"} }

// answers fails the test unless the server said want.
func answers(t *testing.T, want string) func(Reply, error) {
	return func(r Reply, err error) {
		t.Helper()
		if err != nil || r.String() != want {
			t.Fatalf("%v, %v; want %s", r, err, want)
		}
	}
}

// A sink takes mail in clear and through TLS, answers otherwise when it is told to, and remembers what came.
func TestSink(t *testing.T) {
	ca, cert := sinkCert(t)
	s, err := StartSink("127.0.0.3", cert)
	noError(t, err)
	defer func() { s.Close() }()
	send := func(secure bool, e Envelope, text string) Transaction {
		t.Helper()
		c, err := Dial(t.Context(), s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Ehlo("client.example"); err != nil {
			t.Fatal(err)
		}
		if secure {
			if _, err := c.StartTLS(sinkTLS(ca)); err != nil {
				t.Fatal(err)
			}
		}
		result, err := c.Send(e, text)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	send(true, Envelope{"a@x.example", []string{"b@x.example", "c@x.example"}}, "Subject: 1\n\n.dot\n")
	s.Answer(func(line string) string {
		switch {
		case strings.HasPrefix(line, "RCPT TO:<no@"):
			return "550 5.1.1 nobody"
		case line == ".":
			return "451 4.3.0 not now"
		}
		return ""
	})
	send(false, Envelope{"", []string{"no@x.example", "yes@x.example"}}, "Subject: 2\n")
	if err := s.Refuse(); err != nil {
		t.Fatal(err)
	}
	if c, err := Dial(t.Context(), s.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connected to a sink that refuses: %v, error %v", c, err)
	}
	// Nobody is given its port: asking for any is like asking for it without SO_REUSEADDR.
	stranger := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0) })
	}}
	if l, err := stranger.Listen(t.Context(), "tcp", s.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("another one has its address: %v, error %v", l, err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	s.Answer(func(line string) string {
		if line == "" {
			return "421 4.3.2 busy"
		}
		return ""
	})
	c, err := Dial(t.Context(), s.Addr().String())
	if err != nil || c.Greeting.String() != "421 4.3.2 busy" {
		t.Errorf("greeting %v, error %v", c.Greeting, err)
	}
	want := []Taken{
		{From: "a@x.example", To: []string{"b@x.example", "c@x.example"}, TLS: true, Data: "Subject: 1\n\n.dot\n"},
		{From: "", To: []string{"yes@x.example"}},
	}
	if got := s.Taken(); !reflect.DeepEqual(got, want) {
		t.Errorf("taken %+v, want %+v", got, want)
	}
}

func TestSinkConfig(t *testing.T) {
	s := sink(t, SinkConfig{IP: "127.0.0.4"})
	addr := s.Addr()
	if addr.Addr() != netip.MustParseAddr("127.0.0.4") || addr.Port() == 0 {
		t.Errorf("address %s", addr)
	}
	s.Close()
	if again := sink(t, SinkConfig{IP: "127.0.0.4", Port: addr.Port()}); again.Addr() != addr {
		t.Errorf("address %s, want %s", again.Addr(), addr)
	}
	if s := sink(t, SinkConfig{}); s.Addr().Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("address %s by default", s.Addr())
	}
	if _, err := (SinkConfig{Implicit: true}).Start(); err == nil {
		t.Error("implicit TLS without a certificate")
	}
}

// What a sink offers is what its configuration says: in clear and, where there is TLS, in it.
func TestSinkOffers(t *testing.T) {
	ca, cert := sinkCert(t)
	logins := map[string]string{"alice": "secret"}
	for _, c := range []struct {
		config       SinkConfig
		clear, inTLS string // "" where there is none
	}{
		{SinkConfig{}, "250 sink.lab.test", ""},
		{SinkConfig{SMTPUTF8: true}, "250-sink.lab.test 250-8BITMIME 250 SMTPUTF8", ""},
		{SinkConfig{Logins: logins}, "250-sink.lab.test 250 AUTH PLAIN LOGIN", ""},
		{SinkConfig{Cert: cert}, "250-sink.lab.test 250 STARTTLS", "250 sink.lab.test"},
		{SinkConfig{Cert: cert, Logins: logins}, "250-sink.lab.test 250 STARTTLS", "250-sink.lab.test 250 AUTH PLAIN LOGIN"},
		{SinkConfig{Cert: cert, Implicit: true}, "", "250 sink.lab.test"},
		{SinkConfig{Cert: cert, Implicit: true, Logins: logins, SMTPUTF8: true}, "",
			"250-sink.lab.test 250-AUTH PLAIN LOGIN 250-8BITMIME 250 SMTPUTF8"},
	} {
		addr := sink(t, c.config).Addr().String()
		var client *Client
		if c.config.Implicit {
			client = must[*Client](t)(DialTLS(t.Context(), addr, sinkTLS(ca)))
		} else {
			client = must[*Client](t)(Dial(t.Context(), addr))
			answers(t, strings.ReplaceAll(c.clear, " 250", "\n250"))(client.Ehlo("client.test"))
			if c.inTLS != "" {
				accepted(t)(client.StartTLS(sinkTLS(ca)))
			}
		}
		if c.inTLS != "" {
			answers(t, strings.ReplaceAll(c.inTLS, " 250", "\n250"))(client.Ehlo("client.test"))
		}
		if c.config.Cert == nil || c.inTLS != "" { // no TLS in TLS, either
			answers(t, "502 5.5.1 Error: STARTTLS is not offered")(client.StartTLS(nil))
		}
		answers(t, "221 2.0.0 bye")(client.Quit())
	}
}

// Commands out of order are refused, and mix up nothing that was taken before, even if a test lets them pass.
func TestSinkWithoutMail(t *testing.T) {
	s := sink(t, SinkConfig{})
	_, err := session(t, s.Addr().String()).Send(Envelope{"a@x.example", []string{"b@x.example"}}, "Subject: 1\n")
	noError(t, err)
	c := session(t, s.Addr().String())
	answers(t, "503 5.5.1 Error: need MAIL command")(c.Rcpt("other@x.example"))
	answers(t, "503 5.5.1 Error: need MAIL command")(c.Cmd("DATA"))
	s.Answer(func(line string) string {
		return map[string]string{"RCPT TO:<other@x.example>": "250 so be it", "DATA": "354 go on", "STARTTLS": "220 go on"}[line]
	})
	accepted(t)(c.Rcpt("other@x.example"))
	_, end, err := c.Data("Subject: 2\n")
	accepted(t)(end, err)
	if _, err := c.StartTLS(sinkTLS(must[*CA](t)(NewCA("Sink CA")))); err == nil {
		t.Error("TLS without a certificate")
	}
	want := []Taken{{From: "a@x.example", To: []string{"b@x.example"}, Data: "Subject: 1\n"}}
	if got := s.Taken(); !reflect.DeepEqual(got, want) {
		t.Errorf("taken %+v, want %+v", got, want)
	}
}

func TestSinkMailParameters(t *testing.T) {
	s := sink(t, SinkConfig{SMTPUTF8: true})
	c := session(t, s.Addr().String())
	accepted(t)(c.Mail("jörg@x.example", "BODY=8BITMIME", "AUTH=<>", "SMTPUTF8"))
	accepted(t)(c.Rcpt("\"a>b\"@x.example", "NOTIFY=NEVER"))
	want := []Taken{{From: "jörg@x.example", To: []string{"\"a>b\"@x.example"}}}
	if got := s.Taken(); !reflect.DeepEqual(got, want) {
		t.Errorf("taken %+v, want %+v", got, want)
	}
}
