package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest/observer"
	sys "golang.org/x/sys/unix"

	"gatemilter/cmd/internal/lab"
	"gatemilter/cmd/internal/portal"
	"gatemilter/cmd/internal/sendmail"
	"gatemilter/milter/lookup"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// A place is where the tests of a database keep the files of a daemon.
type place struct {
	t   testing.TB
	dir string
	// database is the name of the database; "" is SQLite's in the directory.
	database string
}

func newPlace(t *testing.T, database string) place {
	t.Helper()
	p := place{t, t.TempDir(), database}
	if err := identity.CreateKeyFile(p.file("identities.key")); err != nil {
		t.Fatal(err)
	}
	if database == "" {
		p.database = "sqlite:" + p.file("identities.db")
	}
	return p
}

func (p place) file(name string) string { return filepath.Join(p.dir, name) }

// write writes the configuration selfService with that database, and what is replaced in it.
func (p place) write(replace ...string) {
	p.t.Helper()
	section := fmt.Sprintf("database = %s\nkey_file = %s\nsnapshot_file = %s", p.database, p.file("identities.key"), p.file("snapshot"))
	text := strings.Replace(selfService, "database = sqlite:/nowhere/identities.db", section, 1)
	text = strings.NewReplacer(replace...).Replace(text)
	if err := os.WriteFile(p.file("gatemilter.conf"), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// start is a daemon there that follows the database, and to which all hosts offer a login.
func (p place) start() (*daemon, *observer.ObservedLogs) {
	p.t.Helper()
	return p.startWith(everything, func([]netip.Prefix) prober { return everything })
}

// startWith is start with what looks at hosts.
func (p place) startWith(probe prober, guard func([]netip.Prefix) prober) (*daemon, *observer.ObservedLogs) {
	p.t.Helper()
	g, err := read(p.file("gatemilter.conf"))
	if err != nil {
		p.t.Fatal(err)
	}
	log, logs := observedLog()
	d := &daemon{path: p.file("gatemilter.conf"), log: log, probe: probe, started: g.config}
	d.hosts.resolve = func(context.Context, string, bool) error { return nil }
	d.identities.roster.guard = guard
	d.current.Store(g)
	if err := d.follow(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(d.unfollow)
	return d, logs
}

// command is the store as a command has it, or a daemon elsewhere.
func (p place) command() *identity.Store {
	p.t.Helper()
	keys, err := identity.LoadKeyring(p.file("identities.key"))
	if err != nil {
		p.t.Fatal(err)
	}
	cfg, err := config.Load(p.file("gatemilter.conf"))
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := identity.New(identity.Config{Database: p.database, Keys: keys, Slots: func() identity.Slots { return IdentitySlots(cfg) }})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { s.Close() })
	return s
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if err := lab.Until(t.Context(), what, holds); err != nil {
		t.Fatal(err)
	}
}

// decision is what the policy says of a message of that login with that author: what is done, the
// way, and the rules that spoke.
func (d *daemon) decision(login, from string) string {
	p := d.current.Load().rules.Policy
	v := p.Evaluate(context.Background(), &policy.Message{Login: login, Sender: from, Header: []policy.Field{{Name: "From", Value: from}}}, nil)
	text := v.Action.String()
	if v.UserGateway != nil {
		text += " by " + v.UserGateway.Transport() + ":" + v.UserGateway.Nexthop()
	}
	for _, r := range v.Reasons[1:] {
		text += " " + string(r.Code)
	}
	return text
}

// decides waits for a decision.
func decides(t *testing.T, d *daemon, login, from, want string) {
	t.Helper()
	got := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s as %s: %s", from, login, got)
		}
	}()
	eventually(t, fmt.Sprintf("%s as %s: %s", from, login, want), func() bool { got = d.decision(login, from); return got == want })
}

// delivery is what the mail server is told for a delivery.
func (d *daemon) delivery(transport, nexthop, sender string) [2]lookup.Answer {
	tables, peer := d.tables(), lookup.Peer{PID: 4711}
	return [2]lookup.Answer{
		tables[UserTLSTable(transport)].Lookup(context.Background(), peer, nexthop),
		tables[UserLoginTable(transport)].Lookup(context.Background(), peer, sender),
	}
}

const (
	doraLogin = "dora@home.example"
	doraClub  = "dora@club.example"
	byClub    = "accept by gatemilter-user:[mail.club.example]:587 user-gateway"
	byMoved   = "accept by gatemilter-user:[mail2.club.example]:587 user-gateway"
	refusedBy = "reject unknown-sender"
)

// check ends the test with an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *identity.Store, login, address string) identity.Record {
	t.Helper()
	r, err := s.Get(t.Context(), login, address)
	check(t, err)
	return r
}

// U4, U6: whatever a command, the portal or another host does to an identity is in force without a
// reload: for decisions, and for what the mail server asks.
func TestU4InForceWithoutReload(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	d, logs := p.start()
	decides(t, d, doraLogin, doraClub, "accept")
	s := p.command()
	check(t, s.Add(t.Context(), "root", pending(attached(doraLogin, doraClub, "mail.club.example", 0, 0))))
	check(t, s.Add(t.Context(), "root", attached("erin@home.example", "erin@club.example", "mail.club.example", 0, 0)))
	decides(t, d, "erin@home.example", "erin@club.example", byClub)
	decides(t, d, doraLogin, doraClub, "accept") // U3: it is hers only when the code was entered
	code, err := s.NewCode(t.Context(), doraLogin, doraLogin, doraClub)
	check(t, err)
	_, err = s.Confirm(t.Context(), doraLogin, doraLogin, doraClub, code)
	check(t, err)
	decides(t, d, doraLogin, doraClub, byClub)
	decides(t, d, "carol", doraClub, refusedBy)
	secure := lookup.OK("secure match=hostname servername=hostname")
	if got := d.delivery("gatemilter-user", "[mail.club.example]:587", doraClub); got != [2]lookup.Answer{secure, lookup.OK(doraClub + ":p")} {
		t.Errorf("delivery: %v", got)
	}
	// Another server: mail that waits for the old one is not shown the login.
	old := get(t, s, doraLogin, doraClub)
	moved := old
	moved.Gateway = attached(doraLogin, doraClub, "mail2.club.example", 0, 0).Gateway
	check(t, s.Change(t.Context(), "root", old, moved))
	decides(t, d, doraLogin, doraClub, byMoved)
	if got := d.delivery("gatemilter-user", "[mail.club.example]:587", doraClub); got != [2]lookup.Answer{secure, lookup.Temp("the sender's server is another one now, [mail2.club.example]:587")} {
		t.Errorf("delivery to the server before: %v", got)
	}
	if got := d.delivery("gatemilter-user", "[mail2.club.example]:587", doraClub); got != [2]lookup.Answer{secure, lookup.OK(doraClub + ":p")} {
		t.Errorf("delivery: %v", got)
	}
	check(t, s.Disable(t.Context(), "root", doraLogin, doraClub))
	decides(t, d, doraLogin, doraClub, refusedBy)
	none := [2]lookup.Answer{lookup.Temp("this nexthop is no user's server any more"), lookup.Temp("no user's server is known for this sender")}
	eventually(t, "no permission", func() bool { return d.delivery("gatemilter-user", "[mail2.club.example]:587", doraClub) == none })
	asks(t, d)(sendmail.TableOwn, "<"+doraLogin+">;<"+doraClub+">", "the identity dora@home.example dora@club.example is disabled")
	check(t, s.Enable(t.Context(), "root", doraLogin, doraClub))
	decides(t, d, doraLogin, doraClub, byMoved)
	asks(t, d)(sendmail.TableOwn, "<"+doraLogin+">;<"+doraClub+">", "gatemilter-user-587:[mail2.club.example]")
	check(t, s.Remove(t.Context(), "root", doraLogin, doraClub))
	decides(t, d, doraLogin, doraClub, "accept")
	if state := d.identityState(); !state.Configured || !state.Known || state.Active != 1 || state.Pending != 0 || state.Synced.IsZero() || state.Down != nil {
		t.Errorf("state %+v", state)
	}
	if loaded := logs.FilterMessage("identities loaded").Len(); loaded != 1 {
		t.Errorf("loaded %d times, want once", loaded)
	}
	// What this process does itself is logged by it.
	check(t, d.identityStore().Disable(t.Context(), "erin@home.example (portal, 192.0.2.7)", "erin@home.example", "erin@club.example"))
	audit := logs.FilterMessage("identity disabled").All()
	if len(audit) != 1 || audit[0].ContextMap()["by"] != "erin@home.example (portal, 192.0.2.7)" || audit[0].ContextMap()["address"] != "erin@club.example" {
		t.Errorf("audit %v", audit)
	}
	if strings.Contains(logsOf(logs), "pa ") {
		t.Error("a password is in the log")
	}
}

// O3, O7, U1: without allow_user_gateways, the domain's servers deliver what users have attached,
// and their servers are asked for no login.
func TestU1ServersNotAllowed(t *testing.T) {
	p := newPlace(t, "")
	p.write("gateways = yes", "gateways = no")
	d, _ := p.start()
	check(t, p.command().Add(t.Context(), "root", attached(doraLogin, doraClub, "mail.club.example", 0, 0)))
	decides(t, d, doraLogin, doraClub, "accept user-gateway-ignored on-behalf")
	if got := d.delivery("gatemilter-user", "[mail.club.example]:587", doraClub); got[1] != lookup.Temp("no user's server is known for this sender") || got[0] != lookup.Temp("this nexthop is no user's server any more") {
		t.Errorf("delivery: %v", got)
	}
	if d.isMTA(4711) {
		t.Error("somebody may ask for logins")
	}
	p.write()
	check(t, d.reload())
	decides(t, d, doraLogin, doraClub, byClub)
	if !d.isMTA(4711) || d.isMTA(4712) {
		t.Error("the mail server may not ask for logins, or others may")
	}
}

// S3, U4: a reload keeps what is in the database, and judges it anew beside the new configuration.
func TestU4ReloadKeepsIdentities(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	d, logs := p.start()
	s := p.command()
	check(t, s.Add(t.Context(), "root", attached(doraLogin, "team@partner.example", "mail.club.example", 0, 0)))
	const bySlot = "accept by gatemilter-user-1:[mail.club.example]:587 user-gateway"
	decides(t, d, doraLogin, "team@partner.example", bySlot) // the other one is Alice's
	check(t, d.reload())
	if got := d.decision(doraLogin, "team@partner.example"); got != bySlot {
		t.Errorf("after a reload: %s", got)
	}
	p.write("[user bob", "[user-gateway bob@home.example team@partner.example]\nserver = smtp.partner.example\nslot = 1\npassword = x\n[user bob")
	check(t, d.reload())
	if got := d.decision(doraLogin, "team@partner.example"); got != refusedBy {
		t.Errorf("the configuration has her slot: %s", got)
	}
	left := logs.FilterMessage("an identity is left out").All()
	if len(left) != 1 || !strings.Contains(left[0].ContextMap()["reason"].(string), "[user-gateway bob@home.example team@partner.example] has a server for the address too") {
		t.Errorf("left out: %v", left)
	}
	if state := d.identityState(); state.LeftOut != 1 || state.Active != 0 {
		t.Errorf("state %+v", state)
	}
	p.write("user_gateway_slots = 2", "user_gateway_slots = 1")
	check(t, d.reload())
	if got := d.decision(doraLogin, "team@partner.example"); got != refusedBy {
		t.Errorf("there is no transport for her slot: %s", got)
	}
	p.write()
	check(t, d.reload())
	if got := d.decision(doraLogin, "team@partner.example"); got != bySlot {
		t.Errorf("after the configuration is as before: %s", got)
	}
	// A section for her makes her one who has only her own addresses.
	p.write("[user bob", "[user dora@home.example]\n[user bob")
	check(t, d.reload())
	for from, want := range map[string]string{"team@partner.example": bySlot, "x@other.example": refusedBy} {
		if got := d.decision(doraLogin, from); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}

// U4: a database comes and goes with reloads. Without one, nobody is kept waiting for it.
func TestU4DatabaseByReload(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	check(t, p.command().Add(t.Context(), "root", attached(doraLogin, doraClub, "mail.club.example", 0, 0)))
	none := []string{"[identities]", "; ", "database =", "; ", "key_file", "; ", "snapshot_file", "; "}
	p.write(none...)
	d, logs := p.start()
	if got := d.decision(doraLogin, doraClub); got != "accept" || d.identityStore() != nil || d.identityState().Configured {
		t.Errorf("without a database: %s", got)
	}
	p.write()
	check(t, d.reload())
	decides(t, d, doraLogin, doraClub, byClub)
	if logs.FilterMessageSnippet("Postfix needs other settings now").Len() != 0 {
		t.Error("Postfix needs other settings, though Alice has a server already")
	}
	p.write(none...)
	check(t, d.reload())
	if got := d.decision(doraLogin, doraClub); got != "accept" || d.identityStore() != nil {
		t.Errorf("without a database again: %s", got)
	}
	p.database = "sqlite:" + p.file("other.db")
	p.write()
	check(t, d.reload())
	eventually(t, "another database", func() bool { return d.identityState().Known })
	if got := d.decision(doraLogin, doraClub); got != "accept" {
		t.Errorf("in another database: %s", got)
	}
}

// A name that no database can have is refused before anything changes.
func TestBadDatabaseIsRefused(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	d, _ := p.start()
	p.database = "postgres://u@127.0.0.1/d?sslmode=verify-full&target_session_attrs=nonsense"
	p.write()
	if err := d.reload(); err == nil || !strings.Contains(err.Error(), "[identities] database") {
		t.Errorf("error %v", err)
	}
	decides(t, d, doraLogin, doraClub, "accept")
}

// U5: mail for a server whose password can't be decrypted waits, and all else is served.
func TestU5PasswordUnknown(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	s := p.command()
	check(t, s.Add(t.Context(), "root", attached(doraLogin, doraClub, "mail.club.example", 0, 0)))
	check(t, s.Close())
	check(t, os.Remove(p.file("identities.key")))
	for what, message := range map[string]string{"another key": "the password of a user's server can't be decrypted: mail for it waits", "no key": "there are no keys for the passwords in the database: mail for users' servers in it waits, and none can be added; correct that"} {
		if what == "another key" {
			check(t, identity.CreateKeyFile(p.file("identities.key")))
		} else {
			check(t, os.RemoveAll(p.file("identities.key")))
		}
		d, logs := p.start()
		decides(t, d, doraLogin, doraClub, byClub)
		if got := d.delivery("gatemilter-user", "[mail.club.example]:587", doraClub); got[1] != lookup.Temp("the password of the sender's server can't be decrypted") {
			t.Errorf("%s: %v", what, got)
		}
		asks(t, d)(sendmail.TableLogin, "user:587;192.0.2.1;<[mail.club.example]>;<"+doraLogin+">;<"+doraClub+">", "can't be decrypted")
		if logs.FilterMessage(message).Len() != 1 || logs.FilterMessage("mail is held back: the password of the user's server can't be decrypted").Len() != 2 {
			t.Errorf("%s: log %s", what, logsOf(logs))
		}
	}
}

// U5: a credential of systemd's goes before the file.
func TestU5KeyFromCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	c := config.Identities{KeyFile: "/etc/gatemilter/identities.key"}
	if got := IdentityKeys(c); got != c.KeyFile {
		t.Errorf("without a credential: %s", got)
	}
	check(t, identity.CreateKeyFile(filepath.Join(dir, "identities.key")))
	if got := IdentityKeys(c); got != filepath.Join(dir, "identities.key") {
		t.Errorf("with one: %s", got)
	}
}

// U7: a server that a user has named is looked at only where anybody could reach it; one that the
// administrator has named, or allowed, wherever it is.
func TestU7NoProbeInside(t *testing.T) {
	ca, _ := systemAuthority(t)
	cert, err := ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}})
	check(t, err)
	sink, err := lab.SinkConfig{Cert: cert, Logins: map[string]string{doraClub: "p"}}.Start()
	check(t, err)
	t.Cleanup(sink.Close)
	port := sink.Addr().Port()
	p := newPlace(t, "")
	p.write()
	r := attached(doraLogin, doraClub, "127.0.0.1", 0, 0)
	r.Gateway.Port = port
	check(t, p.command().Add(t.Context(), "root", r))
	d, logs := p.startWith(probeLogin, guardedProbe)
	nexthop := fmt.Sprintf("[127.0.0.1]:%d", port)
	way := "accept by gatemilter-user:" + nexthop + " user-gateway"
	connection := fmt.Sprintf("user:%d;127.0.0.1;TLSv1.3;%s;<[127.0.0.1]>;<%s>", port, hexDigest(t, cert), doraLogin)
	login := fmt.Sprintf("user:%d;127.0.0.1;<[127.0.0.1]>;<%s>;<%s>", port, doraLogin, doraClub)
	decides(t, d, doraLogin, doraClub, way)
	refused := func(what string) {
		t.Helper()
		const why = "127.0.0.1 is not an address of the public Internet"
		got := d.delivery("gatemilter-user", nexthop, doraClub)
		if !strings.Contains(fmt.Sprint(got[0]), why) {
			t.Errorf("%s: %v", what, got)
		}
		asks(t, d)(sendmail.TableTLS, connection, why)
		asks(t, d)(sendmail.TableLogin, login, why)
	}
	served := func(what string) {
		t.Helper()
		if got := d.delivery("gatemilter-user", nexthop, doraClub); got != [2]lookup.Answer{lookup.OK("secure match=hostname"), lookup.OK(doraClub + ":p")} {
			t.Errorf("%s: %v", what, got)
		}
		asks(t, d)(sendmail.TableTLS, connection, fmt.Sprint(lookup.OK(sendmail.Fine)))
		asks(t, d)(sendmail.TableLogin, login, `"P=cA=="`)
	}
	refused("a server inside")
	if logs.FilterMessage("mail is held back: the user's server is not seen to offer a login").Len() == 0 {
		t.Errorf("log %s", logsOf(logs))
	}
	p.write("[user bob", "[portal]\nallowed_networks = 127.0.0.0/8\n[user bob")
	check(t, d.reload())
	served("in a network that the administrator allows")
	p.write()
	check(t, d.reload())
	refused("not any more")
	p.write("[user bob", fmt.Sprintf("[user-gateway bob@home.example bob@club.example]\nserver = 127.0.0.1:%d\npassword = x\n[user bob", port))
	check(t, d.reload())
	served("at a server of the administrator's choice")
}

// O10: Sendmail would cut a login that is too long, and be refused for it: such mail waits.
func TestSendmailLongLogin(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	r := attached(doraLogin, doraClub, "mail.club.example", 0, 0)
	r.Gateway.Username = strings.Repeat("u", 200)
	check(t, p.command().Add(t.Context(), "root", r))
	d, _ := p.start()
	decides(t, d, doraLogin, doraClub, byClub)
	asks(t, d)(sendmail.TableLogin, "user:587;192.0.2.1;<[mail.club.example]>;<"+doraLogin+">;<"+doraClub+">", "Sendmail can't log in with more than 180")
}

// U6: a command's changes are in the journal like the daemon's, and on stderr where there is none.
func TestU6AuditOfCommands(t *testing.T) {
	change := identity.Change{ID: 7, By: "root (command)", Action: identity.Removed, Login: doraLogin, Address: doraClub, Detail: "hello"}
	withJournald(t, func(j *journald) {
		report, done := AuditIdentities(io.Discard)
		report(change)
		done()
		entries := j.entries()
		if len(entries) != 1 {
			t.Fatalf("entries %v", entries)
		}
		for field, want := range map[string]string{"MESSAGE": "identity removed", "MESSAGE_ID": identityEvent.String, "BY": "root (command)", "LOGIN": doraLogin, "ADDRESS": doraClub, "DETAIL": "hello"} {
			if got := fmt.Sprint(entries[0][field]); got != want {
				t.Errorf("%s is %q, want %q", field, got, want)
			}
		}
		j.kill()
		if err := os.Remove(journalPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		report, done = AuditIdentities(&stderr)
		report(change)
		done()
		if !strings.Contains(stderr.String(), "identity removed") || !strings.Contains(stderr.String(), doraClub) {
			t.Errorf("stderr %q", stderr.String())
		}
		screen, terminal := openTerminal(t)
		report, done = AuditIdentities(terminal)
		report(change)
		done()
		fmt.Fprintln(terminal, "end")
		if shown := must(bufio.NewReader(screen).ReadString('\n')); shown != "end\r\n" {
			t.Errorf("the terminal shows %q", shown)
		}
	})
}

// openTerminal makes a terminal, see pty(7): what is written to it is read from screen.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen = must(os.OpenFile("/dev/ptmx", os.O_RDWR|sys.O_NOCTTY, 0))
	t.Cleanup(func() { screen.Close() })
	if err := sys.IoctlSetPointerInt(int(screen.Fd()), sys.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n := must(sys.IoctlGetInt(int(screen.Fd()), sys.TIOCGPTN))
	terminal = must(os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|sys.O_NOCTTY, 0))
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}

// U7: who sends requests without end to the portal doesn't fill the log, where mail's lines are.
func TestPortalRefusalsLogged(t *testing.T) {
	log, logs := observedLog()
	event := (&daemon{log: log}).portalEvents()
	for range 10000 {
		event(portal.Event{Kind: portal.Refused, Result: "other-host"})
		event(portal.Event{Kind: portal.Limited, Result: string(portal.LoggedIn)})
	}
	event(portal.Event{Kind: portal.Saved, Result: portal.OK})
	saved := logs.FilterMessage("portal: save").Len()
	if n := logs.Len(); n < refusalsAtOnce || n > 2*refusalsAtOnce || saved != 1 {
		t.Errorf("%d lines, %d of what was saved", n, saved)
	}
}

// What changes with [identities] and [portal] at a restart only is said.
func TestPortalNeedsRestart(t *testing.T) {
	const portal = "[outbound]\ndomains = home.example\n[portal]\nlisten = 127.0.0.1:8080\nurl = https://mail.home.example\nsubmission = mail.home.example\n"
	const database = "[identities]\ndatabase = sqlite:/x.db\n"
	for _, c := range []struct {
		before, after string
		want          string
	}{
		{portal, portal, ""},
		{portal, strings.Replace(portal, "8080", "8081", 1), "[portal]"},
		{portal, portal + database, "[identities]"},
		{portal, portal + "ports = 25\n", "[portal]"},
		{portal, portal + "[log]\nlevel = warn\n", "[log]"},
		{portal, "[server]\n", "[portal] [identities]"},
		{"[server]\n", portal, "[portal] [identities]"},
		{"[server]\n", database, ""},
		{database, strings.Replace(database, "x.db", "y.db", 1), ""},
		{portal, strings.Replace(portal, "domains = home.example", "domains = home.example\nallow_user_gateways = yes", 1), ""},
		{"[server]\n", "[server]\nadmin = 127.0.0.1:9625\n", "the sockets"},
	} {
		if got := strings.Join(needsRestart(parseConfig(t, c.before), parseConfig(t, c.after)), " "); got != c.want {
			t.Errorf("%s\nto\n%s\nneeds a restart for %q, want %q", c.before, c.after, got, c.want)
		}
	}
}

// Where users attach servers themselves, the mail server has to know of that before one does.
func TestSelfServiceSetup(t *testing.T) {
	const none = "[outbound]\nallow_user_gateways = yes\n"
	const database = none + "[identities]\ndatabase = sqlite:/x.db\n[portal]\nports = 587\n"
	if a, b := setupOf(parseConfig(t, none)), setupOf(parseConfig(t, database)); a == b {
		t.Error("Postfix is told nothing")
	}
	if a, b := setupOf(parseConfig(t, none)), setupOf(parseConfig(t, strings.Replace(database, "= yes", "= no", 1))); a != b {
		t.Error("Postfix is told of servers that are not allowed")
	}
	log, logs := observedLog()
	d := &daemon{log: log}
	d.sendmailAsks.Store(true)
	mta := "[server]\nmta_user = root\n"
	for _, c := range []struct {
		before, after string
		want          int
	}{{none, database, 1}, {database, database, 0}, {database, strings.Replace(database, "587", "587, 2525", 1), 1}} {
		d.compareSetups(parseConfig(t, mta+c.before), parseConfig(t, mta+c.after))
		if n := len(logs.TakeAll()); n != c.want {
			t.Errorf("%s\nto\n%s\n%d times said that Sendmail needs other settings", c.before, c.after, n)
		}
	}
}

func startPostgres(t *testing.T) *lab.Postgres {
	t.Helper()
	check(t, lab.NeedPostgres(t.Context(), t.Logf))
	pg, err := lab.StartPostgres(t.Context(), lab.PostgresConfig{})
	check(t, err)
	t.Cleanup(func() { pg.Close() })
	return pg
}

// U4, U8: two daemons share a database: what is changed by one is in force on the other. While the
// database is away, both serve what they know, and changes get a clear error; when it is back,
// there is no more to be done. One that starts meanwhile begins with its copy, and one that has
// none lets wait what it can't know.
func TestU8PostgresAway(t *testing.T) {
	pg := startPostgres(t)
	here, there := newPlace(t, pg.URL()), newPlace(t, pg.URL())
	keys, err := os.ReadFile(here.file("identities.key"))
	check(t, err)
	check(t, os.WriteFile(there.file("identities.key"), keys, 0o600))
	here.write()
	there.write()
	one, logs := here.start()
	two, _ := there.start()
	decides(t, one, doraLogin, doraClub, "accept")
	check(t, one.identityStore().Add(t.Context(), "dora", attached(doraLogin, doraClub, "mail.club.example", 0, 0)))
	decides(t, one, doraLogin, doraClub, byClub)
	decides(t, two, doraLogin, doraClub, byClub)
	check(t, two.identityStore().Disable(t.Context(), "root", doraLogin, doraClub))
	for _, d := range []*daemon{one, two} {
		decides(t, d, doraLogin, doraClub, refusedBy)
	}
	check(t, one.identityStore().Enable(t.Context(), "root", doraLogin, doraClub))
	for _, d := range []*daemon{one, two} {
		decides(t, d, doraLogin, doraClub, byClub)
	}
	two.unfollow() // its copy has what it has put in force

	check(t, pg.Stop())
	eventually(t, "the database is seen to be away", func() bool { return one.identityState().Down != nil })
	if got := one.decision(doraLogin, doraClub); got != byClub {
		t.Errorf("while the database is away: %s", got)
	}
	if got := one.delivery("gatemilter-user", "[mail.club.example]:587", doraClub); got != [2]lookup.Answer{lookup.OK("secure match=hostname servername=hostname"), lookup.OK(doraClub + ":p")} {
		t.Errorf("delivery while the database is away: %v", got)
	}
	if err := one.identityStore().Disable(t.Context(), "root", doraLogin, doraClub); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("a change while the database is away: %v", err)
	}
	eventually(t, "it is logged", func() bool {
		return logs.FilterMessage("the database of identities can't be used; what it had before stays in force").Len() == 1
	})
	check(t, one.reload())
	if got := one.decision(doraLogin, doraClub); got != byClub {
		t.Errorf("after a reload meanwhile: %s", got)
	}

	again, _ := there.start()
	decides(t, again, doraLogin, doraClub, byClub)
	if state := again.identityState(); !state.Known || !state.Synced.IsZero() || state.Active != 1 {
		t.Errorf("state of a copy %+v", state)
	}
	check(t, os.Remove(there.file("snapshot")))
	again.unfollow()
	check(t, os.RemoveAll(there.file("snapshot")))
	blind, blindLogs := there.start()
	eventually(t, "the database is seen to be away", func() bool { return blind.identityState().Down != nil })
	for login, want := range map[string]string{doraLogin: "tempfail identities-unknown", "alice@home.example": "accept by gatemilter-user:[smtp.partner.example]:587 user-gateway"} {
		from := map[string]string{doraLogin: doraClub, "alice@home.example": "team@partner.example"}[login]
		if got := blind.decision(login, from); got != want {
			t.Errorf("%s as %s: %s, want %s", from, login, got, want)
		}
	}
	asks(t, blind)(sendmail.TableOwn, "<"+doraLogin+">;<"+doraClub+">", "the identities in the database are not known yet")
	if state := blind.identityState(); state.Known {
		t.Errorf("state %+v", state)
	}
	eventually(t, "it is logged", func() bool { return blindLogs.FilterMessageSnippet("there is no copy of it").Len() == 1 })

	check(t, pg.Start(t.Context()))
	eventually(t, "the database is seen to be back", func() bool { return one.identityState().Down == nil })
	eventually(t, "the log to say so", func() bool { return logs.FilterMessage("the database of identities can be used again").Len() == 1 })
	decides(t, blind, doraLogin, doraClub, byClub)
	check(t, blind.identityStore().Remove(t.Context(), "root", doraLogin, doraClub))
	decides(t, one, doraLogin, doraClub, "accept")
	decides(t, again, doraLogin, doraClub, byClub) // which follows no more
}

// U8: a database that does not even answer holds nothing up: neither the start, nor being ready, nor
// the end.
func TestU8StartWithSilentDatabase(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer silent.Close()
	p := newPlace(t, "postgres://gatemilter@"+silent.Addr().String()+"/gatemilter?sslmode=disable")
	p.write("[server]", fmt.Sprintf("[server]\nmilter = unix:%s\nlookup = unix:%s\nadmin = unix:%s\n", p.file("m"), p.file("l"), p.file("a")))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, "v1", p.file("gatemilter.conf"), io.Discard) }()
	page := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.file("a"))
	}}}
	read := func(path string) string {
		answer, err := page.Get("http://admin" + path)
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return string(body)
	}
	eventually(t, "ready", func() bool { return read("/readyz") == "ready\n" })
	if metrics := read("/metrics"); !strings.Contains(metrics, "gatemilter_identities_database_up 0\n") {
		t.Errorf("metrics:\n%s", metrics)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// U4: what is told while a reload is under way is not lost, and nobody waits for anybody.
func TestU4ChangesAndReloads(t *testing.T) {
	p := newPlace(t, "")
	p.write()
	d, _ := p.start()
	s := p.command()
	for n := range 20 {
		check(t, s.Add(t.Context(), "root", attached(doraLogin, fmt.Sprintf("d%d@club.example", n), "mail.club.example", 0, 0)))
		check(t, d.reload())
	}
	for n := range 20 {
		decides(t, d, doraLogin, fmt.Sprintf("d%d@club.example", n), byClub)
	}
}
