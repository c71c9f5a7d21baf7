package lab

import (
	"crypto/tls"
	"reflect"
	"strings"
	"testing"
)

// A sink takes mail in clear and through TLS, answers otherwise when it is told to, and remembers what came.
func TestSink(t *testing.T) {
	ca, err := NewCA("Sink CA")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(Subject{Hosts: []string{"sink.lab.test"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := StartSink("127.0.0.3", cert)
	if err != nil {
		t.Fatal(err)
	}
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
			if _, err := c.StartTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "sink.lab.test"}); err != nil {
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
	s.Close()
	if c, err := Dial(t.Context(), s.Addr().String()); err == nil {
		c.Close()
		t.Error("connected to a closed sink")
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
