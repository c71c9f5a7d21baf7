package tlsprobe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatemilter/policy"
)

// A postbox is a server behind a login that takes letters, and notes what it is told after that.
type postbox struct {
	config *tls.Config
	logins bool              // whether it offers AUTH
	answer map[string]string // by verb, "." for the end of a message

	mu    sync.Mutex
	heard []string
}

func (b *postbox) handle(conn net.Conn) {
	if b.config != nil {
		conn = tls.Server(conn, b.config)
	}
	io.WriteString(conn, "220 relay.lab.test ESMTP\r\n")
	in := bufio.NewReader(conn)
	message := false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(strings.Fields(line + " x")[0])
		b.mu.Lock()
		if verb != "EHLO" && verb != "AUTH" {
			b.heard = append(b.heard, line)
		}
		b.mu.Unlock()
		switch {
		case message && line != ".\r\n":
			continue
		case message:
			message, verb = false, "."
		case verb == "EHLO" && b.logins:
			io.WriteString(conn, "250-relay\r\n250 AUTH PLAIN\r\n")
			continue
		}
		answer, ok := b.answer[verb]
		if !ok {
			answer = map[string]string{"AUTH": "235 fine", "DATA": "354 go on", "QUIT": "221 bye"}[verb]
		}
		if answer == "hang up" {
			return
		}
		answer = or(answer, "250 fine")
		message = strings.HasPrefix(answer, "354")
		io.WriteString(conn, answer+"\r\n")
		if verb == "QUIT" {
			return
		}
	}
}

// U3: a letter is sent by the session that has logged in, and by no other.
func TestLetter(t *testing.T) {
	ca := authority("Lab CA", nil)
	good := &tls.Config{Certificates: []tls.Certificate{ca.issue(names("", relay))}}
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	transaction := []string{"MAIL FROM:<alice@partner.example>\r\n", "RCPT TO:<alice@partner.example>\r\n"}
	for name, c := range map[string]struct {
		config   *tls.Config
		answer   map[string]string
		write    func(context.Context) ([]byte, error)
		noLogin  bool
		problem  Problem
		says     string
		said     string
		expected []string
	}{
		"sent": {config: good, write: text("Subject: x\r\n\r\n.dot\n..two\r\nend"), says: "the server has taken the message",
			expected: append(slices.Clone(transaction), "DATA\r\n", "Subject: x\r\n", "\r\n", "..dot\r\n", "...two\r\n", "end\r\n", ".\r\n", "QUIT\r\n")},
		"only asked": {config: good, says: "the server would take mail from this address", expected: append(slices.Clone(transaction), "RSET\r\n", "QUIT\r\n")},
		"login refused": {config: good, answer: map[string]string{"AUTH": "535-5.7.8 look at\r\n535 5.7.8 https://help.example/"}, write: text("x"),
			problem: NotChecked, says: "there was no login, so nothing is sent", said: "535 5.7.8 look at 5.7.8 https://help.example/", expected: []string{"QUIT\r\n"}},
		"other name": {config: &tls.Config{Certificates: []tls.Certificate{ca.issue(names("", "other.lab.test"))}}, write: text("x"),
			problem: NotChecked, says: "there was no login, so nothing is sent", expected: []string{"QUIT\r\n"}},
		"old TLS": {config: old, write: text("x"), problem: NotChecked, says: "there was no login, so nothing is sent", expected: []string{"QUIT\r\n"}},
		"sender refused": {config: good, answer: map[string]string{"MAIL": "553 5.7.1 <alice@partner.example>: not owned by user"}, write: text("x"),
			problem: LetterRefused, says: "the server refuses the sender: 553 5.7.1", said: "553 5.7.1 <alice@partner.example>: not owned by user", expected: []string{transaction[0], "QUIT\r\n"}},
		"recipient refused": {config: good, answer: map[string]string{"RCPT": "450 later, hunter2"}, write: text("x"),
			problem: LetterRefused, says: "the server refuses the recipient: 450", said: "450", expected: append(slices.Clone(transaction), "QUIT\r\n")},
		"no data": {config: good, answer: map[string]string{"DATA": "554 5.5.1 no"}, write: text("x"),
			problem: LetterRefused, says: "the server refuses a message: 554 5.5.1", said: "554 5.5.1 no", expected: append(slices.Clone(transaction), "DATA\r\n", "QUIT\r\n")},
		"message refused": {config: good, answer: map[string]string{".": "550 5.7.1 " + strings.Repeat("spam ", 200)}, write: text("x"),
			problem: LetterRefused, says: "the server refuses the message: 550 5.7.1", said: ("550 5.7.1 " + strings.Repeat("spam ", 200))[:maxSaid], expected: append(slices.Clone(transaction), "DATA\r\n", "x\r\n", ".\r\n", "QUIT\r\n")},
		"no reply": {config: good, answer: map[string]string{"MAIL": "hunter2 is the password"}, write: text("x"),
			problem: NotSMTP, says: "the server answers with what is no SMTP reply", expected: transaction[:1]},
		"hangs up": {config: good, answer: map[string]string{"RCPT": "hang up"}, write: text("x"),
			problem: Closed, says: "the server closed the connection, instead of an answer to RCPT", expected: transaction},
		"not written": {config: good, write: func(context.Context) ([]byte, error) { return nil, errors.New("no code") },
			problem: LetterUnwritten, says: "no code", expected: append(slices.Clone(transaction), "QUIT\r\n")},
		"bare CR": {config: good, write: text("a\r.\r\nMAIL FROM:<x@y.example>\n"), problem: LetterUnwritten,
			says: "a letter has a line that is too long, or a line end or a NUL within one", expected: append(slices.Clone(transaction), "QUIT\r\n")},
		"too long": {config: good, write: text(strings.Repeat("x\n", maxLetter)), problem: LetterUnwritten,
			says: "a letter of 2097152 octets is too long: at most 1048576 are allowed", expected: append(slices.Clone(transaction), "QUIT\r\n")},
		"in clear, without login": {write: text("x"), noLogin: true, says: "the server has taken the message",
			expected: append(slices.Clone(transaction), "DATA\r\n", "x\r\n", ".\r\n", "QUIT\r\n")},
		"in clear, with login": {write: text("x"), problem: NotChecked, says: "there was no login, so nothing is sent", expected: []string{"QUIT\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &postbox{config: c.config, answer: c.answer, logins: !c.noLogin}
			p := prober()
			p.Letter = &Letter{From: "alice@partner.example", To: "alice@partner.example", Write: c.write}
			if !c.noLogin {
				p.Login = &Login{Username: "alice", Password: policy.NewSecret("hunter2")}
			}
			target := Target{Host: relay, Port: serve(t, server.handle), Implicit: c.config != nil, Clear: c.config == nil}
			report, err := p.Probe(t.Context(), target, pool(ca.cert))
			if err != nil {
				t.Fatal(err)
			}
			if want := (Check{c.problem == "", Finding{c.problem, c.says}}); report.Sent != want || report.Said != c.said {
				t.Errorf("%+v, said %q; want %+v, %q", report.Sent, report.Said, want, c.said)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if diff := cmp.Diff(c.expected, server.heard); diff != "" {
				t.Error(diff)
			}
			if all := fmt.Sprintf("%+v", report); strings.Contains(all, "hunter2") {
				t.Errorf("the password shows: %s", all)
			}
		})
	}
}

func text(s string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(s), nil }
}

// U7: no address of a letter says more to the server than an address.
func TestLetterAddresses(t *testing.T) {
	for _, address := range []string{"", "alice", "a@b\r\nRCPT TO:<c@d>", "a@b> SIZE=1", "a b@c", "ä@b.example", "<a@b>", `"a"@b`, "a@b\x00", strings.Repeat("a", 250) + "@b.ex"} {
		for _, l := range []Letter{{From: address, To: "a@b.example"}, {From: "a@b.example", To: address}} {
			p := Prober{Letter: &l, Dial: func(context.Context, string, string) (net.Conn, error) {
				t.Errorf("%q: it connects", address)
				return nil, io.EOF
			}}
			if _, err := p.Probe(t.Context(), Target{Host: "127.0.0.1", Port: 25}, pool()); err == nil {
				t.Errorf("%q is taken", address)
			}
		}
	}
}

// A letter that the server never answers ends in time, and without leave: QUIT would be part of the message.
func TestLetterTimeout(t *testing.T) {
	p := prober()
	p.Timeout = 2 * time.Second
	p.Letter = &Letter{From: "a@b.example", To: "a@b.example", Write: text("x")}
	server := &postbox{answer: map[string]string{".": "354 never enough"}}
	report, err := p.Probe(t.Context(), Target{Host: relay, Port: serve(t, server.handle), Clear: true}, pool())
	if err != nil || report.Sent.Problem != LetterRefused {
		t.Errorf("%+v, %v", report.Sent, err)
	}
	silent := func(conn net.Conn) {
		io.WriteString(conn, "220 x\r\n250 x\r\n250 x\r\n250 x\r\n354 x\r\n")
		io.Copy(io.Discard, conn)
	}
	report, err = p.Probe(t.Context(), Target{Host: relay, Port: serve(t, silent), Clear: true}, pool())
	if err != nil || report.Sent.Problem != Timeout {
		t.Errorf("%+v, %v", report.Sent, err)
	}
}
