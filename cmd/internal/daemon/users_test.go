package daemon

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"gatemilter/milter/lookup"
	"gatemilter/milter/tlsprobe"
)

// usersDaemon is a daemon with these users, whose log is observed.
func usersDaemon(t *testing.T, text string) (*daemon, *observer.ObservedLogs) {
	t.Helper()
	log, logs := observedLog()
	d := &daemon{log: log, probe: everything}
	d.hosts.resolve = func(context.Context, string, bool) error { return nil }
	d.current.Store(usersGeneration(t, text))
	return d, logs
}

// everything is what hosts offer that have logins always.
func everything(context.Context, tlsprobe.Target) (tlsprobe.Report, error) {
	return tlsprobe.Report{Address: netip.MustParseAddrPort("192.0.2.1:587"), Login: tlsprobe.Check{Holds: true}}, nil
}

func usersGeneration(t *testing.T, text string) *generation {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	if err := os.WriteFile(path, []byte("[server]\nmta_user = 4711\n[authentication]\nspf = no\ndkim = no\ndmarc = off\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const twoUsers = `[outbound]
allow_user_gateways = yes
user_gateway_slots = 2
[user a@home.example]
[user b@home.example]
[user-gateway a@home.example team@partner.example]
server = smtp.partner.example
username = a
password = pa:ss
[user-gateway b@home.example team@partner.example]
server = smtp.partner.example
username = b
password = word
slot = 1
[user-gateway b@home.example b@club.example]
server = mail.club.example
tls = implicit
password = club
[user-gateway b@home.example b@old.example]
server = mail.old.example:25
tls = none
password = old
`

// O4, O9: a login is for one transport, one sender, and the host that the same process has
// just asked about; all else is a temporary failure, never "not found".
func TestO9LoginForOneHost(t *testing.T) {
	d, logs := usersDaemon(t, twoUsers)
	tables := d.tables()
	one, two := lookup.Peer{PID: 11}, lookup.Peer{PID: 12}
	ask := func(p lookup.Peer, table, key string) lookup.Answer {
		t.Helper()
		found, ok := tables[table]
		if !ok {
			t.Fatalf("there is no table %q", table)
		}
		return found.Lookup(t.Context(), p, key)
	}
	secure, withheld := lookup.OK("secure match=hostname servername=hostname"), "withheld"
	for _, c := range []struct {
		what       string
		peer       lookup.Peer
		table, key string
		want       any // lookup.Answer, or that it is temporary
	}{
		{"before the host is known", one, "user-login", "team@partner.example", withheld},
		{"the host", one, "user-tls", "[smtp.partner.example]:587", secure},
		{"its login", one, "user-login", "team@partner.example", lookup.OK("a:pa:ss")},
		{"again, at the next address of the host", one, "user-login", "TEAM@Partner.Example", lookup.OK("a:pa:ss")},
		{"another process", two, "user-login", "team@partner.example", withheld},
		{"another slot", one, "user-1-login", "team@partner.example", withheld},
		{"another slot's host", two, "user-1-tls", "[smtp.partner.example]:587", secure},
		{"its login", two, "user-1-login", "team@partner.example", lookup.OK("b:word")},
		{"TLS from the start", two, "users-tls", "[mail.club.example]:465", secure},
		{"the login before", two, "user-1-login", "team@partner.example", withheld},
		{"its own", two, "users-login", "b@club.example", lookup.OK("b@club.example:club")},
		{"a sender of another host", one, "user-login", "b@old.example", withheld},
		{"without TLS", one, "user-tls", "[mail.old.example]:25", lookup.OK("may")},
		{"its login", one, "user-login", "b@old.example", lookup.OK("b@old.example:old")},
		{"a nexthop of nobody's", one, "user-tls", "[smtp.partner.example]:25", "this nexthop is no user's server any more"},
		{"after which there is no login", one, "user-login", "b@old.example", withheld},
		{"a nexthop of the other transport", one, "users-tls", "[smtp.partner.example]:587", "this nexthop is no user's server any more"},
		{"a sender of nobody's", one, "user-login", "x@partner.example", withheld},
		{"Postfix's keys for host and nexthop", one, "user-login", "[smtp.partner.example]:587", withheld},
		{"a process that can't be told from others", lookup.Peer{}, "user-login", "team@partner.example", withheld},
	} {
		logs.TakeAll()
		got := ask(c.peer, c.table, c.key)
		switch want := c.want.(type) {
		case lookup.Answer:
			if got != want {
				t.Errorf("%s: %v, want %v", c.what, got, want)
			}
		case string:
			held := logs.FilterMessage("mail is held back: the host is shown no login").Len()
			if want == withheld && held != 1 || want != withheld && (got != lookup.Temp(want) || held != 0) {
				t.Errorf("%s: %v, logged as withheld %d times", c.what, got, held)
			}
			if got == lookup.NotFound() || strings.Contains(logsOf(logs), "pa:ss") {
				t.Errorf("%s: %v, log %s", c.what, got, logsOf(logs))
			}
		}
	}
	// What changes with a reload.
	ask(one, "user-tls", "[smtp.partner.example]:587")
	d.current.Store(usersGeneration(t, strings.ReplaceAll(twoUsers, "smtp.partner.example", "smtp2.partner.example")))
	if got := ask(one, "user-login", "team@partner.example"); got != lookup.Temp("the sender's server is another one now, [smtp2.partner.example]:587") {
		t.Errorf("for another host than the process has connected to: %v", got)
	}
	ask(one, "user-tls", "[mail.old.example]:25")
	d.current.Store(usersGeneration(t, strings.Replace(twoUsers, "tls = none\npassword = old", "tls = starttls\npassword = new", 1)))
	if got := ask(one, "user-login", "b@old.example"); got != lookup.Temp("the sender's server is to be asked with other TLS now: starttls") {
		t.Errorf("in clear, as it was: %v", got)
	}
	d.current.Store(usersGeneration(t, strings.Replace(twoUsers, "gateways = yes", "gateways = no", 1)))
	if got := ask(one, "user-tls", "[smtp2.partner.example]:587"); got != lookup.Temp("this nexthop is no user's server any more") {
		t.Errorf("not allowed any more: %v", got)
	}
}

func logsOf(logs *observer.ObservedLogs) string {
	var b strings.Builder
	for _, e := range logs.All() {
		b.WriteString(e.Message)
		for _, f := range e.Context {
			if f.Type == zapcore.StringType { // else it is the kind of the event
				b.WriteString(" " + f.String)
			}
		}
	}
	return b.String()
}

// O9: logins are told to the mail server's user only, and as long as there are any.
func TestO9AdmitsMailServer(t *testing.T) {
	d, _ := usersDaemon(t, twoUsers)
	tables := d.tables()
	for transport, slot := range map[string]int{"user": 0, "users": 0, "user-1": 1, "users-15": 15} {
		admits := tables[transport+"-login"].Admits
		if admits == nil {
			t.Fatalf("%s, slot %d: everybody may ask", transport, slot)
		}
		if !admits(4711) || admits(0) || admits(4712) {
			t.Errorf("%s: the mail server may ask %v, root %v, another %v", transport, admits(4711), admits(0), admits(4712))
		}
	}
	d.current.Store(usersGeneration(t, ""))
	if tables["user-login"].Admits(4711) || tables["user-login"].Admits(0) {
		t.Error("without users' servers, somebody may ask")
	}
}

// A process whose place another has taken is shown no login.
func TestAttemptsAreBounded(t *testing.T) {
	var a attempts
	key := serverKey{"t", "n"}
	places := int32(len(a.last))
	a.begin(lookup.Peer{PID: 1}, attempt{key: key})
	a.begin(lookup.Peer{PID: 1 + places}, attempt{key: key})
	a.begin(lookup.Peer{PID: 2, Err: errors.New("unknown")}, attempt{key: key})
	a.begin(lookup.Peer{}, attempt{key: key})
	for pid, want := range map[int32]bool{1: false, 1 + places: true, 2: false, 0: false, places: false} {
		if _, ok := a.of(lookup.Peer{PID: pid}, "t"); ok != want {
			t.Errorf("process %d: %v, want %v", pid, ok, want)
		}
	}
}

// A user that doesn't exist could be told nothing: that is an error at the start.
func TestUnknownMTAUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	if err := os.WriteFile(path, []byte("[server]\nmta_user = nobody-has-this-name\n"+twoUsers), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(path); err == nil || err.Error() != `there is no user "nobody-has-this-name", who has to be told the logins of users' own servers; install the mail server, or correct mta_user` {
		t.Errorf("error %v", err)
	}
}
