package tlsprobe

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"gatemilter/policy"
)

// loginServer is a server in clear that offers these mechanisms and answers what follows on AUTH.
func loginServer(t *testing.T, offers string, answer func(line string) string) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "220 server ESMTP\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "EHLO"):
				fmt.Fprintf(conn, "250-server\r\n250 AUTH %s\r\n", offers)
			case line == "QUIT":
				fmt.Fprint(conn, "221 bye\r\n")
				return
			default:
				fmt.Fprint(conn, answer(line)+"\r\n")
			}
		}
	}()
	addr := netip.MustParseAddrPort(l.Addr().String())
	return Target{Host: "127.0.0.1", Port: addr.Port(), Clear: true}
}

// O9: a login is tried with what is offered, and whatever the server says to it, the password does not
// show.
func TestLogIn(t *testing.T) {
	base64Of := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	plain := "AUTH PLAIN " + base64Of("\x00alice\x00hunter2")
	exchange := func(expect ...string) func(string) string {
		n := -1
		return func(line string) string {
			if n++; 2*n >= len(expect) || line != expect[2*n] {
				return "501 5.5.2 unexpected"
			}
			return expect[2*n+1]
		}
	}
	for name, c := range map[string]struct {
		offers string
		answer func(string) string
		holds  bool
		says   string // Accepted, or the end of the session
	}{
		"plain":     {"LOGIN PLAIN", exchange(plain, "235 2.7.0 fine"), true, "the login is accepted"},
		"login":     {"LOGIN", exchange("AUTH LOGIN", "334 "+base64Of("Username:"), base64Of("alice"), "334 "+base64Of("Password:"), base64Of("hunter2"), "235 2.7.0 fine"), true, "the login is accepted"},
		"refused":   {"PLAIN", exchange(plain, "535 5.7.8 hunter2 is wrong"), false, "the server refuses the login: 535 5.7.8"},
		"bare code": {"PLAIN", exchange(plain, "454 hunter2"), false, "the server refuses the login: 454"},
		"other":     {"SCRAM-SHA-256", exchange(), false, "the server offers none of the logins PLAIN, LOGIN, CRAM-MD5"},
		"echo":      {"PLAIN", exchange(plain, "alice hunter2 is what you said"), false, "the server answers the login with what is no SMTP reply"},
		"long echo": {"PLAIN", exchange(plain, "250 "+strings.Repeat("hunter2", 1000)), false, "the server answers the login with what is no SMTP reply"},
		"garbage":   {"LOGIN", exchange("AUTH LOGIN", "334 not!base64"), false, "the server answers the login with what is no SMTP reply"},
		"endless":   {"LOGIN", func(string) string { return "334 " + base64Of("Username:") }, false, "the server answers the login with what is no SMTP reply"},
		"curious":   {"LOGIN", exchange("AUTH LOGIN", "334 "+base64Of("Birthday:")), false, "the server asks for something else than name and password"},
	} {
		t.Run(name, func(t *testing.T) {
			target := loginServer(t, c.offers, c.answer)
			p := &Prober{Login: &Login{Username: "alice", Password: policy.NewSecret("hunter2"), Unprotected: true}}
			report, err := p.Probe(t.Context(), target, x509.NewCertPool())
			if err != nil {
				t.Fatal(err)
			}
			said := report.Accepted.Reason
			if said == "" {
				said = report.Login.Reason
			}
			if report.Accepted.Holds != c.holds || said != c.says {
				t.Errorf("%+v, want %v: %s", report.Accepted, c.holds, c.says)
			}
			if all := fmt.Sprintf("%+v", report); strings.Contains(all, "hunter2") {
				t.Errorf("the password shows: %s", all)
			}
		})
	}
	// Without TLS that holds, it is not shown.
	target := loginServer(t, "PLAIN", func(line string) string { t.Errorf("it was shown %q", line); return "235 fine" })
	p := &Prober{Login: &Login{Username: "alice", Password: policy.NewSecret("hunter2")}}
	if report, err := p.Probe(t.Context(), target, x509.NewCertPool()); err != nil || report.Accepted.Problem != NotChecked {
		t.Errorf("in clear: %+v, %v", report.Accepted, err)
	}
}
