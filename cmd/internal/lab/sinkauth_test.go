package lab

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// b64 is how a response is written; parts are set apart by NUL, as in PLAIN.
func b64(parts ...string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Join(parts, "\x00")))
}

const (
	loginDone    = "235 2.7.0 Authentication successful"
	loginFailed  = "535 5.7.8 Error: authentication failed"
	loginMissing = "530 5.7.0 Authentication required"
)

// TestSinkAuth: each exchange ends as it must, is remembered, and opens the way for mail or doesn't.
func TestSinkAuth(t *testing.T) {
	user, password := "334 "+b64("Username:"), "334 "+b64("Password:")
	alice := Attempt{Username: "alice", Password: "secret", Accepted: true}
	for name, c := range map[string]struct {
		lines   []string // of the client
		replies []string
		want    Attempt
	}{
		"PLAIN":               {[]string{"AUTH PLAIN " + b64("", "alice", "secret")}, []string{loginDone}, alice},
		"PLAIN, as somebody":  {[]string{"auth plain " + b64("bob", "alice", "secret")}, []string{loginDone}, alice},
		"PLAIN by challenge":  {[]string{"AUTH PLAIN", b64("", "alice", "secret")}, []string{"334 ", loginDone}, alice},
		"PLAIN, wrong":        {[]string{"AUTH PLAIN " + b64("", "alice", "guess")}, []string{loginFailed}, Attempt{Username: "alice", Password: "guess"}},
		"PLAIN, nobody":       {[]string{"AUTH PLAIN " + b64("", "nobody", "")}, []string{loginFailed}, Attempt{Username: "nobody"}},
		"PLAIN, no base64":    {[]string{"AUTH PLAIN ?"}, []string{notUnderstood}, Attempt{}},
		"PLAIN, no fields":    {[]string{"AUTH PLAIN " + b64("alice")}, []string{notUnderstood}, Attempt{}},
		"PLAIN, empty":        {[]string{"AUTH PLAIN ="}, []string{notUnderstood}, Attempt{}},
		"PLAIN, garbage":      {[]string{"AUTH PLAIN", "secret"}, []string{"334 ", notUnderstood}, Attempt{}},
		"PLAIN, cancelled":    {[]string{"AUTH PLAIN", "*"}, []string{"334 ", "501 5.7.0 Authentication cancelled"}, Attempt{}},
		"LOGIN":               {[]string{"AUTH LOGIN", b64("alice"), b64("secret")}, []string{user, password, loginDone}, alice},
		"LOGIN, one step":     {[]string{"AUTH Login " + b64("alice"), b64("secret")}, []string{password, loginDone}, alice},
		"LOGIN, wrong":        {[]string{"AUTH LOGIN", b64("alice"), b64("guess")}, []string{user, password, loginFailed}, Attempt{Username: "alice", Password: "guess"}},
		"LOGIN, no user name": {[]string{"AUTH LOGIN", ""}, []string{user, password}, Attempt{}},
		"LOGIN, garbage":      {[]string{"AUTH LOGIN", b64("alice"), "="}, []string{user, password, notUnderstood}, Attempt{Username: "alice"}},
		"LOGIN, cancelled":    {[]string{"AUTH LOGIN", b64("alice"), "*"}, []string{user, password, "501 5.7.0 Authentication cancelled"}, Attempt{Username: "alice"}},
		"no mechanism":        {[]string{"AUTH"}, []string{"501 5.5.4 Syntax: AUTH mechanism [initial-response]"}, Attempt{}},
		"too much":            {[]string{"AUTH PLAIN " + b64("", "alice", "secret") + " x"}, []string{"501 5.5.4 Syntax: AUTH mechanism [initial-response]"}, Attempt{Username: "alice", Password: "secret"}},
		"another mechanism":   {[]string{"AUTH CRAM-MD5"}, []string{"504 5.5.4 Error: unknown authentication mechanism"}, Attempt{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := sink(t, SinkConfig{Logins: map[string]string{"alice": "secret"}})
			client := session(t, s.Addr().String())
			for i, line := range c.lines {
				answers(t, c.replies[i])(client.Cmd(line))
			}
			if got := s.Attempts(); !slices.Equal(got, []Attempt{c.want}) {
				t.Errorf("attempts %+v, want %+v", got, c.want)
			}
			if strings.HasPrefix(c.replies[len(c.replies)-1], "334") {
				return // the client leaves
			}
			r, err := client.Mail("a@x.example")
			if err != nil || r.OK() != c.want.Accepted {
				t.Errorf("MAIL: %v, %v", r, err)
			}
		})
	}
}

// A sink with Logins takes mail only after one of them; refusals before leave no trace.
func TestSinkWantsLogin(t *testing.T) {
	s := sink(t, SinkConfig{Logins: map[string]string{"alice": "secret"}})
	c := session(t, s.Addr().String())
	for _, line := range []string{"MAIL FROM:<a@x.example>", "RCPT TO:<b@x.example>", "DATA"} {
		answers(t, loginMissing)(c.Cmd(line))
	}
	s.Answer(func(string) string { return "451 4.3.0 not now" })
	answers(t, "451 4.3.0 not now")(c.Mail("early@x.example"))
	s.Answer(nil)
	answers(t, loginFailed)(c.Auth("alice", "guess"))
	answers(t, loginMissing)(c.Mail("a@x.example"))
	if got := s.Taken(); len(got) > 0 {
		t.Errorf("taken without login: %+v", got)
	}
	answers(t, loginDone)(c.Auth("alice", "secret"))
	answers(t, "503 5.5.1 Error: already authenticated")(c.Auth("alice", "secret"))
	_, err := c.Send(Envelope{"a@x.example", []string{"b@x.example"}}, "Subject: 1\n")
	noError(t, err)
	want := []Taken{{From: "a@x.example", To: []string{"b@x.example"}, Login: "alice", Data: "Subject: 1\n"}}
	if got := s.Taken(); !reflect.DeepEqual(got, want) {
		t.Errorf("taken %+v, want %+v", got, want)
	}
	wantAttempts := []Attempt{{Username: "alice", Password: "guess"}, {"alice", "secret", false, true}, {Username: "alice", Password: "secret"}}
	if got := s.Attempts(); !slices.Equal(got, wantAttempts) {
		t.Errorf("attempts %+v, want %+v", got, wantAttempts)
	}
}

// Where there is TLS, a login in clear is refused, unheard if the client waits; what it showed anyway is remembered.
func TestSinkWantsTLSForLogin(t *testing.T) {
	ca, cert := sinkCert(t)
	s := sink(t, SinkConfig{Cert: cert, Logins: map[string]string{"alice": "secret"}})
	c := session(t, s.Addr().String())
	answers(t, "504 5.5.4 Error: authentication only with TLS")(c.Cmd("AUTH PLAIN"))
	answers(t, "504 5.5.4 Error: authentication only with TLS")(c.Auth("alice", "secret"))
	answers(t, loginMissing)(c.Mail("a@x.example"))
	accepted(t)(c.StartTLS(sinkTLS(ca)))
	answers(t, loginDone)(c.Auth("alice", "secret"))
	accepted(t)(c.Mail("a@x.example"))
	if want := []Taken{{From: "a@x.example", TLS: true, Login: "alice"}}; !reflect.DeepEqual(s.Taken(), want) {
		t.Errorf("taken %+v, want %+v", s.Taken(), want)
	}
	want := []Attempt{{}, {"alice", "secret", false, false}, {"alice", "secret", true, true}}
	if got := s.Attempts(); !slices.Equal(got, want) {
		t.Errorf("attempts %+v, want %+v", got, want)
	}
}

func TestSinkWithImplicitTLS(t *testing.T) {
	ca, cert := sinkCert(t)
	s := sink(t, SinkConfig{Cert: cert, Implicit: true, Logins: map[string]string{"alice": "secret"}})
	c := must[*Client](t)(DialTLS(t.Context(), s.Addr().String(), sinkTLS(ca)))
	defer c.Close()
	answers(t, loginMissing)(c.Mail("a@x.example"))
	answers(t, loginDone)(c.Auth("alice", "secret"))
	accepted(t)(c.Mail("a@x.example"))
	if want := []Taken{{From: "a@x.example", TLS: true, Login: "alice"}}; !reflect.DeepEqual(s.Taken(), want) {
		t.Errorf("taken %+v, want %+v", s.Taken(), want)
	}
	if want := []Attempt{{"alice", "secret", true, true}}; !slices.Equal(s.Attempts(), want) {
		t.Errorf("attempts %+v, want %+v", s.Attempts(), want)
	}
}

// A password that is shown to a host which never asked for it is remembered, too.
func TestSinkWithoutLogins(t *testing.T) {
	s := sink(t, SinkConfig{})
	c := session(t, s.Addr().String())
	answers(t, "503 5.5.1 Error: authentication not enabled")(c.Auth("alice", "secret"))
	accepted(t)(c.Mail("a@x.example"))
	if want := []Attempt{{Username: "alice", Password: "secret"}}; !slices.Equal(s.Attempts(), want) {
		t.Errorf("attempts %+v, want %+v", s.Attempts(), want)
	}
}

// Answer is given AUTH as it came, and not the responses; what it says is final, but for 334.
func TestSinkAnswersAuth(t *testing.T) {
	ca, cert := sinkCert(t)
	s := sink(t, SinkConfig{Cert: cert, Logins: map[string]string{"alice": "secret"}})
	var lines []string // of a client that waits for each reply
	reply := ""
	s.Answer(func(line string) string {
		lines = append(lines, line)
		return map[bool]string{true: reply}[strings.HasPrefix(strings.ToUpper(line), "AUTH")]
	})
	c := session(t, s.Addr().String())
	reply = "454 4.7.0 Temporary authentication failure"
	answers(t, reply)(c.Cmd("auth  Plain " + b64("", "alice", "secret")))
	reply = "334 " // as no usual one in clear
	answers(t, reply)(c.Cmd("AUTH LOGIN"))
	answers(t, "334 "+b64("Password:"))(c.Cmd(b64("alice")))
	answers(t, loginFailed)(c.Cmd(b64("guess")))
	reply = "235 2.7.0 welcome"
	answers(t, reply)(c.Auth("bob", "any"))
	accepted(t)(c.Mail("a@x.example"))
	accepted(t)(c.StartTLS(sinkTLS(ca))) // ends the login
	answers(t, loginMissing)(c.Mail("a@x.example"))
	reply = "421 4.7.0 go away"
	answers(t, reply)(c.Cmd("AUTH PLAIN"))
	if r, err := c.Cmd("NOOP"); err == nil {
		t.Errorf("after 421: %v", r)
	}
	s.Close()
	want := []string{"", "EHLO client.test", "auth  Plain " + b64("", "alice", "secret"), "AUTH LOGIN", "AUTH PLAIN " + b64("", "bob", "any"),
		"MAIL FROM:<a@x.example>", "STARTTLS", "MAIL FROM:<a@x.example>", "AUTH PLAIN"}
	if !slices.Equal(lines, want) {
		t.Errorf("lines %q, want %q", lines, want)
	}
	wantAttempts := []Attempt{{"alice", "secret", false, false}, {"alice", "guess", false, false}, {"bob", "any", false, true}, {TLS: true}}
	if got := s.Attempts(); !slices.Equal(got, wantAttempts) {
		t.Errorf("attempts %+v, want %+v", got, wantAttempts)
	}
	if taken := s.Taken(); len(taken) != 1 || taken[0].Login != "bob" {
		t.Errorf("taken %+v", taken)
	}
}

// Lines of AUTH may be as long as RFC 4954 allows, and no longer.
func TestSinkLongLines(t *testing.T) {
	long := strings.Repeat("x", 9000)
	s := sink(t, SinkConfig{Logins: map[string]string{"alice": long}})
	c := session(t, s.Addr().String())
	answers(t, loginDone)(c.Auth("alice", long))
	c = session(t, s.Addr().String())
	answers(t, "334 ")(c.Cmd("AUTH PLAIN"))
	answers(t, loginDone)(c.Cmd(b64("", "alice", long)))
	c = session(t, s.Addr().String())
	answers(t, "334 "+b64("Password:"))(c.Cmd("AUTH LOGIN " + b64("alice")))
	if r, err := c.Cmd(strings.Repeat("x", 2*maxSinkLine)); err == nil {
		t.Errorf("line that is too long: %v", r)
	}
	s.Close()
	want := []Attempt{{"alice", long, false, true}, {"alice", long, false, true}, {Username: "alice"}}
	if got := s.Attempts(); !slices.Equal(got, want) {
		t.Errorf("%d attempts, want 3 of alice, two of them with the long password", len(got))
	}
}

// Logins side by side keep to their connections.
func TestSinkManyLogins(t *testing.T) {
	logins := map[string]string{}
	for i := range 8 {
		logins[fmt.Sprint("user", i)] = fmt.Sprint("password", i)
	}
	s := sink(t, SinkConfig{Logins: logins})
	var wg sync.WaitGroup
	for user, password := range logins {
		c := session(t, s.Addr().String())
		wg.Go(func() {
			c.Auth(user, password)
			c.Mail(user + "@x.example")
			s.Attempts()
		})
	}
	wg.Wait()
	if got := len(s.Attempts()); got != len(logins) {
		t.Errorf("%d attempts", got)
	}
	taken := s.Taken()
	for _, m := range taken {
		if m.From != m.Login+"@x.example" {
			t.Errorf("%+v", m)
		}
	}
	if len(taken) != len(logins) {
		t.Errorf("%d messages", len(taken))
	}
}

// TestPostfixLogsIn also shows that NeedPostfix gives Postfix's smtp client its mechanisms.
func TestPostfixLogsIn(t *testing.T) {
	_, cert := sinkCert(t)
	config := SinkConfig{Cert: cert, Logins: map[string]string{"alice": "secret"}}
	startTLS := sink(t, config)
	config.Implicit = true
	implicit := sink(t, config)
	client := "%s unix - - n - - smtp -o smtp_tls_security_level=encrypt -o smtp_sasl_mechanism_filter=%s -o smtp_tls_wrappermode=%s\n"
	p := instance(t, Config{
		Main: fmt.Sprintf("smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:alice:secret\n"+
			"smtp_sasl_security_options = noanonymous\n"+
			"default_transport = starttls:[127.0.0.1]:%d\n"+
			"transport_maps = inline:{ { implicit.test = implicit:[127.0.0.1]:%d } }\n", startTLS.Addr().Port(), implicit.Addr().Port()),
		Master: fmt.Sprintf(client, "starttls", "plain", "no") + fmt.Sprintf(client, "implicit", "login", "yes"),
	})
	_, err := session(t, p.Addr()).Send(Envelope{"a@x.test", []string{"b@starttls.test", "b@implicit.test"}}, hello)
	noError(t, err)
	noError(t, p.WaitIdle(t.Context()))
	for to, s := range map[string]*Sink{"b@starttls.test": startTLS, "b@implicit.test": implicit} {
		if want := []Attempt{{"alice", "secret", true, true}}; !slices.Equal(s.Attempts(), want) {
			t.Errorf("%s: attempts %+v, want %+v", to, s.Attempts(), want)
		}
		taken := s.Taken()
		if len(taken) != 1 || taken[0].Login != "alice" || !taken[0].TLS || !slices.Equal(taken[0].To, []string{to}) || taken[0].Data == "" {
			t.Errorf("%s: taken %+v", to, taken)
		}
	}
}
